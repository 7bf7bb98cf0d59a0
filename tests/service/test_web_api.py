"""The API without a worker: uploads and their limits, access, errors, results, headers."""

import io
import json
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from fdetect_jax.service.api import create_app
from fdetect_jax.service.feedback import export_feedback
from fdetect_jax.service.results import Results

LOCAL = ("127.0.0.1", 50_000)
FAR = ("203.0.113.9", 50_000)
ROW = {
    "file": "f",
    "verdict": "fake",
    "score": 0.9,
    "reason": "r",
    "evidence": [{"name": "pulse", "title": "Pulse", "picture": "p.png", "speaks_for": "neither", "strength": 0}],
    "classes": {},
    "threshold": 0.5,
    "suspicious": None,
    "kind": "video",
    "duration": 1.0,
    "frames": [[0.0, 0.9]],
    "tracks": [{"track": 0, "score": 0.9, "faces": [], "crop": "c.jpg", "heat": None}],
    "annotated": "a.mp4",
    "heat_map": None,
    "poster": "a.jpg",
    "note": "",
}


def client_of(service, client=LOCAL, **how):
    return TestClient(create_app(service), base_url="http://localhost", client=client, **how)


@pytest.fixture
def client(service):
    with client_of(service) as made:
        yield made


def sent(client, *files, headers=None, **fields):
    files = [("files", (name, io.BytesIO(content))) for name, content in files or [("a.mp4", b"abc")]]
    return client.post("/v1/jobs", files=files, data=fields, headers=headers)


def problem(answer, status, code):
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = answer.json()
    assert (answer.status_code, found["status"], found["code"]) == (status, status, code), found
    assert found["title"]
    assert found["detail"].endswith(".")
    return found


def done(service, job, folder: Path):
    """Ends a job as a worker would, with made-up pictures."""
    (claim,) = service.jobs.claim("w", 1)
    assert claim.id == job
    results = Results(service.storage, claim)
    for name in ("a.mp4", "a.jpg", "c.jpg", "p.png"):
        (folder / name).write_bytes(bytes(range(256)) * 4)
    rows = [results.kept(n, ROW, folder) for n, _ in enumerate(claim.document["files"][:1])]
    for name, content in (("report.html", b"<p>"), ("rows.json", json.dumps(rows).encode())):
        service.storage.write(f"{claim.out}/{name}", content)
    service.jobs.finish(claim, ["known"], 0)


def test_an_upload_becomes_a_job(client, service):
    answer = sent(client, ("../../x/Häßlich\n.mp4", b"abc"), ("b.png", b""), heat_map="true", frames="5")
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert (job["state"], job["progress"], job["ahead"], job["problem"]) == ("queued", 0.0, 0, None)
    assert [one["name"] for one in job["files"]] == ["Häßlich%0A.mp4", "b.png"]  # as the client encodes it
    assert [one["bytes"] for one in job["files"]] == [3, 0]
    assert job["options"] == {
        **{"model": "bundled", "faces": "all", "frames": 5, "per_second": None, "heat_map": True},
        **{"keep": False, "again": False, "webhook": None},
    }
    assert client.get(job["links"]["self"]).json() == job | {"rows": None}
    (claim,) = service.jobs.claim("w", 1)
    assert service.storage.read(f"{claim.folder}/in/0") == b"abc"
    assert list((service.settings.data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"frames": "0"}, "frames"),
        ({"frames": "１"}, "frames"),
        ({"frames": "3", "per_second": "1"}, "per_second"),
        ({"per_second": "nan"}, "per_second"),
        ({"faces": "some"}, "faces"),
        ({"heat_map": "yes"}, "heat_map"),
        ({"model": "other"}, "model"),
        ({"webhook": "http://localhost/x"}, "webhook"),
        ({"webhook": "https://example.org/x"}, "webhook"),  # without a key nothing could sign it
        ({"colour": "red"}, "colour"),
    ],
)
def test_wrong_fields_are_named(client, service, fields, field):
    assert problem(sent(client, **fields), 422, "invalid")["field"] == field
    assert service.jobs.counts()["queued"] == 0
    assert list(service.storage.folders("jobs")) == []


def test_what_is_too_large_is_refused(client, service):
    assert problem(sent(client, ("a", b"x" * (1 << 20) + b"y")), 413, "too_large")["field"] == "files[0]"
    problem(sent(client, *[("a", b"x" * (900 << 10))] * 3), 413, "too_large")
    problem(sent(client, *[("a", b"x")] * 4), 413, "too_large")
    problem(sent(client, model="x" * 5000), 422, "invalid")
    assert list(service.storage.folders("jobs")) == []
    assert list((service.settings.data / "uploads").iterdir()) == []


@pytest.mark.parametrize(
    ("body", "kind", "status", "code"),
    [
        (b"{}", "application/json", 415, "unsupported_media"),
        (b"x", "multipart/form-data", 415, "unsupported_media"),
        (b"x", "multipart/form-data; boundary=b", 400, "bad_request"),
        (b'--b\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\nab', None, 400, "bad_request"),
        (b"--b\r\nX: y\r\n\r\nab\r\n--b--\r\n", None, 400, "bad_request"),
        (b"--b--\r\n", None, 422, "invalid"),
        (b"--b\r\n" + b"X: y\r\n" * 30 + b"\r\nab\r\n--b--\r\n", None, 400, "bad_request"),
        (b"--b\r\nX: " + b"y" * 9000 + b"\r\n\r\nab\r\n--b--\r\n", None, 400, "bad_request"),
        (b'--b\r\nContent-Disposition: form-data; name="x"; filename="a"\r\n\r\nab\r\n--b--\r\n', None, 422, "invalid"),
    ],
)
def test_bodies_that_are_no_upload(client, service, body, kind, status, code):
    headers = {"content-type": kind or "multipart/form-data; boundary=b"}
    problem(client.post("/v1/jobs", content=body, headers=headers), status, code)
    assert service.jobs.counts()["queued"] == 0


def test_a_full_queue_is_said_before_the_upload(client, service):
    jobs = [sent(client).json()["id"] for _ in range(5)]
    answer = sent(client)
    problem(answer, 503, "too_busy")
    assert answer.headers["retry-after"] == "30"
    assert service.jobs.counts()["queued"] == 5
    client.delete(f"/v1/jobs/{jobs[0]}")
    assert sent(client).status_code == 202


def test_an_idempotency_key_makes_one_job(client, service):
    first = sent(client, ("a", b"1"), headers={"idempotency-key": "k"}).json()
    assert sent(client, ("a", b"1"), headers={"idempotency-key": "k"}).json()["id"] == first["id"]
    problem(sent(client, ("a", b"2"), headers={"idempotency-key": "k"}), 409, "conflict")
    problem(sent(client, ("a", b"1"), headers={"idempotency-key": "k"}, frames="3"), 409, "conflict")
    assert service.jobs.counts()["queued"] == 1
    assert len(list(service.storage.folders("jobs"))) == 1


def test_results(client, service, tmp_path):
    job = sent(client, ("f", b"abc")).json()["id"]
    base = f"/v1/jobs/{job}"
    problem(client.get(f"{base}/result.json"), 409, "not_ready")
    problem(client.get(f"{base}/annotated/0"), 409, "not_ready")
    problem(client.post(f"{base}/feedback", json={"n": 0, "verdict": "real"}), 409, "not_ready")
    done(service, job, tmp_path)
    found = client.get(base).json()
    assert (found["state"], found["progress"]) == ("done", 1.0)
    (row,) = found["rows"]
    assert (row["annotated"], row["poster"], row["heat_map"]) == (f"{base}/annotated/0", f"{base}/poster/0", None)
    assert row["tracks"][0]["crop"] == f"{base}/faces/0/0"
    assert row["evidence"][0]["picture"] == f"{base}/evidence/0/pulse"
    assert client.get(f"{base}/result.json").json()["rows"] == [row]
    content = bytes(range(256)) * 4
    for path, kind in (
        ("annotated/0", "video/mp4"),
        ("poster/0", "image/jpeg"),
        ("faces/0/0", "image/jpeg"),
        ("evidence/0/pulse", "image/png"),
    ):
        answer = client.get(f"{base}/{path}")
        assert (answer.status_code, answer.headers["content-type"], answer.content) == (200, kind, content)
    for path in ("heatmap/0", "annotated/1", "faces/0/1", "faces/0/0/heat"):
        problem(client.get(f"{base}/{path}"), 404, "not_found")
    report = client.get(f"{base}/report.html")
    assert report.headers["content-disposition"].startswith("attachment")
    problem(client.get(f"{base}/evidence/0/..%2f..%2frows"), 404, "not_found")


@pytest.mark.parametrize(
    ("wanted", "status", "first", "end"),
    [
        ("0-9", 206, 0, 10),
        ("1000-", 206, 1000, 1024),
        ("-4", 206, 1020, 1024),
        ("5-5000", 206, 5, 1024),
        ("x-y", 200, 0, 1024),
        ("0-1,4-5", 200, 0, 1024),
    ],
)
def test_ranges(client, service, tmp_path, wanted, status, first, end):
    job = sent(client, ("f", b"abc")).json()["id"]
    done(service, job, tmp_path)
    answer = client.get(f"/v1/jobs/{job}/annotated/0", headers={"range": f"bytes={wanted}"})
    assert (answer.status_code, answer.content) == (status, (bytes(range(256)) * 4)[first:end])
    if status == 206:
        assert answer.headers["content-range"] == f"bytes {first}-{end - 1}/1024"
    problem(client.get(f"/v1/jobs/{job}/annotated/0", headers={"range": "bytes=2000-"}), 416, "bad_range")


def test_removal_is_real(client, service, tmp_path):
    waiting, ended = (sent(client, ("secret-name.mp4", b"secret-content")).json()["id"] for _ in range(2))
    claims = service.jobs.claim("w", 2)
    service.jobs.release(claims[0])
    service.jobs.finish(claims[1], [], 0)
    for job in (waiting, ended):
        assert client.delete(f"/v1/jobs/{job}").status_code == 204
    assert client.get(f"/v1/jobs/{waiting}").json()["state"] == "cancelled"
    problem(client.get(f"/v1/jobs/{ended}"), 404, "not_found")
    assert client.delete(f"/v1/jobs/{waiting}").status_code == 204
    problem(client.get(f"/v1/jobs/{waiting}"), 404, "not_found")
    assert list(service.storage.folders("jobs")) == []
    service.close()
    left = [path for path in service.settings.data.rglob("*") if path.is_file() and not path.name.endswith("-wal")]
    for path in left:
        if "queue" not in path.name and path.suffix != ".db":
            assert b"secret" not in path.read_bytes()


def test_keys_open_the_service_to_others_and_hide_their_jobs(service):
    local, far = client_of(service), client_of(service, FAR)
    problem(far.get("/v1/jobs"), 401, "key_wanted")
    assert far.get("/v1/jobs").headers["www-authenticate"] == "Bearer"
    problem(far.get("/v1/jobs", headers={"authorization": "Bearer fdk_none"}), 401, "key_unknown")
    made = [service.keys.add(name, per_minute=2) for name in ("a", "b")]
    one, other = ({"authorization": f"Bearer {key.key}"} for key in made)
    job = sent(far, headers=one).json()["id"]
    assert far.get(f"/v1/jobs/{job}", headers=one).status_code == 200
    for client, headers in ((far, other), (local, {})):
        for method, path in (("GET", ""), ("GET", "/result.json"), ("GET", "/events"), ("DELETE", "")):
            problem(client.request(method, f"/v1/jobs/{job}{path}", headers=headers), 404, "not_found")
        assert client.get("/v1/jobs", headers=headers).json()["jobs"] == []
    assert [found["id"] for found in far.get("/v1/jobs", headers=one).json()["jobs"]] == [job]
    assert far.get("/v1/limits", headers=one).json()["per_minute"] == 2
    sent(far, headers=one)
    limited = sent(far, headers=one)
    problem(limited, 429, "rate_limited")
    assert 1 <= int(limited.headers["retry-after"]) <= 60


@pytest.mark.parametrize(
    ("headers", "status", "code"),
    [
        ({"x-forwarded-for": "127.0.0.1"}, 401, "key_wanted"),
        ({"forwarded": "for=127.0.0.1"}, 401, "key_wanted"),
        ({"host": "evil.example"}, 403, "forbidden"),
        ({"host": "127.0.0.1.evil.example:80"}, 403, "forbidden"),
        ({"origin": "http://evil.example"}, 403, "forbidden"),
        ({"origin": "null"}, 403, "forbidden"),
        ({"sec-fetch-site": "cross-site"}, 403, "forbidden"),
    ],
)
def test_the_loopback_is_not_lent_to_others(client, headers, status, code):
    problem(client.get("/v1/jobs", headers=headers), status, code)


def test_events_end_with_the_job(client, service, tmp_path):
    job = sent(client, ("f", b"abc")).json()["id"]
    done(service, job, tmp_path)
    text = client.get(f"/v1/jobs/{job}/events").text
    kind, data = text.strip().split("\n")
    assert kind == "event: job"
    assert json.loads(data.removeprefix("data: "))["state"] == "done"


def test_pages(client):
    ids = [sent(client).json()["id"] for _ in range(3)]
    first = client.get("/v1/jobs?limit=2").json()
    rest = client.get(f"/v1/jobs?limit=2&cursor={first['next']}").json()
    assert [one["id"] for one in first["jobs"] + rest["jobs"]] == ids[::-1]
    assert rest["next"] is None
    problem(client.get("/v1/jobs?limit=0"), 422, "invalid")
    problem(client.get("/v1/jobs?cursor=x"), 422, "invalid")
    problem(client.get("/v1/jobs/x"), 422, "invalid")
    problem(client.get("/v1/nothing"), 404, "not_found")
    problem(client.put("/v1/jobs"), 405, "method_not_allowed")


def test_feedback_becomes_training_data(client, service, tmp_path):
    job = sent(client, ("f", b"abc")).json()["id"]
    done(service, job, tmp_path)
    said = {"n": 0, "verdict": "real", "comment": "it is me"}
    assert client.post(f"/v1/jobs/{job}/feedback", json=said).status_code == 204
    for wrong in ({"n": 1, "verdict": "real"}, {"n": 0, "verdict": "maybe"}, {"n": 0, "verdict": "real", "x": 1}):
        problem(client.post(f"/v1/jobs/{job}/feedback", json=wrong), 422, "invalid")
    client.delete(f"/v1/jobs/{job}")  # what was said stays
    output = tmp_path / "said"
    assert export_feedback(service, output) == 1
    head, line = (output / "manifest.csv").read_text().splitlines()
    assert head == "path,label,type,generator,source,group"
    path, label, *_ = line.split(",")
    assert label == "real"
    assert (output / path).read_bytes() == bytes(range(256)) * 4
    assert json.loads((output / "feedback.jsonl").read_text())["comment"] == "it is me"


def test_other_bodies_are_short(client, service, tmp_path):
    job = sent(client, ("f", b"abc")).json()["id"]
    done(service, job, tmp_path)
    problem(client.post(f"/v1/jobs/{job}/feedback", content=b"x" * 70_000), 413, "too_large")
    problem(client.post(f"/v1/jobs/{job}/feedback", content=iter([b"x" * 40_000] * 3)), 413, "too_large")
    problem(client.post(f"/v1/jobs/{job}/feedback", content=b"{"), 422, "invalid")


def test_a_fault_of_the_server_is_a_problem_document(service, monkeypatch):
    monkeypatch.setattr(type(service.jobs), "of", lambda *_: 1 / 0)
    with client_of(service, raise_server_exceptions=False) as client:
        problem(client.get("/v1/jobs"), 500, "failed")


def test_health_and_metrics(client, service):
    assert client.get("/healthz").json() == {"status": "ok", "reasons": []}
    assert client.get("/readyz").json()["reasons"] == ["no worker is there"]
    sent(client)
    text = client.get("/metrics").text
    assert 'fdetect_jobs{state="queued"} 1.0' in text
    assert 'route="/v1/jobs",status="202"' in text


def test_strict_headers(client):
    for path in ("/", "/v1/jobs", "/v1/nothing", "/page/none"):
        headers = client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["content-security-policy"].startswith("default-src 'none'")
        assert "unsafe" not in headers["content-security-policy"]
