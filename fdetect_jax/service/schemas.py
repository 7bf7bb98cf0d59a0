"""The shapes of the API's answers, for its OpenAPI document and for what it reads."""

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]


class ProblemDocument(BaseModel):
    """RFC 9457. code: stable. detail: a sentence. field: which one is wrong."""

    type: str
    title: str
    status: int
    code: str
    detail: str
    field: str | None = None


class Options(BaseModel):
    """How a job is judged; see POST /v1/jobs."""

    model: str
    faces: Literal["all", "largest"]
    frames: int | None
    per_second: float | None
    heat_map: bool
    keep: bool
    again: bool
    webhook: str | None


class JobFile(BaseModel):
    """One file of a job. n: its number in the paths of results."""

    n: int
    name: str
    bytes: int
    sha256: str


class JobProblem(BaseModel):
    """Why a job failed."""

    code: str
    detail: str


class Links(BaseModel):
    """Paths of this API."""

    self: str
    events: str
    result: str
    report: str


class Job(BaseModel):
    """A job. Times are RFC 3339 in UTC. progress: 0 to 1. ahead: jobs that wait before it. expires: when results go."""

    id: str
    state: State
    created: str
    started: str | None
    finished: str | None
    expires: str | None
    progress: float
    ahead: int | None
    options: Options
    files: list[JobFile]
    problem: JobProblem | None
    links: Links


class JobWithRows(Job):
    """rows: of a job that is done, one for each file, as ``fdetect predict --json`` writes them; pictures are paths."""

    rows: list[dict[str, Any]] | None


class JobList(BaseModel):
    """next: the cursor of the next page."""

    jobs: list[Job]
    next: str | None


class Result(BaseModel):
    """A job and its rows."""

    job: Job
    rows: list[dict[str, Any]]


class Feedback(BaseModel):
    """What a file really is, by its owner."""

    model_config = ConfigDict(extra="forbid")

    n: int = Field(ge=0, le=10_000)
    verdict: Literal["real", "fake"]
    comment: str = Field("", max_length=2000)


class Limits(BaseModel):
    """What is taken. per_minute, per_day: jobs, null: any number. queue: jobs that may wait."""

    file_bytes: int
    files: int
    job_bytes: int
    upload_seconds: float
    seconds_per_file: float
    retention_hours: float
    queue: int
    per_minute: int | None
    per_day: int | None


class Model(BaseModel):
    """A detector. trained_on, finds, misses: sentences of its card, empty where it has none."""

    name: str
    default: bool
    description: str
    threshold: float
    suspicious: float | None
    classes: list[str]
    trained_on: str
    finds: str
    misses: str


class Models(BaseModel):
    """What a job can name as its model."""

    models: list[Model]


class Status(BaseModel):
    """Of the server."""

    status: str
    reasons: list[str] = []


_UPLOAD = {
    "type": "object",
    "required": ["files"],
    "properties": {
        "files": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
        "model": {"type": "string"},
        "faces": {"type": "string", "enum": ["all", "largest"]},
        "frames": {"type": "integer", "minimum": 1, "maximum": 1000},
        "per_second": {"type": "number", "exclusiveMinimum": 0, "maximum": 60},
        "heat_map": {"type": "string", "enum": ["true", "false"]},
        "keep": {"type": "string", "enum": ["true", "false"]},
        "again": {"type": "string", "enum": ["true", "false"]},
        "webhook": {"type": "string", "maxLength": 2000},
    },
}
UPLOAD = {"requestBody": {"required": True, "content": {"multipart/form-data": {"schema": _UPLOAD}}}}


def problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The documentation of a route's problem documents."""
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemDocument"}}}
    return {status: {"description": "A problem document", "content": content} for status in statuses}
