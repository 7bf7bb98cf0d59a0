"""Every registered metric of a test, and the word for its AUC."""

import json

import numpy as np
import pytest

from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.metrics import METRICS
from fdetect_jax.evaluation.results import measure, verdict
from fdetect_jax.evaluation.table import Scored, Test
from fdetect_jax.evaluation.view import view_of
from fdetect_jax.inference.calibration import Calibration


def units(count=1200, seed=0):
    rng = np.random.default_rng(seed)
    label = np.arange(count) % 2
    return Scored(
        label=label,
        margin=rng.normal(2.0 * label, 1.5),
        kind=np.where(label, 5, 0),
        method=np.where(label, np.where(np.arange(count) % 4 == 1, "swap", "sbi"), "real"),
        source=np.where(np.arange(count) % 3, "one", "two"),
        group=np.char.add("person ", (np.arange(count) // 4).astype(str)),
    )


def test_a_test_has_every_registered_metric():
    test, calibration = Test("x", "Some test", units(), "frame"), Calibration(2.0, -0.5)
    found = measure(test, calibration, 0.4, seed=3)
    view = view_of(test, calibration, 0.4, seed=3)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["title"], found["unit"], found["sources"]) == ("Some test", "frame", ["one", "two"])
    assert (found["n_real"], found["n_fake"], found["n_groups"], found["methods"]) == (600, 600, 300, ["sbi", "swap"])
    for name, metric in METRICS.items():
        if name == "tpr_at_fpr_0.1%":
            assert (found[name], found["undefined"]) == (None, {name: "a rate of 0.001 needs 1000 reals, found 600"})
        else:
            assert found[name] == pytest.approx(metric.function(view), rel=1e-12)
    assert found["auc_interval"] == list(auc_interval(test.units.label, test.units.margin, test.units.group, seed=3))


def test_calibration_and_threshold_move_what_they_should():
    test = Test("x", "x", units())
    plain, other = (measure(test, *how) for how in ((Calibration(), 0.5), (Calibration(0.5, 1.0), 0.9)))
    assert all(plain[name] == other[name] for name in ("auc", "eer", "ap", "tpr_at_fpr_1%", "auc_interval"))
    assert all(plain[name] != other[name] for name in ("accuracy", "ece", "brier"))


def test_frames_of_a_video_make_no_narrower_interval():
    few, widths = units(80), []
    for copies in (1, 16):
        rows = few.rows(np.repeat(np.arange(len(few)), copies))
        widths.append(np.ptp(measure(Test("x", "x", rows), Calibration(), 0.5)["auc_interval"]))
    assert widths[1] == pytest.approx(widths[0], abs=1e-12)


def test_labels_and_margins_that_cannot_be_are_named():
    good = units(8)
    with pytest.raises(ValueError, match=r"test 'x': found labels \[0, 2\], wanted 0 and 1"):
        measure(Test("x", "x", Scored(2 * good.label, *list(vars(good).values())[1:])), Calibration(), 0.5)
    bad = Scored(good.label, np.where(good.label, np.inf, 0.0), *list(vars(good).values())[2:])
    with pytest.raises(ValueError, match="test 'x': found 4 of 8 margins that are not finite"):
        measure(Test("x", "x", bad), Calibration(), 0.5)


@pytest.mark.parametrize(
    ("auc", "word"),
    [(0.99, "strong"), (0.9, "fair"), (0.7, "weak"), (0.51, "chance"), (0.49, "chance"), (0.2, "inverted")],
)
def test_verdict(auc, word):
    assert verdict(auc, 200, 200) == word


def test_verdict_needs_more_than_a_handful():
    assert verdict(0.7, 4, 4) == "chance"
