"""The routes of results: rows, pages, pictures and annotated copies."""

import re
from collections.abc import Iterator
from typing import IO, Annotated

from fastapi import APIRouter, Path, Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from fdetect_jax.service import schemas
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.routes_jobs import AnOwner, JobId
from fdetect_jax.service.service import Service
from fdetect_jax.service.views import REPORT, job_view, rows_of

router = APIRouter(prefix="/v1/jobs/{job}", tags=["results"], responses=schemas.problems(401, 403, 404, 409, 422))
Number = Annotated[int, Path(ge=0, le=10_000, description="Of the file")]
_TYPES = {"mp4": "video/mp4", "png": "image/png", "jpg": "image/jpeg", "html": "text/html; charset=utf-8"}
_PIECE = 1 << 18  # bytes
_FILE = {
    200: {"description": "The file", "content": {"video/mp4": {}, "image/png": {}, "image/jpeg": {}}},
    206: {"description": "A part of it"},
    **schemas.problems(416),
}


@router.get("/result.json", response_model=schemas.Result)
def result(request: Request, owner: AnOwner, job: JobId) -> Response:
    """The job and its rows."""
    service: Service = request.app.state.service
    found = service.jobs.get(job, owner.name)
    rows = rows_of(found, service)
    if rows is None:
        raise _not_there(found["state"])
    return JSONResponse({"job": job_view(found, service), "rows": rows})


@router.get(
    "/report.html", response_class=Response, responses={200: {"description": "The page", "content": {"text/html": {}}}}
)
def report(request: Request, owner: AnOwner, job: JobId) -> Response:
    """The verdicts as one page that needs no other file."""
    return _file(request, owner.name, job, [REPORT], f"verdicts-{job[:9]}.html")


@router.get("/annotated/{n}", response_class=Response, responses=_FILE)
def annotated(request: Request, owner: AnOwner, job: JobId, n: Number) -> Response:
    """The annotated copy: H.264 in MP4, or PNG."""
    return _file(request, owner.name, job, [f"annotated-{n}.mp4", f"annotated-{n}.png"])


@router.get("/heatmap/{n}", response_class=Response, responses=_FILE)
def heatmap(request: Request, owner: AnOwner, job: JobId, n: Number) -> Response:
    """Heat maps or masks of the most suspicious faces, PNG."""
    return _file(request, owner.name, job, [f"heat_map-{n}.png"])


@router.get("/poster/{n}", response_class=Response, responses=_FILE)
def poster(request: Request, owner: AnOwner, job: JobId, n: Number) -> Response:
    """The frame of the annotated video with the highest score, JPEG."""
    return _file(request, owner.name, job, [f"poster-{n}.jpg"])


@router.get("/evidence/{n}/{name}", response_class=Response, responses=_FILE)
def evidence(
    request: Request,
    owner: AnOwner,
    job: JobId,
    n: Number,
    name: Annotated[str, Path(pattern=r"^[a-z][a-z0-9_]{0,60}$")],
) -> Response:
    """The picture of one analysis, PNG."""
    return _file(request, owner.name, job, [f"evidence-{n}-{name}.png"])


@router.get("/faces/{n}/{track}", response_class=Response, responses=_FILE)
def face(request: Request, owner: AnOwner, job: JobId, n: Number, track: Number) -> Response:
    """The most suspicious face of a person, JPEG."""
    return _file(request, owner.name, job, [f"face-{n}-{track}.jpg"])


@router.get("/faces/{n}/{track}/heat", response_class=Response, responses=_FILE)
def face_heat(request: Request, owner: AnOwner, job: JobId, n: Number, track: Number) -> Response:
    """The same face under its heat map, or with its mask outlined, PNG."""
    return _file(request, owner.name, job, [f"face-{n}-{track}-heat.png"])


def _not_there(state: str) -> Problem:
    if state in ("queued", "running"):
        return Problem("not_ready", "The job has not ended.")
    return Problem("not_found", "This job has no such result.")


def _file(request: Request, owner: str, job: str, names: list[str], attachment: str = "") -> Response:
    """The first of these files that is there, whole or the range that is asked for."""
    service: Service = request.app.state.service
    found = service.jobs.get(job, owner)
    if found["state"] != "done":
        raise _not_there(found["state"])
    for name in names:
        try:
            path = f"{found['out']}/{name}"
            size, source = service.storage.size(path), service.storage.open(path)
        except FileNotFoundError:
            continue
        how = f'attachment; filename="{attachment}"' if attachment else f'inline; filename="{name}"'
        headers = {"Content-Disposition": how, "Cache-Control": "private, no-store", "Accept-Ranges": "bytes"}
        return _part(request, source, size, _TYPES[name.rpartition(".")[2]], headers)
    raise _not_there(found["state"])


def _part(request: Request, source: IO[bytes], size: int, media_type: str, headers: dict[str, str]) -> Response:
    first, last, status = 0, size - 1, 200
    if wanted := re.fullmatch(r"bytes=(\d{0,15})-(\d{0,15})", request.headers.get("range", "")):
        begin, end = wanted.groups()
        if begin:
            first, last = int(begin), min(int(end) if end else size - 1, size - 1)
        elif end:
            first = max(0, size - int(end))
        if first > last:
            source.close()
            raise Problem("bad_range", f"The file has {size} bytes.")
        status, headers = 206, headers | {"Content-Range": f"bytes {first}-{last}/{size}"}
    headers |= {"Content-Length": str(last - first + 1)}
    return StreamingResponse(_pieces(source, first, last + 1), status, headers, media_type)


def _pieces(source: IO[bytes], first: int, end: int) -> Iterator[bytes]:
    with source:
        source.seek(first)
        while first < end and (piece := source.read(min(_PIECE, end - first))):
            first += len(piece)
            yield piece
