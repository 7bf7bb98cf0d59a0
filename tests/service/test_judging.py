"""A worker at work: jobs in, rows and copies out, files judged once, removal and faults in the midst."""

import io
import json
import threading

import cv2
import pytest

from fdetect_jax.assets import detector
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling, probe
from fdetect_jax.predict.run import predict
from fdetect_jax.service import worker as worker_module
from fdetect_jax.service.models import card_words
from fdetect_jax.service.service import Service
from fdetect_jax.service.settings import Settings
from fdetect_jax.service.worker import Worker
from tests.service.test_web_api import client_of, problem

SAME = ("verdict", "score", "frames", "threshold", "kind", "duration", "classes", "reason")


@pytest.fixture(scope="module")
def working(model, faces, tmp_path_factory):
    service = Service.open(Settings(tmp_path_factory.mktemp("data"), models={"own": str(model)}, seconds=60))
    worker = Worker(service, processes=1)
    worker.prepare()
    yield service, worker
    worker.close()
    service.close()


@pytest.fixture
def client(working):
    with client_of(working[0]) as made:
        yield made


def sent(client, *files, **fields):
    opened = [("files", (file.name, io.BytesIO(file.read_bytes()))) for file in files]
    answer = client.post("/v1/jobs", files=opened, data={"frames": "4"} | fields)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def test_a_job_gives_what_predict_gives(working, client, media, model, tmp_path):
    service, worker = working
    files = [media / name for name in ("clip.mp4", "face.png", "notes.txt", "wall.png", "empty.jpg")]
    job = sent(client, *files, heat_map="true")
    worker.judge()
    found = client.get(f"/v1/jobs/{job}").json()
    assert found["state"] == "done"
    own = Scorer(model).calibration
    protocol = Protocol(Sampling(4), threshold=own.threshold, suspicious=own.suspicious)
    wanted = list(predict(files, Scorer(model), protocol, tmp_path / "out", True, 1))
    assert [row["file"] for row in found["rows"]] == [file.name for file in files]
    for row, one in zip(found["rows"], wanted, strict=True):
        assert {name: row[name] for name in SAME} == {name: one[name] for name in SAME}
        assert [bool(row[name]) for name in ("annotated", "heat_map", "poster")] == [
            bool(one[name]) for name in ("annotated", "heat_map", "poster")
        ]
    clip, face = found["rows"][:2]
    (tmp_path / "copy.mp4").write_bytes(client.get(clip["annotated"]).content)
    assert probe(tmp_path / "copy.mp4").codec == "h264"
    (track,) = clip["tracks"]
    for path in (face["annotated"], clip["poster"], face["heat_map"], track["crop"], track["heat"]):
        (tmp_path / "picture").write_bytes(client.get(path).content)
        assert cv2.imread(str(tmp_path / "picture")) is not None
    report = client.get(f"/v1/jobs/{job}/report.html").text
    assert report.count("data:image/") >= 5
    assert 'src="data' in report
    assert "clip.mp4" in report
    assert list(service.storage.folders(service.jobs.get(job)["folder"])) == ["out-1"]  # the uploads are gone
    (line,) = [json.loads(line) for line in (service.settings.data / "audit.jsonl").read_text().splitlines()]
    assert (line["state"], line["files"], line["unable"]) == ("done", 5, 2)
    assert "clip" not in json.dumps(line)


def test_the_models_are_described(client):
    (found,) = client.get("/v1/models").json()["models"]
    assert (found["name"], found["default"], found["classes"]) == ("own", True, ["real", "fake"])
    assert client.get("/readyz").json() == {"status": "ok", "reasons": []}


def test_the_card_says_what_the_bundled_detector_knows():
    words = card_words(detector().parent / "README.md")
    assert all(len(text) > 60 for text in words.values()), words
    assert not any(mark in text for text in words.values() for mark in "`*\n")


def test_a_file_is_judged_once_unless_asked(working, client, media, monkeypatch):
    _, worker = working
    judged = []
    plain = worker_module.verdicts

    def counted(files, *args, **how):
        judged.append(len(files))
        return plain(files, *args, **how)

    monkeypatch.setattr(worker_module, "verdicts", counted)
    (first,) = client.get(f"/v1/jobs/{_judged(worker, client, media / 'face.png')}").json()["rows"]
    job = _judged(worker, client, media / "wall.png", media / "face.png")
    _, again = client.get(f"/v1/jobs/{job}").json()["rows"]
    assert judged == [1, 1]
    strip = ("annotated", "poster", "tracks")
    assert {name: first[name] for name in first if name not in strip} == {
        name: again[name] for name in again if name not in strip
    }
    assert client.get(again["annotated"]).content == client.get(first["annotated"]).content
    _judged(worker, client, media / "face.png", again="true")
    _judged(worker, client, media / "face.png", frames="5")  # options that decide the verdict
    assert judged == [1, 1, 1, 1]


def _judged(worker, client, *files, **fields):
    job = sent(client, *files, **fields)
    worker.judge()
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "done"
    return job


def test_uploads_stay_where_it_is_asked_for(working, client, media):
    service, worker = working
    job = _judged(worker, client, media / "wall.png", keep="true")
    folder = service.jobs.get(job)["folder"]
    assert service.storage.read(f"{folder}/in/0") == (media / "wall.png").read_bytes()


def test_jobs_that_wait_are_one_batch(working, client, media, monkeypatch):
    _, worker = working
    judged = []
    plain = worker_module.verdicts
    monkeypatch.setattr(
        worker_module, "verdicts", lambda files, *a, **b: judged.append(len(files)) or plain(files, *a, **b)
    )
    jobs = [sent(client, media / "face.png", again="true", faces="largest") for _ in range(3)]
    other = sent(client, media / "notes.txt")
    worker.judge()
    assert judged == [3, 1]
    assert all(client.get(f"/v1/jobs/{job}").json()["state"] == "done" for job in (*jobs, other))


def test_a_job_that_is_removed_while_it_runs_leaves_nothing(working, client, media, monkeypatch):
    service, worker = working
    job = sent(client, media / "face.png", media / "wall.png", again="true")
    plain, folder = worker_module.rows_of, service.jobs.get(job)["folder"]

    def removing(*args, **how):
        for number, found in enumerate(plain(*args, **how)):
            if number == 1:
                assert client.delete(f"/v1/jobs/{job}").status_code == 204
            yield found

    monkeypatch.setattr(worker_module, "rows_of", removing)
    worker.judge()
    assert client.get(f"/v1/jobs/{job}").json()["state"] == "cancelled"
    assert folder.partition("/")[2] not in list(service.storage.folders("jobs"))


def test_a_fault_fails_its_jobs_alone(working, client, media, monkeypatch):
    _, worker = working
    bad = sent(client, media / "face.png", again="true", faces="largest")
    good = sent(client, media / "wall.png")
    plain = worker_module.protocol_of

    def fails(scorer, options):
        if options["faces"] == "largest":
            raise ZeroDivisionError
        return plain(scorer, options)

    monkeypatch.setattr(worker_module, "protocol_of", fails)
    monkeypatch.setattr(worker_module, "_PAUSE", 0.0)
    worker.judge()
    found = client.get(f"/v1/jobs/{bad}").json()
    assert (found["state"], found["problem"]["code"]) == ("failed", "failed")
    assert "3 times" in found["problem"]["detail"]
    assert client.get(f"/v1/jobs/{good}").json()["state"] == "done"
    problem(client.get(f"/v1/jobs/{bad}/result.json"), 404, "not_found")


def test_a_worker_that_stops_gives_its_jobs_back(working, client, media, monkeypatch):
    service, worker = working
    job = sent(client, media / "face.png", media / "wall.png", again="true")
    plain = worker_module.rows_of

    def stopping(*args, **how):
        for found in plain(*args, **how):
            worker.stop()
            yield found

    monkeypatch.setattr(worker_module, "rows_of", stopping)
    worker.judge()
    assert service.jobs.get(job)["state"] == "queued"
    monkeypatch.undo()
    monkeypatch.setattr(worker, "_stop", threading.Event())
    worker.judge()
    found = service.jobs.get(job)
    assert (found["state"], found["attempt"]) == ("done", 1)
