"""Records, jobs and the queue over SQLite, Redis and PostgreSQL: the same tests for each."""

import json
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.service.jobs import LEASE, Jobs, NotHeld
from fdetect_jax.service.keys import Keys
from fdetect_jax.service.problems import Problem
from fdetect_jax.service.queue import JsonMessages, Queue
from fdetect_jax.service.records import open_records, scheme_of
from tests.service.conftest import Clock

OPTIONS = {"model": "bundled", "faces": "all", "frames": 32, "per_second": None, "heat_map": False, "keep": False}
OPTIONS |= {"again": False, "webhook": None}


@pytest.fixture
def records(url):
    opened = open_records(url)
    yield opened
    opened.close()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def jobs(records, clock):
    return Jobs(records, waiting=50, tries=2, clock=clock)


def added(jobs, name, owner="a", content=None, **options):
    file = {"n": 0, "name": "a.mp4", "bytes": 3, "sha256": "00"}
    document = {"id": name, "owner": owner, "folder": f"jobs/{name}", "options": OPTIONS | options, "files": [file]}
    return jobs.add(document | {"retention": 1.0, "hook": options.get("webhook")}, content)[0]


def test_documents_and_their_places(records):
    records.change("x", lambda _: {"a": 1, "in": {"queue": 2.0, "all": 1.0}})
    records.change("y", lambda _: {"a": 2, "in": {"queue": 1.0}})
    assert records.get("x") == {"a": 1, "in": {"queue": 2.0, "all": 1.0}}
    assert records.get("z") is None
    assert records.names("queue") == [("y", 1.0), ("x", 2.0)]
    assert records.names("queue", newest=True, limit=1) == [("x", 2.0)]
    assert records.names("queue", low=1.5) == [("x", 2.0)]
    assert records.names("queue", high=1.0) == [("y", 1.0)]
    assert (records.count("queue"), records.count("queue", high=1.5), records.count("none")) == (2, 1, 0)
    records.change("x", lambda before: before | {"in": {"queue": 0.5}})
    assert records.names("queue") == [("x", 0.5), ("y", 1.0)]
    assert records.names("all") == []
    assert records.change("y", lambda _: None) is None
    assert records.names("queue") == [("x", 0.5)]


def test_a_change_that_fails_changes_nothing(records):
    records.change("x", lambda _: {"a": 1, "in": {"p": 1.0}})

    def fails(_):
        raise KeyError("no")

    with pytest.raises(KeyError):
        records.change("x", fails)
    assert records.get("x") == {"a": 1, "in": {"p": 1.0}}


def test_no_change_is_lost(records):
    def more(before):
        return {"n": (before or {"n": 0})["n"] + 1}

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: records.change("counter", more), range(80)))
    assert records.get("counter") == {"n": 80}


def test_each_job_is_taken_once(jobs, clock):
    for number in range(30):
        added(jobs, f"j{number}")
    with ThreadPoolExecutor(6) as pool:
        taken = [one.id for claims in pool.map(lambda n: jobs.claim(f"w{n}", 5), range(6)) for one in claims]
    while more := jobs.claim("last", 5):
        taken += [one.id for one in more]
    assert sorted(taken) == sorted(f"j{number}" for number in range(30))


def test_a_batch_has_one_kind_of_options(jobs, clock):
    for number, heat in enumerate((True, False, True, True)):
        clock.now += 1
        added(jobs, f"j{number}", heat_map=heat)
    assert [one.id for one in jobs.claim("w", 3)] == ["j0", "j2", "j3"]
    assert [one.id for one in jobs.claim("w", 3)] == ["j1"]


def test_a_job_that_was_tried_before_is_taken_alone(jobs, clock):
    for number in range(4):
        clock.now += 1
        added(jobs, f"j{number}")
    claims = jobs.claim("w", 4)
    for number in (1, 2):
        jobs.release(claims[number], counted=True)
    jobs.release(claims[3])
    assert [(one.id, one.attempt) for one in jobs.claim("w", 4)] == [("j1", 2)]
    assert [(one.id, one.attempt) for one in jobs.claim("w", 4)] == [("j2", 2)]
    assert [(one.id, one.attempt) for one in jobs.claim("w", 4)] == [("j3", 1)]


def test_a_job_from_first_to_last(jobs, clock):
    assert added(jobs, "j1")["state"] == "queued"
    clock.now += 1
    second = added(jobs, "j2")
    assert jobs.ahead(second) == 1
    (claim,) = jobs.claim("w", 1)
    assert (claim.id, claim.attempt, claim.out) == ("j1", 1, "jobs/j1/out-1")
    jobs.renew(claim, 0.5)
    jobs.renew(claim, 0.25)
    assert jobs.get("j1")["progress"] == 0.5  # it never goes back
    ended = jobs.finish(claim, ["digest"], 0)
    assert (ended["state"], ended["expires"] - ended["finished"]) == ("done", 3600)
    assert jobs.again("a", "digest")["id"] == "j1"
    assert jobs.again("b", "digest") is None  # another owner's
    assert jobs.counts() == {"queued": 1, "running": 0, "ended": 1}
    with pytest.raises(NotHeld):
        jobs.finish(claim, [], 0)


def test_a_worker_that_is_silent_loses_its_job(jobs, clock):
    added(jobs, "j1")
    (lost,) = jobs.claim("w1", 1)
    clock.now += LEASE - 1
    jobs.renew(lost)
    clock.now += LEASE - 1
    assert jobs.recover() == (0, [])
    clock.now += 2
    assert jobs.recover() == (1, [])
    (found,) = jobs.claim("w2", 1)
    assert found.attempt == 2
    for late in (lambda: jobs.renew(lost), lambda: jobs.finish(lost, [], 0), lambda: jobs.fail(lost, "failed", "x")):
        with pytest.raises(NotHeld):
            late()
    assert jobs.finish(found, [], 0)["out"] == "jobs/j1/out-2"


def test_the_jobs_of_a_worker_that_has_ended_wait_for_no_lease(jobs, clock):
    for number in range(3):
        clock.now += 1
        added(jobs, f"j{number}")
    jobs.claim("w1", 1)
    jobs.claim("w2", 1)
    assert jobs.recover("w1") == (2, [])
    assert [jobs.get(f"j{number}")["state"] for number in range(3)] == ["queued", "running", "queued"]


def test_a_job_that_ends_its_workers_fails(jobs, clock):
    added(jobs, "j1")
    for _ in range(2):
        assert jobs.claim("w", 1)
        clock.now += LEASE + 1
        waiting, failed = jobs.recover()
    assert (waiting, [one["id"] for one in failed]) == (0, ["j1"])
    assert jobs.get("j1")["problem"]["code"] == "failed"


def test_a_stopped_worker_gives_its_job_back(jobs, clock):
    added(jobs, "j1")
    (claim,) = jobs.claim("w", 1)
    jobs.release(claim)
    (again,) = jobs.claim("w2", 1)
    assert again.attempt == 1


def test_removal(jobs, clock):
    added(jobs, "waits")
    added(jobs, "runs")
    added(jobs, "done")
    claims = {one.id: one for one in jobs.claim("w", 3)}
    jobs.release(claims["waits"])
    jobs.finish(claims["done"], ["d"], 0)
    with pytest.raises(Problem, match="no such job"):
        jobs.remove("done", "b")
    for name, state in (("waits", "queued"), ("runs", "running"), ("done", "done")):
        assert jobs.remove(name, "a")["state"] == state
    for name in ("waits", "runs"):
        assert jobs.get(name)["state"] == "cancelled"
        assert jobs.get(name)["files"] == []  # what remains names no file
    with pytest.raises(Problem, match="no such job"):
        jobs.get("done")
    with pytest.raises(NotHeld):
        jobs.renew(claims["runs"])
    assert jobs.again("a", "d") is None
    assert jobs.claim("w", 3) == []


def test_results_expire_and_then_the_job_is_forgotten(jobs, clock):
    added(jobs, "j1")
    (claim,) = jobs.claim("w", 1)
    jobs.finish(claim, ["d"], 0)
    clock.now += 3599
    assert jobs.expire() == []
    clock.now += 2
    assert [one["folder"] for one in jobs.expire()] == ["jobs/j1"]
    assert (jobs.get("j1")["state"], jobs.get("j1")["files"]) == ("expired", [])
    clock.now += 8 * 86400
    jobs.expire()
    with pytest.raises(Problem, match="no such job"):
        jobs.get("j1")
    assert jobs.of("a", 10) == ([], None)


def test_idempotency(jobs, clock):
    first = added(jobs, "j1", content="c")
    clock.now += 1
    assert added(jobs, "j1", content="c") == first
    with pytest.raises(Problem) as error:
        added(jobs, "j1", content="other")
    assert error.value.code == "conflict"
    assert jobs.counts()["queued"] == 1


def test_the_queue_is_bounded(records, clock):
    jobs = Jobs(records, waiting=2, tries=2, clock=clock)
    added(jobs, "j1")
    added(jobs, "j2")
    with pytest.raises(Problem) as error:
        added(jobs, "j3")
    assert (error.value.code, error.value.retry_after) == ("too_busy", 30)
    jobs.claim("w", 1)
    added(jobs, "j3")


def test_pages_of_own_jobs(jobs, clock):
    for number in range(5):
        clock.now += 1
        added(jobs, f"j{number}", owner="ab"[number == 2])
    first, cursor = jobs.of("a", 2)
    assert [one["id"] for one in first] == ["j4", "j3"]
    rest, end = jobs.of("a", 2, cursor)
    assert ([one["id"] for one in rest], end) == (["j1", "j0"], None)


def test_webhooks_are_taken_once_until_they_are_called(jobs, clock):
    added(jobs, "j1", webhook="https://example.org/hook")
    assert jobs.hooks() == []  # it has not ended
    (claim,) = jobs.claim("w", 1)
    jobs.finish(claim, [], 0)
    (due,) = jobs.hooks()
    assert jobs.hooks() == []
    jobs.called(due, 30.0)
    clock.now += 31
    (due,) = jobs.hooks()
    assert due["tried"] == 1
    jobs.called(due, None)
    clock.now += 1000
    assert jobs.hooks() == []


def test_keys(records, clock):
    keys = Keys(records, clock)
    made = keys.add("press", per_minute=2, per_day=3, retention=1.0)
    owner = keys.owner(made.key)
    assert (owner.per_minute, owner.retention, owner.secret) == (2, 1.0, made.secret)
    assert keys.secret_of(owner.name) == made.secret
    assert keys.owner("fdk_other") is None
    with pytest.raises(UserError, match="press"):
        keys.add("press")
    (shown,) = keys.all()
    assert shown["name"] == "press"
    assert made.key not in json.dumps([shown, [records.get(name) for name, _ in records.names("keys")]])
    keys.count(owner)
    keys.count(owner)
    with pytest.raises(Problem) as error:
        keys.count(owner)
    assert (error.value.code, 1 <= error.value.retry_after <= 60) == ("rate_limited", True)
    clock.now += 60
    keys.count(owner)
    clock.now += 60
    with pytest.raises(Problem) as error:
        keys.count(owner)
    assert error.value.code == "quota_used"
    clock.now += 86400
    keys.sweep()
    assert records.names("counters") == []
    keys.revoke("press")
    assert keys.owner(made.key) is None
    with pytest.raises(UserError, match="press"):
        keys.revoke("press")


def test_the_queue_wakes_a_worker(url):
    queue, woken = Queue(url), threading.Event()
    consumer = queue.consume(woken.set)
    try:
        queue.wake()
        assert woken.wait(10)
    finally:
        consumer.stop(graceful=True)
        queue.close()


@pytest.mark.parametrize("bad", [pickle.dumps(print), b"[1]", b'{"id": 1}'])
def test_messages_are_json_alone(bad):
    with pytest.raises(ValueError, match=r"."):
        JsonMessages().deserialize(bad)


@pytest.mark.parametrize("bad", ["mysql://x/y", "service.db", "sqlite://"])
def test_wrong_urls_are_named(bad, tmp_path):
    with pytest.raises(UserError, match="queue"):
        open_records(bad)
    assert scheme_of("postgresql://h/n") == "postgresql"


@pytest.mark.parametrize("gone", ["postgresql://nobody:secret@127.0.0.1:1/x", "redis://:secret@127.0.0.1:1/0"])
def test_a_database_that_is_gone_is_said_without_its_password(gone):
    with pytest.raises(UserError, match="cannot be used") as error:
        open_records(gone)
    assert "secret" not in str(error.value)
