"""The most confident mistakes: which files, which frame of them, and which face in it."""

import base64
import dataclasses
import json
import re

import cv2
import numpy as np
from scipy.special import expit

from fdetect_jax.evaluation.evaluate import evaluate
from fdetect_jax.evaluation.evaluation_report import page_of
from fdetect_jax.evaluation.mistakes import Mistakes
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import FAKE, REAL
from tests.evaluation.test_evaluate import one
from tests.pages import HOSTILE, Page


def shown(file):
    """With crops of one grey each, which count the faces."""
    crops = [np.full((1, 32, 32, 3), 10 * (number + 1), np.uint8) for number in range(len(file.margins))]
    return dataclasses.replace(file, crops=crops)


def kept(files, count=12, protocol=None, calibration=None):
    mistakes = Mistakes(calibration or Calibration(), protocol or Protocol(), count)
    for file in files:
        mistakes.add(shown(file))
    return mistakes


def test_the_surest_of_the_wrong_side_in_order():
    reals = [one(f"r{n}", REAL, [margin]) for n, margin in enumerate([-1.0, 2.0, 0.5, 3.0, -3.0, 1.0])]
    fakes = [one(f"f{n}", FAKE, [margin]) for n, margin in enumerate([1.0, -2.0, -0.5, 4.0, -3.0])]
    mistakes = kept(reals + fakes, count=3)
    assert [m.file.name for m in mistakes.of(REAL)] == ["r3", "r1", "r5"]
    assert [m.file.name for m in mistakes.of(FAKE)] == ["f4", "f1", "f2"]
    np.testing.assert_allclose([m.score for m in mistakes.of(REAL)], expit([3.0, 2.0, 1.0]))
    assert kept((reals + fakes)[::-1], count=3).to_dict() == mistakes.to_dict()


def test_calibration_and_threshold_decide_what_is_a_mistake():
    files = [one("r", REAL, [1.0]), one("f", FAKE, [1.0])]
    assert list(map(len, kept(files, protocol=Protocol(threshold=0.8)).to_dict().values())) == [0, 1]
    assert list(map(len, kept(files, calibration=Calibration(1.0, -2.0)).to_dict().values())) == [0, 1]
    assert list(map(len, kept(files).to_dict().values())) == [1, 0]


def test_frame_and_face_are_those_that_misled():
    margins, frames = [1.0, 5.0, 2.0, 9.0, -1.0], [0, 4, 4, 8, 8]
    areas = [1, 1, 1, 0.01, 1]  # the face of 9 is too small to count
    (found,) = kept([one("r", REAL, margins, frames=frames, areas=areas)]).of(REAL)
    assert (found.frame, found.time, found.picture[0, 0, 0]) == (4, 4 / 25, 20)
    np.testing.assert_allclose(found.frame_score, expit(5.0))
    (found,) = kept([one("f", FAKE, [-1.0, -5.0, -4.0], frames=[0, 4, 4])]).of(FAKE)
    assert (found.frame, found.picture[0, 0, 0]) == (4, 30)  # its frame is as fake as its most fake face
    np.testing.assert_allclose(found.frame_score, expit(-4.0))


def test_rows_are_json_and_an_image_has_no_time():
    rows = kept([one("r", REAL, [1.0], image=True), one("f", FAKE, [-1.0], frames=[50])]).to_dict()
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert rows["real"][0] == {"name": "r", "method": "real", "frame": 0, "time": None} | dict.fromkeys(
        ("score", "frame_score"), round(float(expit(1.0)), 6)
    )
    assert rows["fake"][0]["time"] == 2.0


def test_the_page_shows_each_face_and_escapes():
    files = [one(HOSTILE, REAL, [1.0], frames=[10]), one("x", REAL, [2.0]), one("f", FAKE, [1.0])]
    text = page_of(evaluate(files, [], Calibration(), Protocol()), Calibration(), kept(files))
    Page(text).check()
    pictures = [base64.b64decode(data) for data in re.findall(r"data:image/png;base64,([^\"]+)", text)]
    assert [cv2.imdecode(np.frombuffer(data, np.uint8), 1).shape for data in pictures] == [(32, 32, 3)] * 2
    section = text[text.index("Most confident mistakes") :]
    assert section.index("<b>0.881</b>") < section.index("<b>0.731</b>")
    assert "at 0.40 s" in section
    assert re.search(r"<h3>Fakes called real</h3>\s*<p>None.</p>", section)
