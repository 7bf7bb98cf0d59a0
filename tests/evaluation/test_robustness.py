"""AUC under degradations of a toy detector whose answers are known."""

import dataclasses
import json
import re

import numpy as np
import pytest
from scipy.special import expit
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from fdetect_jax.evaluation.degrade import CONDITIONS, DEGRADATIONS
from fdetect_jax.evaluation.evaluate import evaluate
from fdetect_jax.evaluation.evaluation_report import page_of
from fdetect_jax.evaluation.mistakes import Mistakes
from fdetect_jax.evaluation.robustness import describe_worst, robustness, summary
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol
from tests.evaluation.test_evaluate import drawn
from tests.pages import Page

TITLES = {"video": "Videos", "frame": "Frames"}


def failing(weak="blur", count=60):
    """Sees less with every severity of one degradation, and is blind to all others."""
    rng = np.random.default_rng(7)
    found = []
    for one in drawn(count, shift=4.0):
        noise = 8 * rng.standard_normal(one.margins.shape)
        share = [DEGRADATIONS[name].values.index(value) / 4 if name == weak else 0 for name, value in CONDITIONS]
        found.append(dataclasses.replace(one, degraded=np.array([(1 - s) * one.margins + s * noise for s in share])))
    return found


def evaluated(files, calibration, protocol):
    found = evaluate(files, [], calibration, protocol)
    clean = {level: found.content["tests"][level] for level in TITLES}
    found.content["robustness"] = robustness(files, clean, calibration, protocol) | {"applied_to": "crops"}
    return found


def measured(files, calibration=None, protocol=None):
    return evaluated(files, calibration or Calibration(), protocol or Protocol()).content["robustness"]


@pytest.fixture(scope="module")
def whole():
    return evaluated(failing(), Calibration(), Protocol())


@pytest.fixture(scope="module")
def found(whole):
    return whole.content["robustness"]


def test_the_auc_falls_where_the_detector_fails_and_nowhere_else(found):
    for level in TITLES:
        for name, of in found["degradations"].items():
            aucs = [one["auc"] for one in of[level]]
            assert len(aucs) == len(of["values"]) == 5
            if name == "blur":
                assert aucs[0] == found["clean"][level]["auc"]
                assert (np.diff(aucs)[1:] < 0).all()
                assert aucs[-1] == pytest.approx(0.5, abs=0.2)
            else:
                assert aucs == [found["clean"][level]["auc"]] * 5
        worst = found["worst"][level]
        assert (worst["degradation"], worst["severity"], worst["value"]) == ("blur", 5, 5)
        assert worst["fall"] == found["clean"][level]["auc"] - worst["auc"]


def test_figures_follow_calibration_and_protocol():
    files = failing(count=20)
    protocol, calibration = Protocol(aggregation="max", threshold=0.7), Calibration(2.0, 0.5)
    found = measured(files, calibration, protocol)
    for number, (name, value) in enumerate(CONDITIONS):
        scores = [expit(one.degraded[number] / 2 + 0.5).max() for one in files]
        labels = np.array([one.file.label for one in files])
        one = found["degradations"][name]["video"][DEGRADATIONS[name].values.index(value)]
        assert one["auc"] == pytest.approx(roc_auc_score(labels, scores))
        right = balanced_accuracy_score(labels, np.array(scores) >= 0.7)
        assert one["balanced_accuracy"] == pytest.approx(right)


def test_figures_are_json_and_lines_of_text(found):
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    lines = list(summary(found, TITLES))
    assert len(lines) == 2 * (2 + len(DEGRADATIONS) + 1)
    row = next(line for line in lines if line.startswith("Gaussian blur"))
    assert [float(text) for text in re.findall(r"\d\.\d{4}", row)] == pytest.approx(
        [found["clean"]["video"]["auc"], *(one["auc"] for one in found["degradations"]["blur"]["video"])], abs=1e-4
    )
    assert row.endswith("σ in pixels 0.5, 1, 2, 3, 5")
    assert f"worst: Gaussian blur, σ in pixels 5: {found['worst']['video']['auc']:.4f}" in "\n".join(lines)


def test_what_harms_nothing_is_not_called_worst():
    files = [dataclasses.replace(one, degraded=np.stack([one.margins] * 40)) for one in drawn(20)]
    assert describe_worst(measured(files)["worst"]["video"]) == "none is below clean"


def test_the_page_draws_every_curve_and_every_condition(whole):
    crops = np.random.default_rng(0).integers(0, 256, (41, 32, 32, 3), np.uint8)
    text = page_of(whole, Calibration(), Mistakes(Calibration(), Protocol()), crops)
    Page(text).check()
    section = Page(text[text.index("<section><h2>Robustness") :].split("</section>")[0] + "</section>")
    assert section.tags.count("svg") == len(DEGRADATIONS)
    assert section.tags.count("img") == 6 * len(DEGRADATIONS)
    assert section.tags.count("table") == 2
    assert "prepared crops" in section.text
    assert section.text.count('class="worst"') == 2
    assert re.search(r'class="worst">[\d.]+<small>5<', section.text)
