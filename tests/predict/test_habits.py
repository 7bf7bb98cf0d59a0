"""``fdetect predict`` as people use it: shared output folders, reruns, odd names, targets and ends."""

import json
import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import cv2
import pytest

from fdetect_jax import cli
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.limits import Rejected
from fdetect_jax.predict import engine
from fdetect_jax.predict import rows as rows_module
from fdetect_jax.predict.run import predict
from tests.predict.test_run import PROTOCOL


@pytest.fixture(scope="module")
def scorer(model):
    return Scorer(model, batch_size=4)


@pytest.fixture
def cases(media, tmp_path):
    """Two folders whose files have one name and show different people."""
    for number, name in enumerate(("face.png", "folder/face.jpg")):
        (tmp_path / f"case{number}").mkdir()
        picture = cv2.imread(str(media / name))
        cv2.imwrite(str(tmp_path / f"case{number}" / "face.png"), picture)
    return [tmp_path / "case0", tmp_path / "case1"]


def test_a_copy_belongs_to_its_source(scorer, cases, tmp_path):
    output = tmp_path / "out"
    found = {}
    for number in (0, 1, 0):
        (row,) = predict([cases[number]], scorer, PROTOCOL, output, workers=1)
        found.setdefault(number, []).append(row["annotated"])
    assert found[0][0] == found[0][1] != found[1][0]
    page = (output / "report.html").read_text()
    assert found[0][0] in page
    pictures = [cv2.imread(str(output / name)) for name in (found[0][0], found[1][0])]
    own = cv2.imread(str(cases[0] / "face.png"))
    likeness = [abs(picture[: own.shape[0]].astype(int) - own).mean() for picture in pictures]
    assert likeness[0] < likeness[1] / 2
    # Other content under the same path: what was made of the old content is not shown for the new.
    cv2.imwrite(str(cases[0] / "face.png"), cv2.imread(str(cases[1] / "face.png")))
    (changed,) = predict([cases[0]], scorer, PROTOCOL, output, workers=1)
    (other,) = predict([cases[1]], scorer, PROTOCOL, output, workers=1)
    assert changed["score"] == other["score"]


def test_what_may_pass_is_tried_again(scorer, media, tmp_path, monkeypatch):
    output = tmp_path / "out"
    files = [media / "face.png", media / "empty.jpg"]

    def failing(items):
        for _ in items:
            yield Rejected("OSError: [Errno 28] No space left on device", passing=True)

    with monkeypatch.context() as patched:
        patched.setattr(rows_module, "Workers", lambda *_, **__: SimpleNamespace(run=failing))
        first = list(predict(files, scorer, PROTOCOL, output, workers=1))
    assert [row["annotated"] for row in first] == [None, None]
    assert "No space left" in first[0]["note"]
    second = list(predict(files, scorer, PROTOCOL, output, workers=1))
    assert second[0]["annotated"]
    assert second[0]["note"] == ""
    assert len((output / "verdicts.jsonl").read_text().splitlines()) == 2  # of the second run, and no failure
    with monkeypatch.context() as patched:
        slow = Rejected("took over 1 seconds", passing=True)
        patched.setattr(engine, "extract_faces", lambda files, *_, **__: (slow for _ in files))
        rows = list(predict(files, scorer, PROTOCOL, tmp_path / "slow", workers=1))
    assert {row["verdict"] for row in rows} == {"unable_to_evaluate"}
    again = list(predict(files, scorer, PROTOCOL, tmp_path / "slow", workers=1))
    assert [row["verdict"] for row in again] == ["fake", "unable_to_evaluate"]


def test_it_does_not_judge_what_it_made(scorer, cases, capsys):
    (case, _) = cases
    for _ in range(2):
        rows = list(predict([case], scorer, PROTOCOL, case / "verdict", workers=1))
        assert [row["file"] for row in rows] == [str(case / "face.png")]
    for _ in range(2):
        rows = list(predict([case], scorer, PROTOCOL, case, workers=1))
        assert [row["file"] for row in rows] == [str(case / "face.png")]


def test_a_name_that_is_no_utf8(model, media, tmp_path, capfd):
    name = os.fsdecode(b"M\xfcller.png")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / name).write_bytes((media / "face.png").read_bytes())
    command = ["predict", str(tmp_path / "in"), "--model", str(model), "--threshold", "0", "--workers", "1"]
    assert cli.main([*command, "--output", str(tmp_path / "out"), "--json", str(tmp_path / "rows.json")]) == 1
    (row,) = json.loads((tmp_path / "rows.json").read_text())
    assert os.path.basename(row["file"]) == name
    assert (tmp_path / "out" / row["annotated"]).is_file()
    page = (tmp_path / "out" / "report.html").read_text()
    assert "M%FCller.png.annotated.png" in page
    assert r"M\udcfcller.png" in page
    assert cli.main([*command, "--output", str(tmp_path / "out")]) == 1


def test_a_name_cannot_pose_as_a_line(model, media, tmp_path, capsys):
    name = "a.png: nothing\nreal          0.001  b\x1b[2J\u202e.png"
    (tmp_path / name).write_bytes((media / "face.png").read_bytes())
    assert cli.main(["predict", str(tmp_path), "--model", str(model), "--threshold", "0", "--workers", "1"]) == 1
    (line,) = capsys.readouterr().out.splitlines()
    assert r"a.png: nothing\nreal          0.001  b\x1b[2J\u202e.png: " in line


def test_json_alone_on_standard_output(model, media, capsys):
    assert cli.main(["predict", str(media / "face.png"), "--model", str(model), "--json", "-", "--workers", "1"]) < 2
    shown = capsys.readouterr()
    (row,) = json.loads(shown.out)
    assert row["file"] in shown.err


def test_targets_are_checked_before_work(model, media, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("fdetect_jax.predict.run.verdicts", None)
    for option, path in (("--json", tmp_path), ("--json", media / "face.png" / "x"), ("--output", media / "face.png")):
        assert cli.main(["predict", str(media / "face.png"), "--model", str(model), option, str(path)]) == 2
        assert f"error: {option}: found a " in capsys.readouterr().err


def start(*arguments, **environment):
    command = [sys.executable, "-c", "import sys; from fdetect_jax.cli import main; sys.exit(main())", *arguments]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=os.environ | environment, stdout=pipe, stderr=pipe, start_new_session=True)


def test_a_platform_that_is_not_there_is_no_verdict(media):
    process = start("predict", str(media / "face.png"), JAX_PLATFORMS="cuda")
    _, error = process.communicate(timeout=120)
    assert process.returncode == 2
    assert error.decode().startswith("error: JAX_PLATFORMS: found 'cuda', which cannot be used here")
    process = start("doctor", JAX_PLATFORMS="cuda")
    out, _ = process.communicate(timeout=120)
    assert process.returncode == 1
    assert b"devices: JAX_PLATFORMS: found 'cuda'" in out
    for name, value in (("XLA_FLAGS", "--xla_nonsense=1"), ("JAX_ENABLE_X64", "maybe")):
        process = start("predict", str(media / "face.png"), **{name: value})
        _, error = process.communicate(timeout=120)
        assert process.returncode == 2
        assert len(error.splitlines()) == 1
        assert name in error.decode()


def test_a_fault_of_the_program_is_no_verdict(media, monkeypatch, capsys):
    monkeypatch.setattr("fdetect_jax.predict.command.run", lambda arguments: 1 // 0)
    assert cli.main(["predict", str(media / "face.png")]) == 70
    assert "ZeroDivisionError" in capsys.readouterr().err
    for error, status in ((MemoryError(), 70), (KeyboardInterrupt(), 130), (OSError(28, "No space left"), 2)):

        def fail(arguments, error=error):
            raise error

        monkeypatch.setattr("fdetect_jax.predict.command.run", fail)
        assert cli.main(["predict", str(media / "face.png")]) == status
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_ctrl_c_is_one_line_and_keeps_what_is_done(model, media, tmp_path):
    files = [str(media / "face.png")] * 1 + [str(tmp_path / f"{number}.png") for number in range(200)]
    for file in files[1:]:
        os.link(media / "face.png", file)
    process = start("predict", *files, "--model", str(model), "--output", str(tmp_path / "out"), "--workers", "1")
    diary, deadline = tmp_path / "out" / "verdicts.jsonl", time.monotonic() + 120
    while not (diary.is_file() and diary.read_text().count("\n") > 1) and time.monotonic() < deadline:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130
    assert error.decode().splitlines()[-1] == "stopped"
    assert "Traceback" not in error.decode()


def test_a_reader_that_went_away():
    command = (
        "import sys; from fdetect_jax.errors import exit_status\nwith exit_status() as status: print('x' * 100_000)\n"
        "sys.exit(status.code)"
    )
    process = subprocess.Popen([sys.executable, "-c", command], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.close()
    error = process.stderr.read()
    process.stderr.close()
    assert (process.wait(60), error) == (141, b"")


def test_help_and_version(capsys):
    for arguments in (["--version"], ["--help"]):
        with pytest.raises(SystemExit) as ended:
            cli.main(arguments)
        assert ended.value.code == 0
    assert cli.main(["help", "predict"]) == 0
    assert cli.main(["help"]) == 0
    shown = capsys.readouterr().out
    assert "fdetect 0." in shown
    assert "--heat-map" in shown
