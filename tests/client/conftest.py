"""Both clients against the fake service, called alike."""

import time

import anyio
import pytest

from fdetect_jax.client import AsyncClient, Client
from tests.client.fake_service import Fake


@pytest.fixture
def pauses(monkeypatch) -> list[float]:
    """What a client would have waited, in seconds; nothing waits."""
    made = []

    async def asleep(seconds: float) -> None:
        made.append(seconds)

    monkeypatch.setattr(time, "sleep", made.append)
    monkeypatch.setattr(anyio, "sleep", asleep)
    return made


@pytest.fixture
def service(pauses) -> Fake:
    return Fake()


@pytest.fixture(params=["sync", "async"])
def call(request, service):
    """Calls a method of a client by name; of ``jobs`` the whole list."""

    def how():
        return {"key": service.key, "transport": service.transport}

    def sync(name, *arguments, **options):
        with Client("http://service", **how()) as client:
            found = getattr(client, name)(*arguments, **options)
            return list(found) if name == "jobs" else found

    def awaited(name, *arguments, **options):
        async def run():
            async with AsyncClient("http://service", **how()) as client:
                found = getattr(client, name)(*arguments, **options)
                return [one async for one in found] if name == "jobs" else await found

        return anyio.run(run)

    return sync if request.param == "sync" else awaited


@pytest.fixture
def files(tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "fake.mp4").write_bytes(b"a" * 1500)
    (folder / "photo.jpg").write_bytes(b"b" * 300)
    return [folder / "fake.mp4", folder / "photo.jpg"]
