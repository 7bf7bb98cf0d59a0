"""A service of the API's contract in memory, as a transport of httpx: it judges nothing, and keeps what it was sent."""

import contextlib
import copy
import email
import email.policy
import json
import threading
from collections.abc import Callable, Iterable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx

FACE = {"time": 0.0, "score": 0.93, "box": [1.0, 2.0, 3.0, 4.0]}
PART = b"x" * 1000


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body in parts; a part that is an exception is raised."""

    def __init__(self, parts: Iterable[bytes | BaseException]):
        self._parts = parts

    def __iter__(self):
        for part in self._parts:
            if isinstance(part, BaseException):
                raise part
            yield part

    async def __aiter__(self):
        for part in self:
            yield part


def said(status: int, what: dict) -> httpx.Response:
    """Any text can be in it, as its escapes: httpx's own ``json=`` refuses half characters."""
    return httpx.Response(status, content=json.dumps(what), headers={"content-type": "application/json"})


def problem(status: int, code: str, detail: str = "no", headers: dict | None = None, **more) -> httpx.Response:
    what = {"type": "about:blank", "title": code, "status": status, "code": code, "detail": detail, **more}
    kind = {"content-type": "application/problem+json"}
    return httpx.Response(status, content=json.dumps(what), headers=kind | (headers or {}))


class Fake:
    """key: the one it takes. ends: the state that jobs end in. trouble: (method and path's end, answer or exception)
    of requests that go wrong, each once, in order. seen: method and path of every request. uploads: (name, content)
    of the files of each job that was asked for, a repeated request included. forms: their other fields."""

    def __init__(self, ends: str = "done", key: str = "fdk_1"):
        self.ends, self.key = ends, key
        self.trouble: list[tuple[str, httpx.Response | Exception | Callable]] = []
        self.seen: list[str] = []
        self.uploads: list[list[tuple[str, bytes]]] = []
        self.forms: list[dict[str, str]] = []
        self.jobs: dict[str, dict] = {}
        self.keys: dict[str, str] = {}
        self.feedback: list[dict] = []
        self.said = {"file_bytes": 5000, "files": 2, "job_bytes": 6000, "retention_hours": 24}
        self.edit: Callable[[dict], None] = lambda row: None
        self.events: list[list[bytes | Exception]] | None = None
        self.code = "time_limit"

    @property
    def transport(self) -> httpx.MockTransport:
        return httpx.MockTransport(self.answer)

    def answer(self, request: httpx.Request) -> httpx.Response:
        asked = f"{request.method} {request.url.path}"
        self.seen.append(asked)
        for number, (where, what) in enumerate(self.trouble):
            method, _, end = where.partition(" ")
            if request.method == method and request.url.path.endswith(end):
                del self.trouble[number]
                if callable(what):
                    what = what(request)
                if isinstance(what, Exception):
                    raise what
                return _fresh(what)
        if request.headers.get("authorization") != f"Bearer {self.key}":
            return problem(401, "key_unknown", "The key is not known.")
        return self._routed(request)

    def _routed(self, request: httpx.Request) -> httpx.Response:
        match request.method, request.url.path.removeprefix("/v1/").split("/"):
            case "POST", ["jobs"]:
                return self._made(request)
            case "GET", ["jobs"]:
                return self._page(request)
            case "GET", ["limits"]:
                return httpx.Response(200, json=self.said)
            case "GET", ["models"]:
                return httpx.Response(200, json={"models": [{"name": "bundled", "default": True, "threshold": 0.6}]})
            case method, ["jobs", id_, *rest] if id_ in self.jobs:
                return self._job(method, self.jobs[id_], rest, request)
        return problem(404, "not_found", "There is no such job.")

    def _made(self, request: httpx.Request) -> httpx.Response:
        files, form = parts_of(request)
        self.uploads.append(files)
        self.forms.append(form)
        key = request.headers["idempotency-key"]
        if key not in self.keys:
            id_ = self.keys[key] = f"j{len(self.jobs)}"
            rows = [self.row(id_, number, name, form) for number, (name, _) in enumerate(files)]
            self.jobs[id_] = {
                "id": id_,
                "state": "queued",
                "progress": 0.0,
                "rows": None,
                "problem": None,
                "made": rows,
            }
        return said(202, self._shown(self.jobs[self.keys[key]]))

    def row(self, id_: str, number: int, name: str, form: dict) -> dict:
        base, video = f"/v1/jobs/{id_}", name.endswith(".mp4")
        heat = form.get("heat_map") == "true"
        mask = {"name": "mask", "title": "Altered area", "value": 0.1, "speaks_for": "fake", "strength": 0.5}
        mask |= {"words": "a tenth is altered", "picture": f"{base}/evidence/{number}/mask"}
        track = {"track": 0, "score": 0.93, "faces": [FACE], "crop": f"{base}/faces/{number}/0"}
        row = {
            "file": name,
            "verdict": "fake" if "fake" in name else "real",
            "score": 0.93,
            "reason": "P(fake) 0.930",
            "evidence": [mask | {"name": "detector", "picture": None}, mask],
            "classes": {},
            "threshold": 0.6,
            "suspicious": None,
            "kind": "video" if video else "image",
            "duration": 1.0,
            "frames": [[0.0, 0.93]],
            "tracks": [track | {"heat": f"{base}/faces/{number}/0/heat" if heat else None}],
            "annotated": f"{base}/annotated/{number}",
            "heat_map": f"{base}/heatmap/{number}" if heat else None,
            "poster": f"{base}/poster/{number}" if video else None,
            "note": "",
        }
        self.edit(row)
        return row

    def _page(self, request: httpx.Request) -> httpx.Response:
        ids = list(self.jobs)[::-1]
        start = int(request.url.params.get("cursor", 0))
        after = start + 2 if start + 2 < len(ids) else None
        shown = [self._shown(self.jobs[one]) | {"rows": None} for one in ids[start : start + 2]]
        return httpx.Response(200, json={"jobs": shown, "next": None if after is None else str(after)})

    def _job(self, method: str, job: dict, rest: list[str], request: httpx.Request) -> httpx.Response:
        match method, rest:
            case "GET", []:
                return said(200, self._shown(job))
            case "DELETE", []:
                del self.jobs[job["id"]]
                return httpx.Response(204)
            case "GET", ["events"]:
                headers = {"content-type": "text/event-stream"}
                return httpx.Response(200, stream=Stream(self._events(job)), headers=headers)
            case "POST", ["feedback"]:
                self.feedback.append(json.loads(request.content))
                return httpx.Response(204)
            case "GET", ["result.json"]:
                if job["state"] != "done":
                    return problem(409, "not_ready", "The job is not done.")
                return said(200, {"job": self._shown(job), "rows": job["rows"]})
            case "GET", ["report.html"]:
                return httpx.Response(200, content=b"<!doctype html>report")
            case "GET", ["annotated" | "heatmap" | "poster" | "evidence" | "faces", *_]:
                return httpx.Response(200, stream=Stream([request.url.path.encode(), PART]))
        return problem(404, "not_found")

    def _events(self, job: dict):
        if self.events is not None:
            for part in self.events.pop(0) if self.events else []:
                if part == b"end":
                    self.end(job)
                else:
                    yield part
            return
        job["state"] = "running"
        for share in (0.25, 0.75):
            job["progress"] = share
            yield self.event(job)
            yield b": keep-alive\r\n\r\n"
        self.end(job)
        for byte in self.event(job):
            yield bytes([byte])

    def event(self, job: dict) -> bytes:
        return f"event: job\ndata: {json.dumps(self._shown(job) | {'rows': None})}\n\n".encode()

    def end(self, job: dict) -> None:
        job |= {"state": self.ends, "progress": 1.0}
        if self.ends == "done":
            job["rows"] = job["made"]
        elif self.ends == "failed":
            job["problem"] = {"code": self.code, "detail": "The job took longer than 600 seconds."}

    def _shown(self, job: dict) -> dict:
        return copy.deepcopy({name: value for name, value in job.items() if name != "made"})


@contextlib.contextmanager
def served(fake: "Fake") -> Iterator[str]:
    """The fake at a true address on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            asked = httpx.Request(self.command, f"http://fake{self.path}", headers=dict(self.headers), content=body)
            found = fake.answer(asked)
            self.send_response(found.status_code)
            for name, value in found.headers.items():
                self.send_header(name, value)
            self.end_headers()
            for part in found.stream:
                self.wfile.write(part)

        do_POST = do_DELETE = do_GET

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def _fresh(answer: httpx.Response) -> httpx.Response:
    """The same answer once more: an answer that was sent belongs to the client that got it."""
    try:
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)
    except httpx.ResponseNotRead:  # a stream, sent once
        return answer


def parts_of(request: httpx.Request) -> tuple[list[tuple[str, bytes]], dict[str, str]]:
    """(name, content) of the files of a form, and its other fields."""
    head = f"content-type: {request.headers['content-type']}\r\n\r\n".encode()
    message = email.message_from_bytes(head + request.content, policy=email.policy.HTTP)
    files, form = [], {}
    for part in message.iter_parts():
        name = part.get_param("name", header="content-disposition")
        content = part.get_payload(decode=True)
        if name == "files":
            files.append((part.get_filename(), content))
        else:
            form[name] = content.decode()
    return files, form
