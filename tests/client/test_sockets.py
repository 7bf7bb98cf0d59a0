"""The client against a server on loopback that closes, refuses early and answers slowly, at true sockets."""

import json
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import anyio
import pytest

from fdetect_jax.client import AsyncClient, Client, ServiceError

JOB = {"id": "j0", "state": "done", "progress": 1.0, "rows": [{"file": "a.mp4"}]}
SIZE = 48 << 20


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.server.keys.append(self.headers["Idempotency-Key"])
        what = self.server.answers.pop(0)
        if what == "close":  # in the middle of the upload
            self.rfile.read(1 << 20)
            self.close_connection = True
        elif what == "refuse":  # with the body unread
            self._answer(413, {"code": "too_large", "detail": "The file is too large."}, close=True)
        else:
            left = int(self.headers["Content-Length"])
            while left:
                left -= len(self.rfile.read(min(left, 1 << 20)))
            self.server.read += 1
            if what == "lose":  # the answer
                self.close_connection = True
            else:
                self._answer(202, JOB)

    def do_GET(self):
        self._answer(200, JOB)

    def _answer(self, status, said, close=False):
        body = json.dumps(said).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        if close:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.daemon_threads = True
        found.answers, found.keys, found.read = [], [], 0
        thread = threading.Thread(target=found.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield found
        found.shutdown()
        thread.join()


@pytest.fixture(params=["sync", "async"])
def judge(request, server, pauses, tmp_path):
    path, url = tmp_path / "a.mp4", f"http://127.0.0.1:{server.server_port}"
    with open(path, "wb") as file:
        file.truncate(SIZE)

    async def awaited():
        async with AsyncClient(url) as client:
            return await client.judge(path)

    def sync():
        with Client(url) as client:
            return client.judge(path)

    return sync if request.param == "sync" else lambda: anyio.run(awaited)


def test_an_upload_is_sent_again_with_its_key_and_never_held_in_memory(judge, server):
    server.answers = ["close", "lose", "take"]
    tracemalloc.start()
    try:
        (row,) = judge()
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert row["file"].endswith("a.mp4")
    assert server.read == 2
    assert len(server.keys) == 3
    assert len(set(server.keys)) == 1
    assert peak < SIZE / 3


def test_a_refusal_before_the_upload_ends_is_understood(judge, server):
    server.answers = ["refuse"] * 6
    with pytest.raises(ServiceError) as caught:
        judge()
    assert caught.value.code in ("too_large", "unreachable")  # a reset may come before the answer is read
    if caught.value.code == "too_large":
        assert len(server.keys) == 1
