"""The routes of jobs: upload, state, events, list, removal, feedback."""

import asyncio
import hashlib
import json
import secrets
import time
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Body, Depends, Header, Path, Query, Request
from fastapi.concurrency import run_in_threadpool
from starlette.responses import JSONResponse, Response, StreamingResponse

from fdetect_jax.files import digest
from fdetect_jax.service import schemas
from fdetect_jax.service.access import owner_of
from fdetect_jax.service.feedback import keep_feedback
from fdetect_jax.service.jobs import FINAL
from fdetect_jax.service.keys import Owner
from fdetect_jax.service.options import options_of
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.records import Document
from fdetect_jax.service.service import Service
from fdetect_jax.service.uploads import Upload, folder_for, receive
from fdetect_jax.service.views import job_view, rows_of

router = APIRouter(prefix="/v1/jobs", tags=["jobs"], responses=schemas.problems(400, 401, 403, 404, 422, 503))
JobId = Annotated[str, Path(pattern=r"^j[0-9a-f]{32}$", description="Of the job")]
AnOwner = Annotated[Owner, Depends(owner_of)]
_POLL, _QUIET, _LONGEST = 0.25, 15.0, 3600.0  # seconds: between looks at a job, without an event, of one stream
_UPLOADS, _STREAMS = 32, 200  # at the same time


@router.post(
    "",
    status_code=202,
    response_model=schemas.Job,
    openapi_extra=schemas.UPLOAD,
    responses=schemas.problems(409, 413, 415, 429),
)
async def upload(
    request: Request,
    owner: AnOwner,
    idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
) -> Response:
    """Takes one or several files and queues a job that judges them."""
    service: Service = request.app.state.service
    await run_in_threadpool(service.jobs.refuse_if_full)
    await run_in_threadpool(service.keys.count, owner)
    gate: asyncio.Semaphore = request.app.state.uploads
    if gate.locked():
        raise Problem("too_busy", f"{_UPLOADS} uploads arrive already; send it again later.", retry_after=10)
    async with gate:
        with folder_for(service.settings, secrets.token_hex(8)) as folder:
            received = await receive(request, service.settings, folder)
            if not received.files:
                raise Problem("invalid", "Send at least one file.", field="files")
            options = options_of(received.fields, service.settings.models)
            if options["webhook"] is not None and owner.secret is None:
                raise Problem("invalid", "A webhook wants an API key, whose secret signs it.", field="webhook")
            document = await run_in_threadpool(_accept, service, owner, received, options, idempotency_key)
    shown = await run_in_threadpool(job_view, document, service)
    return JSONResponse(shown, 202, {"Location": shown["links"]["self"]})


def _accept(service: Service, owner: Owner, received: Upload, options: dict, key: str | None) -> Document:
    """Puts the files into the storage, then the job into the records, then wakes a worker: nothing accepted is lost."""
    job = f"j{secrets.token_hex(16)}"
    if key is not None:
        job = f"j{hashlib.sha256(json.dumps([owner.name, key]).encode()).hexdigest()[:32]}"
    folder = f"jobs/{job}-{int(time.time()):x}-{secrets.token_hex(4)}"
    files = [
        {"n": number, "name": one.name, "bytes": one.bytes, "sha256": one.sha256}
        for number, one in enumerate(received.files)
    ]
    content = digest([[(one["name"], one["sha256"]) for one in files], options]) if key is not None else None
    document = {
        "id": job,
        "owner": owner.name,
        "folder": folder,
        "options": options,
        "files": files,
        "retention": owner.retention,
        "hook": options["webhook"],
    }
    fresh = False
    try:
        for number, one in enumerate(received.files):
            service.storage.put(one.path, f"{folder}/in/{number}")
        made, fresh = service.jobs.add(document, content)
    finally:
        if not fresh:
            service.storage.remove(folder)
    service.queue.wake()
    return made


@router.get("", response_model=schemas.JobList)
def jobs(
    request: Request,
    owner: AnOwner,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    cursor: Annotated[str | None, Query(pattern=r"^[0-9]{1,12}\.[0-9]{1,9}$")] = None,
) -> Response:
    """The jobs of this owner, newest first."""
    service: Service = request.app.state.service
    found, after = service.jobs.of(owner.name, limit, None if cursor is None else float(cursor))
    shown = [job_view(one, service) for one in found]
    return JSONResponse({"jobs": shown, "next": None if after is None else repr(after)})


@router.get("/{job}", response_model=schemas.JobWithRows)
def job(request: Request, owner: AnOwner, job: JobId) -> Response:
    """A job, with its rows once it is done."""
    service: Service = request.app.state.service
    found = service.jobs.get(job, owner.name)
    return JSONResponse(job_view(found, service) | {"rows": rows_of(found, service)})


@router.get(
    "/{job}/events",
    response_class=StreamingResponse,
    responses={200: {"description": "Server-sent events", "content": {"text/event-stream": {}}}},
)
async def events(request: Request, owner: AnOwner, job: JobId) -> Response:
    """The job at each change, as server-sent events, until it ends."""
    service: Service = request.app.state.service
    await run_in_threadpool(service.jobs.get, job, owner.name)
    gate: asyncio.Semaphore = request.app.state.streams
    if gate.locked():
        raise Problem("too_busy", f"{_STREAMS} streams are open already; ask for the job itself.", retry_after=5)
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(_events(service, owner, job, gate), media_type="text/event-stream", headers=headers)


async def _events(service: Service, owner: Owner, job: str, gate: asyncio.Semaphore) -> AsyncIterator[str]:
    async with gate:
        shown, spoke, began = None, time.monotonic(), time.monotonic()
        while time.monotonic() - began < _LONGEST:
            try:
                found = await run_in_threadpool(service.jobs.get, job, owner.name)
            except Problem:  # removed in the meantime
                return
            now = await run_in_threadpool(job_view, found, service)
            if now != shown:
                shown, spoke = now, time.monotonic()
                yield f"event: job\ndata: {json.dumps(now)}\n\n"
            elif time.monotonic() - spoke > _QUIET:
                spoke = time.monotonic()
                yield ": keep-alive\n\n"
            if found["state"] in FINAL:
                return
            await asyncio.sleep(_POLL)


@router.delete("/{job}", status_code=204, response_class=Response)
def remove(request: Request, owner: AnOwner, job: JobId) -> Response:
    """Cancels a job that has not ended; removes one that has. Its files go at once."""
    service: Service = request.app.state.service
    was = service.jobs.remove(job, owner.name)
    service.storage.remove(was["folder"])
    if was["state"] not in FINAL:
        service.audit(was | {"state": "cancelled", "finished": time.time()})
    return Response(status_code=204)


@router.post("/{job}/feedback", status_code=204, response_class=Response, responses=schemas.problems(409, 413))
def feedback(request: Request, owner: AnOwner, job: JobId, said: Annotated[schemas.Feedback, Body()]) -> Response:
    """Keeps what a file really is, with the crops of its faces, for training; see ``fdetect feedback``."""
    service: Service = request.app.state.service
    found = service.jobs.get(job, owner.name)
    if found["state"] != "done":
        raise Problem("not_ready", "There is no verdict to speak about.")
    if said.n >= len(found["files"]):
        raise Problem("invalid", f"The job has {len(found['files'])} files.", field="n")
    keep_feedback(service, found, said.n, said.verdict, said.comment)
    return Response(status_code=204)


def gates() -> tuple[asyncio.Semaphore, asyncio.Semaphore]:
    """How many uploads and streams are served at the same time."""
    return asyncio.Semaphore(_UPLOADS), asyncio.Semaphore(_STREAMS)
