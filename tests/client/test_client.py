"""Both clients of the service: what they send, what they make of answers and of trouble, and that they are alike."""

import inspect
import subprocess
import sys

import httpx
import pytest

from fdetect_jax.client import AsyncClient, Client, ServiceError
from fdetect_jax.errors import UserError
from tests.client.fake_service import Fake, Stream, problem


def test_judging_uploads_waits_and_gives_rows(call, service, files, pauses):
    told = []
    options = {"faces": "largest", "frames": 16, "heat_map": True, "again": False, "model": None}
    rows = call("judge", files, progress=lambda *one: told.append(one), **options)
    assert [(row["file"], row["verdict"]) for row in rows] == [(str(files[0]), "fake"), (str(files[1]), "real")]
    assert service.uploads == [[("fake.mp4", b"a" * 1500), ("photo.jpg", b"b" * 300)]]
    assert service.forms == [{"faces": "largest", "frames": "16", "heat_map": "true", "again": "false"}]
    uploaded = [share for share, state in told if state == "uploading"]
    assert uploaded == sorted(uploaded)
    assert uploaded[-1] == 1.0
    assert [one for one in told if one[1] != "uploading"] == [
        (0.0, "queued"),
        (0.25, "running"),
        (0.75, "running"),
        (1.0, "done"),
    ]
    assert pauses == []
    assert service.seen == ["POST /v1/jobs", "GET /v1/jobs/j0", "GET /v1/jobs/j0/events", "GET /v1/jobs/j0"]


def test_answers_that_take_long_are_awaited(call, service, files):
    waited = {}
    inner = service.answer

    def outer(request):
        waited[request.method, request.url.path] = request.extensions["timeout"]["read"]
        return inner(request)

    service.answer = outer
    call("judge", files)
    assert waited == {("POST", "/v1/jobs"): 300, ("GET", "/v1/jobs/j0"): 30, ("GET", "/v1/jobs/j0/events"): 60}


def test_one_path_is_enough(call, files):
    (row,) = call("judge", str(files[1]))
    assert row["annotated"] == "/v1/jobs/j0/annotated/0"


def test_a_service_below_a_path(files):
    seen = []

    def answer(request):
        seen.append(request.url.path)
        return httpx.Response(200, json={"files": 10})

    with Client("http://host/detector/", transport=httpx.MockTransport(answer)) as client:
        assert client.limits() == {"files": 10}
    assert seen == ["/detector/v1/limits"]


def test_the_other_methods(call, service, files):
    for _ in range(5):
        call("submit", files)
    assert [job["id"] for job in call("jobs")] == ["j4", "j3", "j2", "j1", "j0"]
    with pytest.raises(ServiceError, match="The job is not done") as caught:
        call("result", "j2")
    assert (caught.value.status, caught.value.code) == (409, "not_ready")
    assert call("wait", "j2")["state"] == call("job", "j2")["state"] == "done"
    assert len(call("result", "j2")["rows"]) == 2
    call("feedback", "j2", 1, "fake", "it is one")
    assert service.feedback == [{"n": 1, "verdict": "fake", "comment": "it is one"}]
    assert call("delete", "j2") is None
    assert "j2" not in service.jobs
    assert call("limits")["files"] == 2
    assert call("models")[0]["name"] == "bundled"


def test_a_job_is_made_once_however_often_it_is_asked_for(call, service, files, pauses):
    """The first request is lost before it arrives, the second one's answer on its way back."""
    service.trouble = [
        ("POST /jobs", httpx.ConnectError("refused")),
        ("POST /jobs", lambda request: service._made(request) and httpx.ReadError("reset")),
        ("POST /jobs", httpx.Response(502, text="<html>bad gateway")),
    ]
    assert call("submit", files)["id"] == "j0"
    assert list(service.jobs) == ["j0"]
    assert len(service.uploads) == 2
    assert service.uploads[0] == service.uploads[1]
    assert len(service.keys) == 1
    assert len(pauses) == 3
    assert pauses[0] <= 0.5 <= pauses[2] * 2
    call("submit", files)
    assert len(service.keys) == 2


@pytest.mark.parametrize(("status", "code"), [(429, "rate_limited"), (503, "too_busy")])
def test_a_busy_service_is_waited_for_as_it_asks(call, service, files, pauses, status, code):
    busy = problem(status, code, headers={"Retry-After": "7"})
    service.trouble = [("POST /jobs", busy), ("GET /j0", busy), ("GET /j0", busy)]
    assert len(call("judge", files)) == 2
    assert pauses == [7.0, 7.0, 7.0]
    service.trouble = [("GET /limits", busy)] * 20
    with pytest.raises(ServiceError) as caught:
        call("limits")
    assert (caught.value.status, caught.value.code) == (status, code)
    assert len(pauses) == 3 + 5


def test_nobody_waits_until_tomorrow(call, service, pauses):
    service.trouble = [("GET /limits", problem(429, "quota_used", headers={"Retry-After": "40000"}))]
    with pytest.raises(ServiceError) as caught:
        call("limits")
    assert caught.value.code == "quota_used"
    assert pauses == []


def test_a_service_that_is_gone(call, service, pauses):
    service.trouble = [("GET /limits", httpx.ConnectError("refused"))] * 20
    with pytest.raises(ServiceError, match="cannot be reached: refused") as caught:
        call("limits")
    assert (caught.value.status, caught.value.code) == (None, "unreachable")
    assert len(pauses) == 5
    assert all(2.0 ** (n - 2) <= pause <= 2.0 ** (n - 1) for n, pause in enumerate(pauses))


def test_what_cannot_be_repeated_is_not(call, service, files, pauses):
    call("submit", files)
    service.trouble = [("POST /feedback", httpx.ReadError("reset"))]
    with pytest.raises(ServiceError, match="reset"):
        call("feedback", "j0", 0, "real")
    assert pauses == []
    service.trouble = [("POST /feedback", httpx.ConnectError("refused"))]
    call("feedback", "j0", 0, "real")
    assert len(service.feedback) == 1


def test_a_deletion_whose_answer_was_lost_is_done(call, service, files):
    call("submit", files)
    service.trouble = [("DELETE /j0", lambda _: service.jobs.pop("j0") and httpx.ReadError("reset"))]
    call("delete", "j0")
    with pytest.raises(ServiceError) as caught:
        call("delete", "j0")
    assert caught.value.status == 404


def test_broken_events_are_asked_for_again(call, service, files, pauses):
    running = b'event: job\r\ndata: {"state": "running",\r\ndata:  "progress": 0.5}\r\n\r\n'
    cut = [running, b'event: job\ndata: {"sta', httpx.ReadError("reset")]
    odd = b"event: job\ndata: {no\n\n: keep-alive\n\n"
    service.events = [
        cut,
        [httpx.ReadTimeout("quiet")],
        [odd],
        [running, b"end"],
    ]
    told = []
    assert call("wait", call("submit", files)["id"], lambda *one: told.append(one))["state"] == "done"
    assert told == [(0.0, "queued"), (0.5, "running"), (0.0, "queued"), (0.5, "running"), (1.0, "done")]
    assert [one for one in service.seen if one.endswith("events")] == ["GET /v1/jobs/j0/events"] * 4
    assert pauses == [2.0] * 4


@pytest.mark.parametrize("answer", [problem(404, "not_found"), httpx.ReadError("reset"), httpx.Response(200, text="")])
def test_without_events_a_job_is_polled(call, service, files, pauses, answer):
    service.trouble = [("GET /events", answer)] * 20
    id_ = call("submit", files)["id"]
    polls = []

    def poll(request):
        polls.append(request)
        if len(polls) == 8:
            service.end(service.jobs[id_])
        return service._routed(request)

    service.trouble += [("GET /j0", poll)] * 20
    assert call("wait", id_)["state"] == "done"
    assert [one for one in service.seen if one.endswith("events")] == ["GET /v1/jobs/j0/events"] * 3
    assert pauses == [2.0] * 7


def test_an_endless_event_is_given_up(call, service, files):
    service.events = [[b"data: " + b"x" * 70_000] * 50, [b"end"]]
    assert call("wait", call("submit", files)["id"])["state"] == "done"


def test_a_service_is_waited_for_while_it_starts_again(call, service, files, pauses):
    id_ = call("submit", files)["id"]
    service.events = [[httpx.ReadError("reset")]]
    service.trouble = [("GET /j0", httpx.Response(200, json=service.jobs[id_]))]
    service.trouble += [("GET /j0", httpx.ConnectError("refused"))] * 11
    service.trouble += [("GET /j0", lambda request: service.end(service.jobs[id_]) or service._routed(request))]
    assert call("wait", id_)["state"] == "done"
    assert sum(pauses) > 90


@pytest.mark.parametrize("ends", ["failed", "cancelled", "expired"])
def test_a_job_without_a_verdict(call, service, files, ends):
    service.ends = ends
    with pytest.raises(ServiceError) as caught:
        call("judge", files)
    assert isinstance(caught.value, UserError)
    assert caught.value.status is None
    assert caught.value.code == {"failed": "time_limit"}.get(ends, ends)
    if ends == "failed":
        assert str(caught.value) == "The job took longer than 600 seconds."
    assert call("wait", "j0")["state"] == ends


def test_a_refusal_says_what_is_meant(call, service, files):
    service.trouble = [("POST /jobs", problem(413, "too_large", "The file has\n1500 bytes.", field="files[0]"))]
    with pytest.raises(ServiceError) as caught:
        call("judge", files)
    assert str(caught.value) == r"files[0]: The file has\n1500 bytes."
    assert (caught.value.status, caught.value.code, caught.value.field) == (413, "too_large", "files[0]")


@pytest.mark.parametrize(
    "answer",
    [
        httpx.Response(200, text="<html>a page"),
        httpx.Response(200, json=[1]),
        httpx.Response(200, json={"id": "../x", "state": "queued"}),
        httpx.Response(308, headers={"location": "https://service/v1/jobs"}),
        httpx.Response(405, text="no"),
        httpx.Response(400, text="[" * 100_000),
    ],
)
def test_another_server(call, service, files, answer):
    service.trouble = [("POST /jobs", answer)]
    with pytest.raises(ServiceError, match="wanted an answer of `fdetect serve`") as caught:
        call("judge", files)
    assert caught.value.code == "not_understood"
    if answer.status_code == 308:
        assert "https://service/v1/jobs" in str(caught.value)


def test_rows_must_be_those_of_the_files(call, service, files):
    job = {"id": "j0", "state": "done", "progress": 1.0, "rows": []}
    service.trouble = [("POST /jobs", httpx.Response(202, json=job)), ("GET /j0", httpx.Response(200, json=job))]
    with pytest.raises(ServiceError, match="0 rows for 2 files"):
        call("judge", files)


def test_a_key_that_is_not_known(files):
    service = Fake()
    with Client("http://service", "fdk_other", transport=service.transport) as client:
        with pytest.raises(ServiceError, match="The key is not known") as caught:
            client.judge(files)
        assert (caught.value.status, caught.value.code) == (401, "key_unknown")


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url", ["service", "ftp://service", "http://", "http://a:b@service", "http://service/?a=1", ""]
)
def test_addresses_that_are_none(kind, url):
    with pytest.raises(UserError, match=r"url: found .*wanted"):
        kind(url)


@pytest.mark.parametrize("key", ["", " fdk_1", "fdk_1\r\nX-Own: 1", "fdk_é"])
def test_keys_that_are_none(key):
    with pytest.raises(UserError, match=r"key: found .*wanted") as caught:
        Client("http://service", key)
    assert key.strip() == "" or key not in str(caught.value)


def test_what_cannot_be_sent(call, service, files, tmp_path):
    with pytest.raises(UserError, match="found a folder, wanted a file"):
        call("judge", tmp_path)
    with pytest.raises(UserError, match="found no such file, wanted a file"):
        call("judge", [files[0], tmp_path / "absent"])
    with pytest.raises(UserError, match="found none, wanted at least one file"):
        call("judge", [])
    with pytest.raises(TypeError, match="'thresold', wanted some of model, faces"):
        call("judge", files, thresold=0.5)
    with pytest.raises(UserError, match=r"id: found '\.\./limits', wanted that of a job"):
        call("job", "../limits")
    assert service.seen == []


def test_names_of_any_bytes_are_sent(call, service, tmp_path):
    names = ['a"; filename="b.jpg', "日本.jpg", "a\r\nX: 1"]
    for name in names:
        (tmp_path / name).write_bytes(b"1")
        call("submit", tmp_path / name)
    (tmp_path / "a\udcff.jpg").write_bytes(b"1")
    call("submit", tmp_path / "a\udcff.jpg")
    assert all(len(one) == 1 and one[0][1] == b"1" for one in service.uploads)
    assert service.uploads[1][0][0] == "日本.jpg"


def test_both_clients_have_the_same_methods():
    def public(kind):
        return {name for name, _ in inspect.getmembers(kind, inspect.isfunction) if not name.startswith("_")}

    assert public(Client) - {"close"} == public(AsyncClient) - {"aclose"}
    for name in public(Client) - {"close"}:
        assert inspect.signature(getattr(Client, name)).parameters == (
            inspect.signature(getattr(AsyncClient, name)).parameters
        )
        assert inspect.getdoc(getattr(Client, name))


def test_the_client_imports_little():
    code = "import sys, fdetect_jax.client; print(*{'jax', 'numpy', 'cv2', 'av'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""


def test_a_broken_answer_is_asked_for_again(call, service, files):
    call("judge", files)
    cut = httpx.Response(200, stream=Stream([b'{"job": ', httpx.RemoteProtocolError("closed")]))
    service.trouble = [("GET /result.json", cut)]
    assert len(call("result", "j0")["rows"]) == 2
