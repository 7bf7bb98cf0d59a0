"""The sweeps: lost jobs, expired results, leftovers of uploads, webhooks; and a storage that is no folder."""

import json
import time

import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.service import jobs as jobs_module
from fdetect_jax.service import sweep
from fdetect_jax.service.service import Service
from fdetect_jax.service.settings import Settings, models_of
from fdetect_jax.service.storage import Storage
from fdetect_jax.service.sweep import Sweeper
from fdetect_jax.service.webhooks import BACK_OFF, Undeliverable
from tests.service.test_web_api import FAR, client_of, done, sent


@pytest.fixture
def client(service):
    with client_of(service) as made:
        yield made


def test_a_job_of_a_silent_worker_is_queued_again(client, service, monkeypatch):
    job = sent(client).json()["id"]
    monkeypatch.setattr(jobs_module, "LEASE", -1.0)
    service.jobs.claim("w", 1)
    while service.queue.waiting():  # whoever was woken is gone
        service.queue._huey.dequeue()
    Sweeper(service).sweep()
    assert service.jobs.get(job)["state"] == "queued"
    assert service.queue.waiting() == 1
    Sweeper(service).sweep()
    assert service.queue.waiting() == 1  # one message is enough


def test_a_job_that_ends_every_worker_fails_and_leaves_no_file(client, service, monkeypatch):
    job = sent(client).json()["id"]
    monkeypatch.setattr(jobs_module, "LEASE", -1.0)
    for _ in range(service.settings.tries):
        service.jobs.claim("w", 1)
        Sweeper(service).sweep()
    assert client.get(f"/v1/jobs/{job}").json()["problem"]["code"] == "failed"
    assert list(service.storage.folders("jobs")) == []
    (line,) = (service.settings.data / "audit.jsonl").read_text().splitlines()
    assert json.loads(line)["problem"] == "failed"


def test_results_go_when_their_time_is_over(client, service, tmp_path):
    job = sent(client, ("f", b"abc")).json()["id"]
    done(service, job, tmp_path)
    service.records.change(f"job/{job}", lambda one: one | {"in": one["in"] | {jobs_module.ENDED: time.time() - 1}})
    Sweeper(service).sweep()
    found = client.get(f"/v1/jobs/{job}").json()
    assert (found["state"], found["files"], found["rows"]) == ("expired", [], None)
    assert list(service.storage.folders("jobs")) == []


def test_uploads_that_never_became_a_job_go_after_an_hour(client, service):
    kept = service.jobs.get(sent(client).json()["id"])["folder"]
    now = int(time.time())
    for name in (f"j{'0' * 32}-{now - 4000:x}-ab", f"j{'1' * 32}-{now:x}-ab"):
        service.storage.write(f"jobs/{name}/in/0", b"x")
    Sweeper(service).clear()
    left = sorted(service.storage.folders("jobs"))
    assert left == sorted([kept.removeprefix("jobs/"), f"j{'1' * 32}-{now:x}-ab"])


def test_webhooks_are_signed_retried_and_given_up(service, tmp_path, monkeypatch):
    made, calls = service.keys.add("press"), []
    answers = [Undeliverable("503", True), Undeliverable("timed out", True), None]

    def deliver(url, body, secret, delivery):
        calls.append((url, json.loads(body), secret, delivery))
        if (answer := answers[min(len(calls), len(answers)) - 1]) is not None:
            raise answer

    monkeypatch.setattr(sweep, "deliver", deliver)
    with client_of(service, FAR, headers={"authorization": f"Bearer {made.key}"}) as client:
        job = sent(client, ("f", b"abc"), webhook="https://example.org/hook").json()["id"]
        Sweeper(service).call()
        assert calls == []
        done(service, job, tmp_path)
        for tried, pause in enumerate((*BACK_OFF[:2], None)):
            Sweeper(service).call()
            assert len(calls) == tried + 1
            due = service.records.get(f"job/{job}")["in"].get(jobs_module.HOOKS)
            assert (due is None) == (pause is None)
            if pause is not None:
                assert due == pytest.approx(time.time() + pause, abs=10)
                service.records.change(f"job/{job}", lambda one: one | {"in": one["in"] | {jobs_module.HOOKS: 0.0}})
        url, body, secret, delivery = calls[0]
        assert (url, body["state"], secret, delivery) == ("https://example.org/hook", "done", made.secret, job)
        assert "rows" not in body


def test_a_receiver_that_refuses_is_not_asked_again(service, tmp_path, monkeypatch):
    made, calls = service.keys.add("press"), []

    def deliver(*_):
        calls.append(1)
        raise Undeliverable("404", False)

    monkeypatch.setattr(sweep, "deliver", deliver)
    with client_of(service, FAR, headers={"authorization": f"Bearer {made.key}"}) as client:
        job = sent(client, ("f", b"abc"), webhook="https://example.org/hook").json()["id"]
    done(service, job, tmp_path)
    for _ in range(2):
        Sweeper(service).call()
    assert calls == [1]


def test_files_in_memory_of_fsspec(tmp_path):
    storage = Storage("memory://fdetect-test")
    (tmp_path / "a").write_bytes(b"abc")
    storage.put(tmp_path / "a", "jobs/x/in/0")
    assert not (tmp_path / "a").exists()
    storage.write("jobs/x/rows.json", b"[]")
    assert (storage.read("jobs/x/in/0"), storage.size("jobs/x/in/0")) == (b"abc", 3)
    storage.fetch("jobs/x/in/0", tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"abc"
    storage.copy("jobs/x/rows.json", "jobs/y/rows.json")
    assert sorted(storage.folders("jobs")) == ["x", "y"]
    storage.remove("jobs/x")
    storage.remove("jobs/x")
    with pytest.raises(FileNotFoundError):
        storage.read("jobs/x/in/0")
    for bad in ("../x", "a/../../b", "", "/a", "a//b"):
        with pytest.raises(ValueError, match="storage"):
            storage.read(bad)


def test_a_service_whose_files_are_at_an_address(tmp_path):
    service = Service.open(Settings(tmp_path / "data", storage="memory://fdetect-service"))
    with client_of(service) as client:
        job = sent(client, ("f", b"abc")).json()["id"]
        done(service, job, tmp_path)
        answer = client.get(f"/v1/jobs/{job}/annotated/0", headers={"range": "bytes=1-2"})
        assert (answer.status_code, answer.content) == (206, b"\x01\x02")
        client.delete(f"/v1/jobs/{job}")
    assert list(service.storage.folders("jobs")) == []
    service.close()


def test_settings(tmp_path, monkeypatch):
    made = Settings(tmp_path, models=models_of(["a=x.safetensors", "runs/b", "c=bundled"]), per_day=5)
    assert dict(made.models) == {"a": "x.safetensors", "b": "runs/b", "c": None}
    assert Settings.from_text(json.dumps(made.to_json())).models == made.models
    for wrong in (["=x"], ["a="], ["a=x", "a=y"]):
        with pytest.raises(UserError, match="model"):
            models_of(wrong)
    for name, value in (("seconds", 0), ("files", -1), ("per_day", -1), ("queue", "mysql://x")):
        with pytest.raises(UserError, match=name):
            Settings(tmp_path, **{name: value})
    with pytest.raises(UserError, match="storage"):
        Storage("nosuchscheme://x")
