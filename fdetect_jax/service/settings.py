"""What a service is started with: where it keeps things, what it accepts, and for how long."""

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import check_folder
from fdetect_jax.service.records import scheme_of

BUNDLED = "bundled"  # the name of the bundled detector
PREFIX = "FDETECT_"  # of the environment variables that stand for options


@dataclasses.dataclass(frozen=True)
class Settings:
    """Shared by the server and its workers.

    data: folder of what stays on this machine: SQLite's files, uploads that arrive. queue: URL of records and queue,
    None: SQLite in ``data``. storage: fsspec URL of the files of jobs, None: a folder in ``data``. models: name ->
    weights or workdir; the first is the default.
    file_bytes, files, job_bytes: of one upload. upload_seconds: in which it must arrive. seconds: that one file may
    take to be read, and as many to be drawn. tries: of a job whose worker ended. waiting: jobs that may wait; beyond it
    nothing is accepted. retention: hours until results are removed. per_minute, per_day: jobs of a key, or of the
    loopback; 0: any number.
    """

    data: Path
    queue: str | None = None
    storage: str | None = None
    models: Mapping[str, str | None] = dataclasses.field(default_factory=lambda: {BUNDLED: None})
    file_bytes: int = 2 << 30
    files: int = 10
    job_bytes: int = 4 << 30
    upload_seconds: float = 3600.0
    seconds: float = 600.0
    tries: int = 3
    waiting: int = 100
    retention: float = 24.0
    per_minute: int = 0
    per_day: int = 0

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            least = 0 if field.name in ("per_minute", "per_day") else 1e-9
            if field.type in (int, float) and not value >= least:
                raise UserError(f"{field.name}: found {value}, wanted {'0 or more' if not least else 'more than 0'}")
        scheme_of(self.queue_url)
        check_folder(self.data, "data")

    @property
    def queue_url(self) -> str:
        """Of records and queue."""
        return self.queue or f"sqlite:///{self.data.absolute() / 'service.db'}"

    @property
    def storage_url(self) -> str:
        """Of the files of jobs."""
        return self.storage or f"file://{self.data.absolute() / 'files'}"

    def limits(self) -> dict:
        """As GET /v1/limits shows them."""
        return {
            "file_bytes": self.file_bytes,
            "files": self.files,
            "job_bytes": self.job_bytes,
            "upload_seconds": self.upload_seconds,
            "seconds_per_file": self.seconds,
            "retention_hours": self.retention,
            "queue": self.waiting,
            "per_minute": self.per_minute or None,
            "per_day": self.per_day or None,
        }

    def to_json(self) -> dict:
        """Plain values, for the processes of the workers."""
        return dataclasses.asdict(self) | {"data": str(self.data.absolute()), "models": dict(self.models)}

    @classmethod
    def from_text(cls, text: str) -> "Settings":
        """Inverse of ``to_json`` as text."""
        values = from_json(text)
        return cls(**(values | {"data": Path(values["data"])}))


def from_environment(name: str, default: str | None = None) -> str | None:
    """The environment variable that stands for an option: FDETECT_PORT for ``port``."""
    return os.environ.get(PREFIX + name.upper()) or default


def models_of(named: list[str] | None) -> dict[str, str | None]:
    """Options ``NAME=WEIGHTS``, or weights alone, as name -> weights; none: the bundled detector.

    Raises UserError where two have one name or a name is empty.
    """
    found: dict[str, str | None] = {}
    for one in named or ():
        name, parted, path = one.partition("=")
        name, path = (name, path) if parted else (Path(one).stem, one)
        if not name or not path or name in found:
            raise UserError(f"model: found {one!r}, wanted NAME=WEIGHTS, each name once")
        found[name] = None if path == BUNDLED else path
    return found or {BUNDLED: None}
