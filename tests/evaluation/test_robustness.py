"""AUC under degradations of a toy detector whose answers are known."""

import dataclasses
import json
import re

import numpy as np
import pytest
from tests.evaluation.test_report import Page

from fdetect_jax.evaluation import metrics
from fdetect_jax.evaluation.degrade import CONDITIONS, DEGRADATIONS
from fdetect_jax.evaluation.evaluate import figures, levels
from fdetect_jax.evaluation.robustness import describe, robustness, robustness_section, summary
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol
from tests.evaluation.test_evaluate import drawn, logistic

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


def measured(judged, calibration=None, protocol=None):
    calibration, protocol = calibration or Calibration(), protocol or Protocol()
    clean = {name: figures(level, protocol.threshold) for name, level in levels(judged, calibration, protocol).items()}
    return robustness(judged, clean, calibration, protocol)


@pytest.fixture(scope="module")
def found():
    return measured(failing())


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
    judged = failing(count=20)
    protocol, calibration = Protocol(aggregation="max", threshold=0.7), Calibration(2.0, 0.5)
    found = measured(judged, calibration, protocol)
    for number, (name, value) in enumerate(CONDITIONS):
        scores = [logistic(one.degraded[number] / 2 + 0.5).max() for one in judged]
        labels = np.array([one.file.label for one in judged])
        one = found["degradations"][name]["video"][DEGRADATIONS[name].values.index(value)]
        assert one["auc"] == metrics.classification(labels, scores)["auc"]
        right = (np.array(scores) >= 0.7) == labels
        assert one["balanced_accuracy"] == pytest.approx((right[labels == 0].mean() + right[labels == 1].mean()) / 2)


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
    judged = [dataclasses.replace(one, degraded=np.stack([one.margins] * 40)) for one in drawn(20)]
    assert describe(measured(judged)["worst"]["video"]) == "none is below clean"


def test_section_draws_every_curve_and_every_condition(found):
    crops = np.random.default_rng(0).integers(0, 256, (41, 32, 32, 3), np.uint8)
    text = robustness_section(found | {"applied_to": "crops"}, TITLES, crops)
    page = Page(text)
    assert page.tags.count("svg") == len(DEGRADATIONS)
    assert len(page.ids) == len(set(page.ids))
    assert page.tags.count("img") == 6 * len(DEGRADATIONS)
    assert page.tags.count("table") == 2
    assert "prepared crops" in text
    assert text.count("class=worst") == 2
    assert re.search(r"class=worst>[\d.]+<small>5<", text)
