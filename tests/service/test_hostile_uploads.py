"""Uploads that mean harm: damaged media, bombs, names like paths, markup, bodies that lie about their length.

``FDETECT_HOSTILE=1000`` sends more than the few of the default.
"""

import io
import os
import random
import socket
import struct
import time
import zlib
from pathlib import Path

import pytest

from fdetect_jax.service.service import Service
from fdetect_jax.service.settings import Settings
from fdetect_jax.service.worker import Worker
from tests.service.test_serving import Served
from tests.service.test_web_api import client_of

_NUMBER = int(os.environ.get("FDETECT_HOSTILE", "40"))
_AT_ONCE = 8
NAMES = (
    "../../../etc/passwd",
    "..\\..\\windows\\win.ini",
    "/etc/cron.d/x",
    "<script>alert(1)</script>.mp4",
    'x" onerror="alert(1).png',
    "a\x00b.mp4",
    "\u202egpj.exe",
    "C:\\x.mp4",
    "." * 300,
    "con",
    "x.html",
    "",
)
SVG = b'<svg xmlns="http://www.w3.org/2000/svg" onload="alert(1)"><script>alert(1)</script></svg>'
HTML = b"<!doctype html><script>alert(1)</script>"
SAFE = {"application/json", "application/problem+json", "image/png", "image/jpeg", "video/mp4"}


def bomb() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few kilobytes."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 60_000, 60_000, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(10**6))) + chunk(b"IEND", b"")
    )


def mutant(content: bytes, rng: random.Random) -> bytes:
    """The content with some bytes changed, a part cut out or the end cut off."""
    changed = bytearray(content)
    for _ in range(rng.choice((1, 8, 64))):
        changed[rng.randrange(len(changed))] = rng.randrange(256)
    if rng.random() < 0.3:
        begin = rng.randrange(len(changed))
        del changed[begin : begin + rng.randrange(1, 2000)]
    return bytes(changed[: rng.randrange(1, len(changed))] if rng.random() < 0.2 else changed)


@pytest.fixture
def working(model, faces, tmp_path):
    settings = Settings(tmp_path / "in" / "data", models={"own": str(model)}, seconds=20, files=_AT_ONCE)
    (tmp_path / "in").mkdir()
    service = Service.open(settings)
    worker = Worker(service, processes=1)
    yield service, worker
    worker.close()
    service.close()


@pytest.mark.slow
def test_hostile_uploads_end_as_verdicts_and_nothing_of_them_is_active(working, media, tmp_path):
    service, worker = working
    rng = random.Random(0)
    originals = [(media / name).read_bytes() for name in ("clip.mp4", "face.png", "folder/face.jpg")]
    fixed = [bomb(), SVG, HTML, b"", b"\x00" * 5000, b"#EXTM3U\nhttp://127.0.0.1/x\n", b"PK\x03\x04" + bytes(99)]
    contents = fixed + [mutant(rng.choice(originals), rng) for _ in range(max(0, _NUMBER - len(fixed)))]
    before = {path for path in tmp_path.rglob("*") if not path.is_relative_to(service.settings.data)}
    with client_of(service) as client:
        for begin in range(0, len(contents), _AT_ONCE):
            files = [
                ("files", (NAMES[(begin + place) % len(NAMES)] or "x", io.BytesIO(content)))
                for place, content in enumerate(contents[begin : begin + _AT_ONCE])
            ]
            answer = client.post("/v1/jobs", files=files, data={"frames": "2", "heat_map": "true"})
            assert answer.status_code == 202, answer.text
            worker.judge()
            job = client.get(answer.json()["links"]["self"]).json()
            assert job["state"] == "done", job["problem"]
            assert len(job["rows"]) == len(files)
            for row in job["rows"]:
                assert row["file"] == Path(row["file"]).name
                assert "\x00" not in row["file"]
                for path in (row["annotated"], row["heat_map"], row["poster"], *(one["crop"] for one in row["tracks"])):
                    if path:
                        found = client.get(path)
                        assert found.headers["content-type"] in SAFE
                        assert not found.content.lstrip()[:5].lower().startswith((b"<", b"<!doc", b"<svg"))
            report = client.get(job["links"]["report"])
            assert report.headers["content-disposition"].startswith("attachment")
            assert "<script" not in report.text.lower()
            assert 'onerror="' not in report.text.lower()
    assert {path for path in tmp_path.rglob("*") if not path.is_relative_to(service.settings.data)} == before
    assert list((service.settings.data / "work").iterdir()) == []
    assert list((service.settings.data / "uploads").iterdir()) == []


def test_bodies_that_lie_or_crawl_are_ended(model, media, faces, tmp_path):
    served = Served(tmp_path, model, f"sqlite:///{tmp_path / 'service.db'}", 0, "--upload-seconds", "2")
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", served.port)) == 0:
                break
        time.sleep(0.1)
    head = "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=b\r\n"
    part = '--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nabc'
    bodies = {
        "crawls": f"{head}Content-Length: 100000\r\n\r\n{part}",
        "lies": f"{head}Content-Length: 3\r\n\r\n{part}\r\n--b--\r\n",
        "endless": f"{head}Transfer-Encoding: chunked\r\n\r\n5\r\n--b\r\n\r\n",
        "both": f"{head}Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "long": f"{head}X: {'y' * 200_000}\r\n\r\n",
    }
    for name, body in bodies.items():
        with socket.create_connection(("127.0.0.1", served.port), timeout=20) as one:
            one.sendall(body.encode())
            answer = one.recv(4096).decode(errors="replace")
            assert answer.startswith("HTTP/1.1 4"), (name, answer)
    assert served.client.get("/v1/jobs").json()["jobs"] == []
    assert list((tmp_path / "data" / "uploads").iterdir()) == []
    served.close()
