"""One request to the service and its answer: what is tried again, and what an error becomes.

A *flow* is a generator. It yields a ``Request`` and is sent the answer; it yields a ``Pause`` and goes on after it.
``Client`` and ``AsyncClient`` carry both out, each in its way, so that every rule stands in a flow, once.
"""

import contextlib
import io
import itertools
import random
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import httpx

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import on_one_line, printable

Made = TypeVar("Made")
TRIES = 6  # of one request
_LONGEST = 60.0  # seconds of one pause; an answer that asks for more is an error at once
_FIRST = 0.5  # seconds of the first pause after a broken connection; each later one is twice as long
_NEVER_SENT = (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout)
_SHOWN = 500  # characters of what a service says


class ServiceError(UserError):
    """The service refused a request, could not be reached, or could not judge a job.

    status: of the HTTP answer; None where there was none, or where the job is what failed. code: the service's stable
    code, such as "too_large"; or "unreachable", "not_understood" (the answer is not one of ``fdetect serve``), or what
    became of a job: "cancelled", "expired", or the code of its failure. detail: a sentence. field: what of the request
    is meant, such as "files[1]", or None.
    """

    def __init__(self, status: int | None, code: str, detail: str, field: str | None = None):
        super().__init__(f"{field}: {detail}" if field else detail)
        self.status, self.code, self.detail, self.field = status, code, detail, field


@dataclass(frozen=True)
class Pause:
    """seconds: how long to wait."""

    seconds: float


@dataclass(frozen=True)
class Request:
    """A request to the service.

    path: below the service's address. fields, files: of a form; the files are read from disk while they are sent.
    sent: called with the share of the files' bytes that was read, in [0, 1]. quiet: seconds without a byte after which
    the answer counts as broken; None: the client's time limit. repeat: whether a request that may have arrived may be
    sent again. take: makes, for each successful answer, what its body is given to in parts; that returns whether it has
    enough. None: the body is read whole.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    params: Mapping[str, str] | None = None
    json: Any = None
    fields: Mapping[str, str] | None = None
    files: tuple[Path, ...] = ()
    sent: Callable[[float], None] | None = None
    quiet: float | None = None
    repeat: bool = True
    take: Callable[[], Callable[[bytes], bool]] | None = None

    @contextlib.contextmanager
    def arguments(self) -> Iterator[dict[str, Any]]:
        """Of httpx's ``build_request``; the files are open in the block."""
        found: dict[str, Any] = {"headers": dict(self.headers), "params": self.params, "json": self.json}
        with contextlib.ExitStack() as stack:
            if self.files:
                share = _Share(sum(path.stat().st_size for path in self.files), self.sent or (lambda _: None))
                parts = []
                for path in self.files:
                    file = stack.enter_context(_Counted(path, share))
                    parts.append(("files", (printable(path.name), file, "application/octet-stream")))
                found |= {"data": dict(self.fields or {}), "files": parts}
            yield found


Flow = Generator[Request | Pause, httpx.Response | None, Made]


def answer(request: Request, tries: int = TRIES) -> Flow[httpx.Response]:
    """The successful answer to a request.

    Busy answers (429, 503) are waited out as their Retry-After says, broken connections and a proxy's 502 and 504 with
    growing pauses, ``tries`` times in all.

    Raises:
      ServiceError: the service refuses, asks to wait for longer than a minute, or was not reached in all the tries.
    """
    broke = False
    for attempt in itertools.count(1):
        try:
            found = yield request
        except httpx.RequestError as error:
            again, failure = request.repeat or isinstance(error, _NEVER_SENT), unreachable(error)
            pause, broke = _growing(attempt), True
        else:
            if found.is_success or (broke and request.method == "DELETE" and found.status_code == 404):
                return found
            failure, pause = problem(found), _asked_for(found, attempt)
            proxy = found.status_code in (502, 504)
            again = pause <= _LONGEST and (found.status_code in (429, 503) or (proxy and request.repeat))
            broke = broke or proxy
        if not again or attempt >= tries:
            raise failure
        yield Pause(pause)


def problem(found: httpx.Response) -> ServiceError:
    """The error that an answer without success stands for: its problem document, or its status alone."""
    try:
        said = from_json(found.content)
    except ValueError:
        said = None
    said = said if isinstance(said, dict) else {}
    code, detail = said.get("code"), said.get("detail") or said.get("title")
    if not isinstance(code, str) or not isinstance(detail, str):
        moved = f" to {found.headers['location']}" if found.has_redirect_location else ""
        detail = f"found HTTP status {found.status_code}{moved}, wanted an answer of `fdetect serve`"
        code = "not_understood"
    named = said.get("field")
    return ServiceError(
        found.status_code, on_one_line(code), _short(detail), _short(named) if isinstance(named, str) else None
    )


def unreachable(error: httpx.RequestError) -> ServiceError:
    said = str(error) or type(error).__name__
    return ServiceError(None, "unreachable", f"the service cannot be reached: {_short(said)}")


def not_understood(found: str) -> ServiceError:
    return ServiceError(None, "not_understood", f"found {found}, wanted an answer of `fdetect serve`")


def mapping(found: httpx.Response) -> dict[str, Any]:
    """The JSON object of an answer. Raises ServiceError where it holds something else."""
    try:
        said = from_json(found.content)
    except ValueError:
        said = None
    if not isinstance(said, dict):
        raise not_understood(f"no JSON object at {found.request.url.path}")
    return said


def _asked_for(found: httpx.Response, attempt: int) -> float:
    """Seconds to wait after a busy answer, at least those that it asks for."""
    said = found.headers.get("retry-after", "").strip()
    return float(said) if said.isdecimal() else _growing(attempt)


def _growing(attempt: int) -> float:
    """Drawn at random, so that many clients do not come back at the same moment."""
    return min(_FIRST * 2 ** (attempt - 1), _LONGEST / 2) * random.uniform(0.5, 1)


def _short(text: str) -> str:
    return on_one_line(text if len(text) <= _SHOWN else f"{text[:_SHOWN]} …")


class _Share:
    """Tells the share of all files' bytes that was read."""

    def __init__(self, total: int, tell: Callable[[float], None]):
        self._total, self._tell, self._read = total, tell, 0

    def add(self, count: int) -> None:
        self._read += count
        self._tell(min(self._read / self._total, 1.0) if self._total else 1.0)


class _Counted(io.FileIO):
    def __init__(self, path: Path, share: _Share):
        super().__init__(path, "rb")
        self._share = share

    def read(self, size: int = -1) -> bytes:
        found = super().read(size)
        self._share.add(len(found))
        return found
