"""The record of a run: equal with and without an interruption, and readable after a kill."""

import json
import math
import struct

import numpy as np
import pytest
from tensorboardX.proto.event_pb2 import Event, SessionLog

from fdetect_jax.errors import UserError
from fdetect_jax.train import writer as module
from fdetect_jax.train.writer import Writer, read_history


def train(workdir, first, last, **options):
    """One row a step from ``first`` to ``last``, and an evaluation row every third."""
    with Writer(workdir, 10, start_step=first - 1, tensorboard=False, progress=False, **options) as writer:
        for step in range(first, last + 1):
            writer.scalars(step, {"loss": 1 / step, "accuracy": np.float32(0.1 * step)})
            if step % 3 == 0:
                writer.scalars(step, {"eval/auc": math.nan if step == 3 else 0.9})
            writer.advance(step)


def timeless(workdir):
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in row.items() if name != "time"} for row in rows]


def events(workdir):
    """Events of all files, oldest first: each record is a length, a checksum, the message and a checksum."""
    found = []
    for path in sorted((workdir / "tensorboard").iterdir(), key=lambda path: path.stat().st_mtime_ns):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])
            found.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return found


@pytest.mark.parametrize("checkpoint", [1, 6, 7])
def test_interrupted_and_resumed_equals_uninterrupted(tmp_path, checkpoint):
    train(tmp_path / "whole", 1, 10)
    train(tmp_path / "parts", 1, 8)
    train(tmp_path / "parts", checkpoint + 1, 10)
    assert timeless(tmp_path / "parts") == timeless(tmp_path / "whole")
    assert len(timeless(tmp_path / "whole")) == 13


def test_resume_keeps_the_bytes_of_kept_rows(tmp_path):
    train(tmp_path, 1, 4)
    before = (tmp_path / "metrics.jsonl").read_bytes()
    train(tmp_path, 5, 4)
    assert (tmp_path / "metrics.jsonl").read_bytes() == before


@pytest.mark.parametrize("torn", ['{"step": 6, "time": 17', '{"step"', "\x00\x00", '{"step": 6}'])
def test_torn_last_line(tmp_path, torn):
    train(tmp_path, 1, 5)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(torn)
    assert [row["step"] for row in read_history(tmp_path)][:6] == [1, 2, 3, 3, 4, 5]
    train(tmp_path, 6, 10)
    train(tmp_path / "whole", 1, 10)
    assert timeless(tmp_path) == timeless(tmp_path / "whole")


def test_damage_before_the_last_line_is_named(tmp_path):
    train(tmp_path, 1, 3)
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    (tmp_path / "metrics.jsonl").write_text("\n".join([lines[0], "not json", lines[1]]))
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        read_history(tmp_path)
    with pytest.raises(ValueError, match=r"metrics\.jsonl, line 2"):
        Writer(tmp_path, 10, start_step=2, tensorboard=False, progress=False)


@pytest.mark.parametrize("line", ["[" * 100_000, '{"step": 2, "loss": "low"}', "[2]", '{"step": 2, "loss": [1]}'])
def test_a_line_that_is_no_row_of_numbers_is_named(line, tmp_path):
    train(tmp_path, 1, 3)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(f"{line}\n")
    train(tmp_path, 4, 5)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write(f"{line}\n" * 2)
    with pytest.raises(UserError, match=r"metrics\.jsonl, line 7: not a row of metrics"):
        read_history(tmp_path)


def test_a_new_run_starts_the_record_anew(tmp_path):
    train(tmp_path, 1, 5)
    train(tmp_path, 1, 2)
    assert [row["step"] for row in timeless(tmp_path)] == [1, 2]


def test_rows_are_strict_json_on_disk_at_once(tmp_path):
    with Writer(tmp_path, 10, tensorboard=False, progress=False) as writer:
        writer.scalars(1, {"loss": np.float32(0.5), "bad": math.inf})
        (row,) = (tmp_path / "metrics.jsonl").read_text().splitlines()
    found = json.loads(row)
    assert {name: value for name, value in found.items() if name != "time"} == {
        "step": 1,
        "loss": 0.5,
        "bad": None,
    }
    assert found["time"] == pytest.approx(module.time.time(), abs=60)
    assert math.isnan(read_history(tmp_path)[0]["bad"])


def test_history_of_no_run_is_empty(tmp_path):
    assert read_history(tmp_path) == []


def test_refuses_reserved_names_and_impossible_steps(tmp_path):
    with (
        Writer(tmp_path, 10, tensorboard=False, progress=False) as writer,
        pytest.raises(ValueError, match="time"),
    ):
        writer.scalars(1, {"time": 1.0})
    for start in (-1, 11):
        with pytest.raises(ValueError, match=f"found {start}"):
            Writer(tmp_path, 10, start_step=start)


def test_tensorboard_holds_scalars_and_pictures_and_purges_on_resume(tmp_path):
    with Writer(tmp_path, 10, progress=False) as writer:
        for step in (1, 2, 3):
            writer.scalars(step, {"loss/margin": step / 2})
    with Writer(tmp_path, 10, start_step=2, progress=False) as writer:
        writer.images(3, "faces", np.zeros((2, 8, 8, 3), np.uint8))
        with pytest.raises(ValueError, match="float32"):
            writer.images(3, "faces", np.zeros((2, 8, 8, 3), np.float32))
    found = events(tmp_path)
    scalars = [(e.step, v.simple_value) for e in found for v in e.summary.value if v.tag == "loss/margin"]
    assert scalars == [(1, 0.5), (2, 1.0), (3, 1.5)]
    starts = [e.step for e in found if e.session_log.status == SessionLog.START]
    assert starts == [0, 3], "steps from 3 on are to be hidden, step 2 is not"
    assert [(v.image.height, v.image.width) for e in found for v in e.summary.value if v.tag == "faces"] == [(8, 16)]


def test_without_a_terminal_progress_is_plain_lines_every_ten_seconds(tmp_path, capsys, monkeypatch):
    clock = iter(np.arange(0.0, 1000.0, 2.0))  # every look at the clock takes 2 s
    monkeypatch.setattr(module.time, "monotonic", lambda: next(clock))
    with Writer(tmp_path, 30, tensorboard=False) as writer:
        writer.say("hello")
        for step in range(1, 31):
            writer.scalars(step, {"loss": 0.25, "accuracy": 0.5})
            writer.advance(step)
            writer.scalars(step, {"eval/auc": 0.75})
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "hello"
    assert 3 <= len(lines) <= 7
    assert not any("\r" in line or "\x1b" in line for line in lines)
    assert lines[-1].startswith("100% 30/30 [")
    assert all("step/s" in line or "s/step" in line for line in lines)
    assert all("loss=0.25, accuracy=0.5" in line for line in lines)


def test_on_a_terminal_there_is_one_bar(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(module.sys.stdout, "isatty", lambda: True)
    with Writer(tmp_path, 10, start_step=4, tensorboard=False) as writer:
        writer.scalars(10, {"loss": 0.25})
        writer.say("saved")
        writer.advance(10)
    text = capsys.readouterr().out
    assert "saved\n" in text
    assert "10/10" in text.split("\r")[-1]
    assert "loss=0.25" in text.split("\r")[-1]


def test_disabled_touches_nothing(tmp_path, capsys):
    with Writer(tmp_path / "run", 10, enabled=False) as writer:
        writer.scalars(1, {"loss": 1.0})
        writer.images(1, "faces", np.zeros((1, 8, 8, 3), np.uint8))
        writer.advance(1)
        writer.say("nobody hears")
    assert not (tmp_path / "run").exists()
    assert capsys.readouterr().out == ""
