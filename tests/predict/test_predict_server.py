"""``fdetect predict --server``: the lines, files and exit status of a local run, from a service."""

import json
import os
import subprocess
import sys
import time

import httpx
import pytest

from fdetect_jax import cli
from fdetect_jax.client import Client
from fdetect_jax.media.files import find_files
from tests.client.fake_service import Fake, problem, served


@pytest.fixture
def service(monkeypatch) -> Fake:
    fake = Fake()
    monkeypatch.setattr(time, "sleep", lambda _: None)
    monkeypatch.setattr(
        "fdetect_jax.predict.server.Client", lambda url, key: Client(url, key, transport=fake.transport)
    )
    monkeypatch.setenv("FDETECT_KEY", fake.key)
    return fake


@pytest.fixture
def folder(tmp_path):
    for name in ("a.jpg", "b/fake.mp4", "b/c.jpg", "d.mp4", "e.png"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 1000)
    return tmp_path / "in"


def predict(*arguments) -> int:
    return cli.main(["predict", "--server", "http://service", *map(str, arguments)])


def test_lines_rows_and_copies(service, folder, tmp_path, capsys):
    assert predict(folder, "--output", tmp_path / "out", "--json", "-", "--heat-map", "--faces", "all") == 1
    out, err = capsys.readouterr()
    rows = json.loads(out)
    assert [row["file"].removeprefix(f"{folder}/") for row in rows] == [
        *("a.jpg", "d.mp4", "e.png", "b/c.jpg", "b/fake.mp4")
    ]
    lines = err.splitlines()
    assert lines[0] == f"real          0.930  {folder}/a.jpg: P(fake) 0.930"
    assert lines[1] == f"{'':21s}Altered area: a tenth is altered"
    assert lines[8] == f"FAKE          0.930  {folder}/b/fake.mp4: P(fake) 0.930"
    assert lines[-4] == "4 real, 1 FAKE"
    assert lines[-3:] == [f"{tmp_path}/out/j{n}/report.html" for n in range(3)]
    assert [len(files) for files in service.uploads] == [2, 2, 1]  # as /v1/limits says
    assert service.forms[0] == {"faces": "all", "heat_map": "true"}
    for row in rows:
        assert (tmp_path / "out" / row["annotated"]).is_file()
        assert (tmp_path / "out" / row["heat_map"]).is_file()
    with pytest.raises(ValueError, match="found no file"):
        find_files([tmp_path / "out"])
    assert len(find_files([tmp_path]).files) == 5


def test_a_job_is_uploaded_while_the_one_before_is_judged(service, folder):
    assert predict(folder) == 1
    made = [n for n, one in enumerate(service.seen) if one == "POST /v1/jobs"]
    asked = service.seen.index("GET /v1/jobs/j0")
    assert made[0] < made[1] < asked < made[2]


def test_large_files_are_named_before_the_upload(service, folder, capsys):
    (folder / "a.jpg").write_bytes(b"x" * 5001)
    (folder / "b/fake.mp4").unlink()
    service.said["job_bytes"] = 2500
    assert predict(folder, "--json", folder.parent / "rows.json") == 3
    out, err = capsys.readouterr()
    first = out.splitlines()[0]
    assert first == f"not evaluated        {folder}/a.jpg: 5001 bytes, at most 2500 are taken by the service"
    assert err.splitlines()[-1] == "1 not evaluated, 3 real"
    rows = json.loads((folder.parent / "rows.json").read_text())
    assert rows[0]["file"] == f"{folder}/a.jpg"
    assert rows[0].keys() == rows[1].keys()
    assert rows[0]["threshold"] == 0.6


def test_a_file_that_the_service_refuses_is_a_row(service, folder, capsys):
    refusal = problem(415, "unsupported_media", "This is no picture and no video.", field="files[1]")
    service.trouble = [("POST /jobs", refusal)]
    (folder / "b/fake.mp4").unlink()
    assert predict(folder) == 3
    assert f"not evaluated        {folder}/d.mp4: This is no picture" in capsys.readouterr().out
    service.trouble = [("POST /jobs", problem(422, "invalid", "There is no such model.", field="model"))]
    assert predict(folder, "--model", "absent") == 2
    assert capsys.readouterr().err.splitlines()[-1] == "error: model: There is no such model."


def test_a_failed_job_leaves_the_others(service, folder, capsys):
    def first(request):
        service.jobs["j0"] |= {"state": "failed", "problem": {"code": "time_limit", "detail": "It took too long."}}
        return service._routed(request)

    service.trouble = [("GET /j0", first)]
    assert predict(folder, "--json", "-") == 1
    rows = json.loads(capsys.readouterr().out)
    assert [row["verdict"] for row in rows] == ["unable_to_evaluate"] * 2 + ["real", "real", "fake"]
    assert rows[0]["reason"] == "It took too long."


def test_what_is_stopped_is_cancelled(service, folder, tmp_path):
    (folder / "b/fake.mp4").rename(folder / "0.jpg")
    service.events = [[b"end"], [KeyboardInterrupt()]]
    assert predict(folder, "--json", tmp_path / "rows.json") == 130
    assert len(json.loads((tmp_path / "rows.json").read_text())) == 2
    assert service.seen[-2:] == ["DELETE /v1/jobs/j1", "DELETE /v1/jobs/j2"]
    assert list(service.jobs) == ["j0"]


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (["--threshold", "0.5"], "--threshold"),
        (["--workers", "2"], "--workers"),
        (["--min-face-share", "0.1"], "--min-face-share"),
        (["--aggregation", "max"], "--aggregation"),
        (["--recipe", "sbi"], "--recipe"),
        (["--dtype", "float32"], "--dtype"),
        (["--views", "3"], "--views"),
        (["--timeout", "9"], "--timeout"),
        (["--multi-face", "mean"], "--multi-face"),
    ],
)
def test_options_that_the_service_does_not_take(service, folder, capsys, given, named):
    assert predict(folder, *given) == 2
    assert capsys.readouterr().err.startswith(f"error: {named}: found with --server, which takes --model, --faces, ")
    assert service.seen == []


def test_mistakes(service, folder, capsys):
    assert predict(folder, "--heat-map") == 2
    assert "heat map: found no output folder" in capsys.readouterr().err
    assert predict(folder, "--key", "fdk_other") == 2
    assert capsys.readouterr().err == "error: The key is not known.\n"
    assert cli.main(["predict", str(folder), "--key", "fdk_1"]) == 2
    assert capsys.readouterr().err == "error: --key: found without --server, wanted both\n"
    service.edit = lambda row: row.pop("reason")
    assert predict(folder) == 2
    assert "found an incomplete row" in capsys.readouterr().err
    service.trouble = [("GET /limits", httpx.ConnectError("refused"))] * 9
    assert predict(folder) == 2
    assert "error: the service cannot be reached: refused" in capsys.readouterr().err


def test_no_jax_is_needed(folder, tmp_path):
    service = Fake()
    code = "import sys; sys.modules['jax'] = None; from fdetect_jax import cli; sys.exit(cli.main(sys.argv[1:]))"
    own = {"NO_PROXY": "127.0.0.1", "FDETECT_KEY": service.key, "PYTHONPATH": os.pathsep.join(sys.path)}
    with served(service) as url:
        arguments = ["predict", "--server", url, str(folder), "--output", str(tmp_path / "out")]
        command = [sys.executable, "-c", code, *arguments]
        done = subprocess.run(command, env=os.environ | own, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert done.stderr.splitlines()[0] == "4 real, 1 FAKE"
    assert len(list((tmp_path / "out").glob("j*/report.html"))) == 3
