"""Databases that the tests start themselves, a service over each, and an API that is asked from the loopback."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from fdetect_jax.service.service import Service
from fdetect_jax.service.settings import Settings
from tests.predict.conftest import media, model  # noqa: F401

BACKENDS = ("sqlite", "redis", "postgresql")


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


@contextmanager
def _redis(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    port = free_port()
    options = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(folder), "--save", "", "--appendonly", "no"]
    with _running([program, *options]):
        _awaited(port)
        yield f"redis://127.0.0.1:{port}/0"


@contextmanager
def _postgresql(folder: Path) -> Iterator[str]:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb")) or [Path(shutil.which("initdb") or "none")]
    if not found[-1].is_file():
        pytest.skip("PostgreSQL is not installed")
    programs, who, data = found[-1].parent, {}, folder / "data"
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        try:
            who = {"user": pwd.getpwnam("postgres").pw_uid}
        except KeyError:
            pytest.skip("PostgreSQL does not run as root, and there is no user postgres")
        os.chown(folder, who["user"], -1)
    made = [programs / "initdb", "-D", data, "-A", "trust", "-U", "tester", "--no-sync"]
    subprocess.run(made, check=True, stdout=subprocess.DEVNULL, cwd="/", **who)
    port = free_port()
    options = ["-D", data, "-p", str(port), "-h", "127.0.0.1", "-k", folder, "-c", "fsync=off"]
    with _running([programs / "postgres", *options], **who):
        _awaited(port)
        url = f"postgresql://tester@127.0.0.1:{port}/postgres"
        _answers(url)
        yield url


@contextmanager
def _running(command: list, **how) -> Iterator[None]:
    process = subprocess.Popen(
        list(map(str, command)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd="/", **how
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(20)


def _awaited(port: int) -> None:
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    pytest.fail("the database does not listen")


def _answers(url: str) -> None:
    import psycopg

    deadline = time.monotonic() + 30
    while True:
        try:
            psycopg.connect(url).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture(scope="session", params=BACKENDS)
def server(request) -> Iterator[str]:
    """The URL of a database server; of SQLite none, as each test has a file."""
    if request.param == "sqlite":
        yield "sqlite:"
        return
    # Not among pytest's folders, which are closed to the user that PostgreSQL runs as.
    opened = {"redis": _redis, "postgresql": _postgresql}[request.param]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, opened(Path(folder)) as url:
        yield url


@pytest.fixture
def url(server, tmp_path) -> str:
    """The URL of an empty database."""
    if server.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'service.db'}"
    if server.startswith("redis"):
        import redis

        redis.Redis.from_url(server).flushall()
        return server
    import psycopg

    name = f"t{time.time_ns()}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return f"{server.rpartition('/')[0]}/{name}"


@pytest.fixture
def service(tmp_path) -> Iterator[Service]:
    """A service over SQLite that nobody works for."""
    opened = Service.open(Settings(tmp_path / "data", waiting=5, files=3, file_bytes=1 << 20, job_bytes=2 << 20))
    yield opened
    opened.close()


class Clock:
    """A clock that stands still until it is moved."""

    def __init__(self):
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now
