"""A client of the service that ``fdetect serve`` starts: files in, rows and annotated copies out. No JAX.

    with Client("https://detector.example", key) as client:
        for row in client.judge(["a.mp4", "b.jpg"]):
            print(row["file"], row["verdict"], row["score"])

``AsyncClient`` has the same methods; each returns what is awaited, and ``jobs`` is iterated with ``async for``.
"""

import contextlib
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, Self, Unpack

import anyio
import httpx

from fdetect_jax.client import flows
from fdetect_jax.client.exchange import Flow, Pause, Request, ServiceError
from fdetect_jax.client.flows import FINAL, REPORT, UPLOADING, Options, Progress, finished
from fdetect_jax.errors import UserError

__all__ = ["FINAL", "REPORT", "UPLOADING", "AsyncClient", "Client", "Options", "ServiceError", "finished"]

Paths = str | os.PathLike | Sequence[str | os.PathLike]


class _Calls:
    """The methods of both clients. Every one may raise ServiceError, and UserError for what cannot be sent.

    ``progress`` is called with a share in [0, 1] and a state: "uploading", then those of the job ("queued", "running",
    "done" …), each with a share of its own.
    """

    def __init__(self, url: str, key: str | None = None, *, timeout: float = 30.0, transport: Any = None):
        """url: where the service is, such as http://127.0.0.1:8000. key: of ``fdetect keys add``; a service on this
        machine may need none. timeout: seconds to connect, and without a byte in either direction. transport: of
        httpx, such as one with certificates of one's own."""
        self._timeout = timeout
        self._http = self._opened(
            base_url=_checked(url), headers=_headers(key), timeout=timeout, transport=transport, follow_redirects=False
        )

    def judge(
        self, paths: Paths, *, output: Any = None, progress: Progress | None = None, **options: Unpack[Options]
    ) -> Any:
        """The rows of one or many files, in order, as ``fdetect predict --json`` writes them.

        Uploads, waits for the verdicts, and with ``output``, a folder, also downloads what is drawn, as ``download``
        does; "annotated", "heat_map" and the like are then paths below it, else addresses of the service.

        Raises ServiceError also where the job failed, was cancelled or has expired.
        """
        return self._run(flows.judge(paths, options, progress, output))

    def submit(self, paths: Paths, *, progress: Progress | None = None, **options: Unpack[Options]) -> Any:
        """Uploads the files and returns the job that will judge them, a dict as the service writes it."""
        return self._run(flows.submit(paths, options, progress))

    def job(self, id: str) -> Any:
        """The job as it is now, with its rows once it is done."""
        return self._run(flows.job(id))

    def wait(self, id: str, progress: Progress | None = None) -> Any:
        """The job once its state is one of ``FINAL``."""
        return self._run(flows.wait(id, progress))

    def result(self, id: str, output: str | os.PathLike | None = None) -> Any:
        """{"job": …, "rows": […]} of a job that is done. output: as for ``judge``."""
        return self._run(flows.result(id) if output is None else _part(flows.download(id, output), 0))

    def download(self, id: str, folder: str | os.PathLike) -> Any:
        """Writes what was drawn for a job, and its report, into the folder ``folder/id``; returns the paths.

        The files have the names of the judged ones, without what is not safe. Downloaded again, they are replaced.
        """
        return self._run(_part(flows.download(id, folder), 1))

    def delete(self, id: str) -> Any:
        """Cancels an unfinished job; removes what is left of a finished one. Returns None."""
        return self._run(flows.delete(id))

    def feedback(self, id: str, n: int, verdict: str, comment: str = "") -> Any:
        """Tells the service that file ``n`` of a job is "real" or "fake". Returns None."""
        return self._run(flows.feedback(id, n, verdict, comment))

    def limits(self) -> Any:
        """What the service takes: a dict of bytes, files, seconds and rates."""
        return self._run(flows.limits())

    def models(self) -> Any:
        """The service's models, a list of dicts."""
        return self._run(flows.models())

    def _limit(self, wanted: Request) -> httpx.Timeout:
        return httpx.Timeout(self._timeout, read=max(self._timeout, wanted.quiet or 0.0))


class Client(_Calls):
    """The service, call by call. Threads may share one."""

    _opened = httpx.Client

    def jobs(self) -> Iterator[dict]:
        """This key's jobs without their rows, the newest first."""
        cursor, more = None, True
        while more:
            found, cursor = self._run(flows.page(cursor))
            yield from found
            more = cursor is not None

    def close(self) -> None:
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, flow: Flow) -> Any:
        with contextlib.closing(flow):
            try:
                wanted = next(flow)
                while True:
                    if isinstance(wanted, Pause):
                        wanted = flow.send(time.sleep(wanted.seconds))
                        continue
                    try:
                        found = self._answer(wanted)
                    except httpx.RequestError as error:
                        wanted = flow.throw(error)
                    else:
                        wanted = flow.send(found)
            except StopIteration as end:
                return end.value

    def _answer(self, wanted: Request) -> httpx.Response:
        with wanted.arguments() as arguments:
            request = self._http.build_request(wanted.method, wanted.path, timeout=self._limit(wanted), **arguments)
            with contextlib.closing(self._http.send(request, stream=True)) as found:
                if wanted.take is None or not found.is_success:
                    found.read()
                    return found
                take = wanted.take()
                for part in found.iter_bytes():
                    if take(part):
                        break
                return found


class AsyncClient(_Calls):
    """The service, awaited; under asyncio or trio."""

    _opened = httpx.AsyncClient

    async def jobs(self) -> AsyncIterator[dict]:
        """As ``Client.jobs``."""
        cursor, more = None, True
        while more:
            found, cursor = await self._run(flows.page(cursor))
            for one in found:
                yield one
            more = cursor is not None

    async def aclose(self) -> None:
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def _run(self, flow: Flow) -> Any:
        with contextlib.closing(flow):
            try:
                wanted = next(flow)
                while True:
                    if isinstance(wanted, Pause):
                        wanted = flow.send(await anyio.sleep(wanted.seconds))
                        continue
                    try:
                        found = await self._answer(wanted)
                    except httpx.RequestError as error:
                        wanted = flow.throw(error)
                    else:
                        wanted = flow.send(found)
            except StopIteration as end:
                return end.value

    async def _answer(self, wanted: Request) -> httpx.Response:
        with wanted.arguments() as arguments:
            request = self._http.build_request(wanted.method, wanted.path, timeout=self._limit(wanted), **arguments)
            async with contextlib.aclosing(await self._http.send(request, stream=True)) as found:
                if wanted.take is None or not found.is_success:
                    await found.aread()
                    return found
                take = wanted.take()
                async for part in found.aiter_bytes():
                    if take(part):
                        break
                return found


def _part(flow: Flow[tuple], number: int) -> Flow:
    return (yield from flow)[number]


def _checked(url: str) -> httpx.URL:
    try:
        found = httpx.URL(url)
    except (httpx.InvalidURL, TypeError):
        found = httpx.URL()
    if found.scheme not in ("http", "https") or not found.host or found.userinfo or found.query or found.fragment:
        raise UserError("url: found no address of a service, wanted one such as http://127.0.0.1:8000")
    return found


def _headers(key: str | None) -> dict[str, str]:
    if key is not None and not (key.isascii() and key.isprintable() and key.strip() == key != ""):
        raise UserError("key: found characters that no key has, wanted one of `fdetect keys add`")
    return {"User-Agent": "fdetect"} | ({} if key is None else {"Authorization": f"Bearer {key}"})
