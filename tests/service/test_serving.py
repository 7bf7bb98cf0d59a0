"""``fdetect serve`` as processes: killed server, killed workers, three databases; every accepted job ends once.

``FDETECT_KILLS=100`` kills more often than the two times of the default.
"""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.service.conftest import free_port

_MAIN = "from fdetect_jax.cli import main; raise SystemExit(main())"
_KILLS = int(os.environ.get("FDETECT_KILLS", "2"))


class Served:
    """A server as a process, with its workers. model: weights, or "bundled"."""

    def __init__(self, folder: Path, model: Path | str, url: str, workers: int = 1, *options: str):
        self.port = free_port()
        named = str(model) if model == "bundled" else f"own={model}"
        self._command = [
            *(sys.executable, "-c", _MAIN, "serve", "--port", str(self.port), "--queue", url, "--model", named),
            *("--data", str(folder / "data"), "--workers", str(workers), *options),
        ]
        self._log = open(folder / "log", "a")  # noqa: SIM115
        self.client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=30)
        self.start()

    def start(self) -> None:
        environment = os.environ | {"XLA_FLAGS": os.environ.get("FDETECT_TESTS_XLA_FLAGS", "")}
        how = {"stdout": self._log, "stderr": self._log, "env": environment, "cwd": Path(__file__).parents[2]}
        self.process = subprocess.Popen(self._command, **how)

    def ready(self, seconds: float = 120) -> None:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                if self.client.get("/readyz").status_code == 200:
                    return
            except httpx.TransportError:
                assert self.process.poll() is None, "the server ended"
            time.sleep(0.2)
        pytest.fail("the service is not ready")

    def workers(self) -> list[int]:
        """The processes of the workers: children of the server that are none of multiprocessing's own."""
        found = []
        for status in Path("/proc").glob("[0-9]*/stat"):
            try:
                number, _, rest = status.read_text().partition(" (")
                parent = int(rest.rpartition(") ")[2].split()[1])
                command = (status.parent / "cmdline").read_text()
            except OSError:
                continue
            if parent == self.process.pid and "spawn_main" in command:
                found.append(int(number))
        return found

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(30)

    def close(self) -> None:
        self.process.terminate()
        assert self.process.wait(60) == 0
        self.client.close()
        self._log.close()

    def send(self, file: Path, key: str) -> str:
        """Sends a file until it is accepted; the key makes one job of it."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                with open(file, "rb") as content:
                    form = {"files": {"files": (file.name, content)}, "data": {"frames": "2", "again": "true"}}
                    answer = self.client.post("/v1/jobs", **form, headers={"idempotency-key": key})
                if answer.status_code == 202:
                    return answer.json()["id"]
                assert answer.status_code == 503, answer.text
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        pytest.fail("nothing was accepted")

    def ended(self, job: str, seconds: float = 180) -> dict:
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            try:
                found = self.client.get(f"/v1/jobs/{job}").json()
                if found["state"] not in ("queued", "running"):
                    return found
            except httpx.TransportError:
                pass
            time.sleep(0.3)
        pytest.fail(f"the job does not end: {found}")


def audited(folder: Path) -> list[str]:
    lines = (folder / "data" / "audit.jsonl").read_text().splitlines()
    return [json.loads(line)["id"] for line in lines]


@pytest.mark.parametrize("server", ["redis", "postgresql"], indirect=True)  # SQLite: below
def test_the_same_jobs_over_every_database(url, model, media, faces, tmp_path):
    served = Served(tmp_path, model, url)
    served.ready()
    names = ("face.png", "clip.mp4", "notes.txt", "wall.png")
    jobs = {name: served.send(media / name, name) for name in names}
    found = {name: served.ended(job) for name, job in jobs.items()}
    assert {one["state"] for one in found.values()} == {"done"}
    verdicts = {name: one["rows"][0]["verdict"] for name, one in found.items()}
    assert verdicts["notes.txt"] == "unable_to_evaluate"
    assert verdicts["wall.png"] == "not_applicable"
    assert served.client.get(found["clip.mp4"]["rows"][0]["annotated"]).status_code == 200
    served.close()
    assert sorted(audited(tmp_path)) == sorted(jobs.values())


@pytest.mark.slow
def test_kills_lose_nothing_and_double_nothing(model, media, faces, tmp_path):
    served = Served(tmp_path, model, f"sqlite:///{tmp_path / 'service.db'}", workers=1 + (_KILLS > 2))
    served.ready()
    rng, jobs = random.Random(0), []
    for number in range(_KILLS):
        jobs += [served.send(media / ("face.png", "clip.mp4")[number % 2], f"{number}-{one}") for one in range(3)]
        time.sleep(rng.uniform(0, 2))
        if number % 2:
            served.kill()  # its workers end with it
            served.start()
        elif workers := served.workers():
            os.kill(rng.choice(workers), signal.SIGKILL)
    found = [served.ended(job, 300) for job in jobs]
    assert len(set(jobs)) == 3 * _KILLS
    # A job that was at work each time of three is given up, with the reason; it is not lost.
    assert all(one["state"] == "done" or "ended 3 times" in one["problem"]["detail"] for one in found)
    if _KILLS < 10:
        assert {one["state"] for one in found} == {"done"}
    served.close()
    lines = audited(tmp_path)
    assert len(lines) == len(set(lines))
    assert len(lines) >= len(jobs) - _KILLS  # one that was killed between its end and its line has none
