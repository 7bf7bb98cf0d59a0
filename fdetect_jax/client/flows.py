"""What a client can ask of the service, as flows: see ``exchange``. Paths and options in, jobs and rows out."""

import contextlib
import os
import re
import secrets
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import httpx

from fdetect_jax.client.exchange import TRIES, Flow, Pause, Request, ServiceError, answer, mapping, not_understood
from fdetect_jax.client.names import Names
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import check_folder, on_one_line, replacing

UPLOADING = "uploading"  # the state before a job is there
FINAL = ("done", "failed", "cancelled", "expired")
REPORT = "report.html"
Progress = Callable[[float, str], None]

_ID = re.compile(r"[A-Za-z0-9_-]{1,100}")
_PICTURE = re.compile(r"(/[\w.~%-]+)+", re.ASCII)
_QUIET = 60.0  # seconds between two signs of life of a stream of events
_STORED = 300.0  # seconds in which a service puts an upload where it belongs, a bucket for example
_BROKEN = 3  # streams in a row that brought nothing, after which the job is polled
_EVERY = 2.0  # seconds between two polls
_PATIENT = 2 * TRIES  # tries while a job is waited for: a service that is started again takes a while
_LONGEST_EVENT = 1 << 20  # bytes


class Options(TypedDict, total=False):
    """model: a name of ``models()``. faces: "all" or "largest". frames: of a video, evenly spaced; or per_second
    instead. heat_map: also draw where the detector looks. keep: keep the uploads as long as the results. again: judge
    files anew that were judged before. webhook: an https address that is told of the end. None: the service's default.
    """

    model: str | None
    faces: str | None
    frames: int | None
    per_second: float | None
    heat_map: bool
    keep: bool
    again: bool
    webhook: str | None


def submit(paths: Any, options: Mapping[str, Any], progress: Progress | None) -> Flow[dict]:
    form, files = _form(options), named(paths)
    sent = None if progress is None else lambda share: progress(share, UPLOADING)
    # The same key with every try: a job whose answer was lost is not made twice.
    headers = {"Idempotency-Key": secrets.token_urlsafe(24)}
    request = Request("POST", "/v1/jobs", headers, fields=form, files=files, sent=sent, quiet=_STORED)
    return _job((yield from answer(request)))


def job(id_: str, tries: int = TRIES) -> Flow[dict]:
    return _job((yield from answer(Request("GET", _address(id_)), tries)))


def wait(id_: str, progress: Progress | None) -> Flow[dict]:
    """The job in its final state. Its events are followed; where they break off, they are asked for again, and where
    they bring nothing, the job is polled."""
    tell, broken, ended = _Told(progress), 0, False
    while True:
        found = yield from job(id_, _PATIENT)
        tell(found)
        if found["state"] in FINAL:
            return found
        if ended:  # a moment ago, by its events
            yield Pause(_EVERY)
        elif broken < _BROKEN:
            events = _Events(tell)
            request = Request("GET", f"{_address(id_)}/events", quiet=_QUIET, take=events.begin)
            with contextlib.suppress(ServiceError):  # what is wrong is said by the job's own address
                yield from answer(request, 1)
            ended, broken = events.ended, 0 if events.seen else broken + 1
        if not ended:
            yield Pause(_EVERY)


def judge(paths: Any, options: Mapping[str, Any], progress: Progress | None, output: Any) -> Flow[list[dict]]:
    files = named(paths)
    if output is not None:
        check_folder(output, "output")
    id_ = (yield from submit(files, options, progress))["id"]
    found = yield from wait(id_, progress)
    rows = finished(found, len(files))
    if output is not None:
        rows = finished(found | (yield from download(id_, output))[0], len(files))
    return [row | {"file": str(path)} for row, path in zip(rows, files, strict=True)]


def page(cursor: str | None) -> Flow[tuple[list[dict], str | None]]:
    """Jobs, the newest first, and the cursor of the next page or None."""
    params = {"limit": "100"} | ({} if cursor is None else {"cursor": cursor})
    found = mapping((yield from answer(Request("GET", "/v1/jobs", params=params))))
    after = found.get("next")
    return _dicts(found.get("jobs")), after if isinstance(after, str) and after != cursor else None


def result(id_: str) -> Flow[dict]:
    found = mapping((yield from answer(Request("GET", f"{_address(id_)}/result.json"))))
    _dicts(found.get("rows"))
    return found


def download(id_: str, folder: Any) -> Flow[tuple[dict, list[Path]]]:
    """The result, whose rows name what was written as paths below ``folder``, and the paths."""
    check_folder(folder, "output")
    found = yield from result(id_)
    rows = found["rows"]
    names, written = Names(REPORT), []
    for row in rows:
        for holder, key, suffix in _pictures(row):
            address = holder.get(key)
            if address is None:
                continue
            name = f"{id_}/{names.new(str(row.get('file')), suffix)}"
            yield from _save(_below(id_, address), Path(folder, name))
            holder[key] = name
            written.append(Path(folder, name))
    written.append(Path(folder, id_, REPORT))
    yield from _save(f"{_address(id_)}/{REPORT}", written[-1])
    return found, written


def delete(id_: str) -> Flow[None]:
    yield from answer(Request("DELETE", _address(id_)))


def feedback(id_: str, number: int, verdict: str, comment: str) -> Flow[None]:
    said = {"n": number, "verdict": verdict, "comment": comment}
    yield from answer(Request("POST", f"{_address(id_)}/feedback", json=said, repeat=False))


def limits() -> Flow[dict]:
    return mapping((yield from answer(Request("GET", "/v1/limits"))))


def models() -> Flow[list[dict]]:
    return _dicts(mapping((yield from answer(Request("GET", "/v1/models")))).get("models"))


def named(paths: str | os.PathLike | Sequence[str | os.PathLike]) -> tuple[Path, ...]:
    """The files that are named. Raises UserError for none, for a folder, and for what is not there."""
    files = tuple(map(Path, [paths] if isinstance(paths, str | os.PathLike) else paths))
    if not files:
        raise UserError("paths: found none, wanted at least one file")
    for path in files:
        if not path.is_file():
            found = "a folder" if path.is_dir() else "no such file"
            raise UserError(f"{on_one_line(str(path))}: found {found}, wanted a file")
    return files


def finished(found: Mapping[str, Any], files: int) -> list[dict]:
    """The rows of a job in its final state, one for each of its files.

    Raises ServiceError, whose code says why, where it has none.
    """
    state = found["state"]
    if state != "done":
        said = found.get("problem")
        said = said if isinstance(said, dict) else {}
        code, detail = said.get("code"), said.get("detail")
        code = code if isinstance(code, str) else state
        raise ServiceError(None, on_one_line(code), on_one_line(detail) if isinstance(detail, str) else f"job {state}")
    rows = _dicts(found.get("rows"))
    if len(rows) != files:
        raise not_understood(f"{len(rows)} rows for {files} files")
    return rows


def _form(options: Mapping[str, Any]) -> dict[str, str]:
    for name in options:
        if name not in Options.__annotations__:
            raise TypeError(f"unexpected option {name!r}, wanted some of {', '.join(Options.__annotations__)}")
    given = {name: value for name, value in options.items() if value is not None}
    return {name: str(value).lower() if isinstance(value, bool) else str(value) for name, value in given.items()}


def _address(id_: str) -> str:
    if not isinstance(id_, str) or not _ID.fullmatch(id_):
        raise UserError(f"id: found {str(id_)[:100]!r}, wanted that of a job")
    return f"/v1/jobs/{id_}"


def _below(id_: str, address: Any) -> str:
    """The address of a job's picture; an address elsewhere, which must not be sent the key, is an error."""
    start = f"{_address(id_)}/"
    inside = isinstance(address, str) and address.startswith(start) and _PICTURE.fullmatch(address)
    if not inside or any(part in (".", "..") for part in address.split("/")):
        raise not_understood(f"a picture at {on_one_line(str(address)[:200])}")
    return address


def _job(found: httpx.Response) -> dict:
    said = mapping(found)
    if not isinstance(said.get("id"), str) or not _ID.fullmatch(said["id"]) or not isinstance(said.get("state"), str):
        raise not_understood("no job")
    return said


def _dicts(found: Any) -> list[dict]:
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise not_understood("no list of objects")
    return found


def _pictures(row: dict) -> list[tuple[dict, str, str]]:
    """(where an address stands, under which name, the end of its file's name) of all that a row may show."""
    copy = ".annotated.mp4" if row.get("kind") == "video" else ".annotated.png"
    found = [(row, "annotated", copy), (row, "heat_map", ".heat.png"), (row, "poster", f"{copy}.jpg")]
    found += [(one, "picture", f".{one.get('name')}.png") for one in _dicts(row.get("evidence") or [])]
    for one in _dicts(row.get("tracks") or []):
        found += [(one, "crop", f".face{one.get('track')}.jpg"), (one, "heat", f".face{one.get('track')}.heat.png")]
    return found


def _save(address: str, target: Path) -> Flow[None]:
    with replacing(target) as temporary, open(temporary, "wb") as file:

        def begin() -> Callable[[bytes], bool]:
            file.seek(0)
            file.truncate()
            return lambda part: file.write(part) < 0  # never enough

        yield from answer(Request("GET", address, take=begin))


class _Told:
    """Calls ``progress`` with what has changed."""

    def __init__(self, progress: Progress | None):
        self._progress, self._last = progress, None

    def __call__(self, found: Mapping[str, Any]) -> None:
        share = found.get("progress")
        now = float(share) if isinstance(share, int | float) else 0.0, str(found.get("state"))
        if self._progress is not None and now != self._last:
            self._progress(*now)
        self._last = now


class _Events:
    """Reads server-sent events from the parts of a stream. seen: whether there was one. ended: a final state."""

    def __init__(self, tell: _Told):
        self._tell, self._left, self._event, self._data = tell, b"", "", ""
        self.seen = self.ended = False

    def begin(self) -> Callable[[bytes], bool]:
        return self._take

    def _take(self, part: bytes) -> bool:
        *lines, self._left = (self._left + part).split(b"\n")
        for line in lines:
            self._line(line.rstrip(b"\r").decode(errors="replace"))
        return self.ended or len(self._left) + len(self._data) > _LONGEST_EVENT

    def _line(self, line: str) -> None:
        name, _, value = line.partition(":")
        if name == "event":
            self._event = value.strip()
        elif name == "data":
            self._data += value
        elif not line:
            self._finish(self._event, self._data)
            self._event = self._data = ""

    def _finish(self, event: str, data: str) -> None:
        if event != "job":
            return
        try:
            found = from_json(data)
        except ValueError:
            return
        if isinstance(found, dict):
            self.seen, self.ended = True, found.get("state") in FINAL
            self._tell(found)
