"""Analyses registered from outside run in the worker processes of ``predict`` and stand in its rows, lines and page."""

import json
import os

import cv2
import numpy as np
import pytest

from fdetect_jax import cli
from fdetect_jax.errors import UserError
from fdetect_jax.inference.analyses import ANALYSES, Analysis
from fdetect_jax.inference.evidence import Evidence
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.predict.run import predict


def bytes_and_process(path):
    return {"bytes": path.stat().st_size, "process": os.getpid()}


def weigh_bytes(data):
    assert data["process"] != os.getpid()
    picture = np.full((5, 7, 3), (255, 0, 0), np.uint8)
    return Evidence("", data["bytes"], "neither", 0.25, f"The file has <{data['bytes']}> bytes.", picture)


def brightness(crop):
    return float(crop.example["image"].mean())


def weigh_brightness(found):
    return Evidence("", float(np.mean(found)), "real", 1.0, f"{len(found)} faces are bright.")


def breaks(path):
    raise OSError("cannot be opened")


def dies(path):
    os._exit(3)


@pytest.fixture
def register(monkeypatch):
    def add(name, *analysis):
        monkeypatch.setitem(ANALYSES, name, Analysis(*analysis))

    return add


@pytest.fixture(scope="module")
def scorer(model):
    return Scorer(model, batch_size=4)


def test_they_run_in_workers_and_are_shown(register, scorer, model, media, tmp_path, capsys):
    register("bytes", "file", bytes_and_process, weigh_bytes, "Size of the file")
    register("bright", "face", brightness, weigh_brightness, "Brightness")
    register("broken", "file", breaks, weigh_bytes, "Broken")
    out, output = tmp_path / "rows.json", tmp_path / "out"
    names = ("empty.jpg", "face.png", "wall.png")
    files = [str(media / name) for name in names]
    options = ["--model", str(model), "--json", str(out), "--output", str(output), "--workers", "1"]
    assert cli.main(["predict", *files, *options]) in (1, 3)
    unread, face, wall = json.loads(out.read_text())
    assert unread["evidence"] == []
    assert [one["name"] for one in face["evidence"]] == ["detector", "bytes", "bright"]
    assert [one["name"] for one in wall["evidence"]] == ["bytes"]
    detector, size, _ = face["evidence"]
    assert (detector["value"], detector["words"]) == (face["score"], face["reason"])
    assert detector["speaks_for"] == face["verdict"]
    assert size == {
        "name": "bytes",
        "value": (media / "face.png").stat().st_size,
        "speaks_for": "neither",
        "strength": 0.25,
        "words": f"The file has <{(media / 'face.png').stat().st_size}> bytes.",
        "title": "Size of the file",
        "picture": "face.png.bytes.png",
    }
    np.testing.assert_array_equal(cv2.imread(str(output / size["picture"])), np.full((5, 7, 3), (0, 0, 255)))
    for row in (face, wall):
        assert row["note"] == "analysis broken failed: OSError: cannot be opened"
    page = (output / "report.html").read_text()
    assert page.count("Size of the file") == 2
    assert size["words"].replace("<", "&lt;").replace(">", "&gt;") in page
    assert f"Size of the file: {size['words']}" in capsys.readouterr().out
    assert list(predict(files, scorer, Protocol(), output, workers=1)) == [unread, face, wall]


def test_a_process_that_dies_costs_the_evidence_and_not_the_verdict(register, scorer, media, tmp_path):
    register("dies", "file", dies, weigh_bytes, "Dies")
    (row,) = predict([media / "face.png"], scorer, Protocol(), workers=1)
    assert row["note"] == "analyses failed: its process died (exit status 3)"
    assert row["verdict"] in ("real", "fake")
    assert [one["name"] for one in row["evidence"]] == ["detector"]


def test_what_workers_cannot_import_is_refused_before_work_starts(register, scorer, media):
    register("local", "file", lambda path: None, weigh_bytes, "Local")
    with pytest.raises(UserError, match=r"analyses\.local\.extract"):
        predict([media / "face.png"], scorer, Protocol(), workers=1)
