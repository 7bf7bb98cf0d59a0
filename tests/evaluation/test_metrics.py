"""Metrics against closed forms worked by hand, and against definitions written out."""

import numpy as np
import pytest
from scipy.stats import norm
from sklearn import metrics as reference

from fdetect_jax.evaluation import metrics
from fdetect_jax.evaluation.metrics import METRICS, Metric, Undefined, View
from fdetect_jax.inference.calibration import Calibration

RANKS = ("auc", "eer", "ap")


def view(labels, scores, threshold=0.5) -> View:
    """Units of these P(fake); as margins, of which only the order matters, they serve too."""
    labels, scores = np.array(labels, int), np.array(scores, float)
    return View(labels, scores, scores, threshold, np.arange(len(labels)), np.zeros(len(labels), int))


def ranks(labels, scores) -> dict[str, float]:
    return {name: METRICS[name].function(view(labels, scores)) for name in RANKS}


def test_all_figures_of_a_case_worked_by_hand():
    # Pairs (fake, real) in order: 3 of 4. Precision 1 at recall 1/2, then 2/3 at recall 1.
    found = view([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.9])
    assert {name: METRICS[name].function(found) for name in (*RANKS, "accuracy", "balanced_accuracy")} == {
        "auc": 0.75,
        "eer": 0.5,
        "ap": pytest.approx(0.5 * 1 + 0.5 * 2 / 3),
        "accuracy": 0.5,
        "balanced_accuracy": 0.5,
    }


def test_ties_count_half():
    assert metrics.auc(view([0, 1], [0.5, 0.5])) == 0.5
    # Fakes 0.5 and 0.9 against reals 0.5 and 0.1: (0.5 + 1 + 1 + 1) / 4.
    assert metrics.auc(view([0, 0, 1, 1], [0.5, 0.1, 0.5, 0.9])) == pytest.approx(3.5 / 4)


def test_eer_is_interpolated_between_corners():
    # One tied group: a straight ROC from (0, 0.5) to (1, 1), so tpr = (1 + fpr) / 2 = 1 - fpr at 1/3.
    assert metrics.eer(view([0, 0, 1, 1], [0.3, 0.3, 0.3, 0.8])) == pytest.approx(1 / 3)


def test_eer_at_the_extremes():
    assert metrics.eer(view([0, 0, 1], [0.1, 0.2, 0.9])) == 0
    assert metrics.eer(view([0, 0, 1], [0.8, 0.9, 0.1])) == 1


def test_threshold_counts_as_fake_and_moves_accuracies_alone():
    low, high = (view([0, 1, 1], [0.2, 0.5, 0.7], threshold) for threshold in (0.5, 0.6))
    assert (metrics.accuracy(low), metrics.accuracy(high)) == (1.0, pytest.approx(2 / 3))
    assert (metrics.balanced_accuracy(low), metrics.balanced_accuracy(high)) == (1.0, pytest.approx(3 / 4))
    for name in (*RANKS, "ece", "brier"):
        assert METRICS[name].function(low) == METRICS[name].function(high)


@pytest.mark.parametrize("decimals", [8, 1])  # 1: many ties
def test_agrees_with_the_definitions_on_random_data(decimals):
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 400)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0.01, 0.99).round(decimals)
    found, of = ranks(labels, scores), view(labels, scores)
    fake, real = scores[labels == 1][:, None], scores[labels == 0][None]
    assert found["auc"] == pytest.approx(np.mean((fake > real) + 0.5 * (fake == real)))
    assert found["ap"] == pytest.approx(reference.average_precision_score(labels, scores))
    assert metrics.accuracy(of) == reference.accuracy_score(labels, scores >= 0.5)
    assert metrics.balanced_accuracy(of) == pytest.approx(reference.balanced_accuracy_score(labels, scores >= 0.5))
    fpr, tpr = metrics.roc(of)
    assert np.trapezoid(tpr, fpr) == pytest.approx(found["auc"])
    assert np.interp(found["eer"], fpr, tpr) == pytest.approx(1 - found["eer"])


@pytest.mark.parametrize(("labels", "reason"), [([0, 0], "2 real and 0 fake"), ([1, 1, 1], "0 real and 3 fake")])
def test_one_class_determines_what_one_class_can(labels, reason):
    one = view(labels, np.linspace(0.2, 0.6, len(labels)))
    for name, metric in METRICS.items():
        if name in ("accuracy", "ece", "brier"):
            assert 0 <= metric.function(one) <= 1
        else:
            with pytest.raises(Undefined, match=reason):
                metric.function(one)


def test_no_unit_determines_nothing():
    for metric in METRICS.values():
        with pytest.raises(Undefined):
            metric.function(view([], []))


def test_a_metric_says_how_it_is_shown():
    with pytest.raises(ValueError, match="'Odd': found format 'percent'"):
        Metric(metrics.auc, "Odd", format="percent")
    with pytest.raises(ValueError, match="better 'up'"):
        Metric(metrics.auc, "Odd", better="up")


def test_ranks_survive_where_probabilities_saturate():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 4000)
    margins = rng.normal(np.where(labels, 27.0, 22.0), 3.0)
    scores = Calibration().scores(margins)
    one = View(labels, margins, scores, 0.5, np.arange(8000), labels)
    assert metrics.auc(one) == pytest.approx(norm.cdf(5 / np.sqrt(18)), abs=0.01)  # 0.88
    rounded = scores.astype(np.float32)
    assert reference.roc_auc_score(labels, rounded) < 0.6  # of a float32 softmax
    low, high = metrics.interval(one)
    assert low < norm.cdf(5 / np.sqrt(18)) < high
    assert metrics.eer(one) == pytest.approx(norm.sf(5 / 6), abs=0.02)


def test_psnr_of_a_known_offset():
    a = np.full((2, 16, 16, 3), 0.5, np.float32)
    b = a + np.array([0.1, 0.01], np.float32)[:, None, None, None]
    np.testing.assert_allclose(metrics.psnr(a, b), [20.0, 40.0], atol=1e-4)
    assert np.isposinf(metrics.psnr(a, a)).all()


def test_ssim_of_equal_and_of_constant_images():
    rng = np.random.default_rng(0)
    a = rng.random((2, 24, 24, 3), np.float32)
    np.testing.assert_allclose(metrics.ssim(a, a), 1.0)
    # Without variance only the luminance term is left: (2 m n + C1) / (m^2 + n^2 + C1), C1 = 0.01^2.
    dark, light = np.full((1, 16, 16, 3), 0.2), np.full((1, 16, 16, 3), 0.8)
    np.testing.assert_allclose(metrics.ssim(dark, light), (0.32 + 1e-4) / (0.68 + 1e-4), rtol=1e-9)
    assert metrics.ssim(a, np.clip(a + 0.3, 0, 1)).max() < 0.99


@pytest.mark.parametrize("metric", [metrics.psnr, metrics.ssim])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 16, 16, 3), np.uint8), "uint8"),
        (np.full((1, 16, 16, 3), 2.0), "found"),
        (np.full((1, 16, 16, 3), np.nan), "nan"),
        (np.zeros((16, 16, 3)), r"\(16, 16, 3\)"),
    ],
)
def test_image_metrics_refuse_other_ranges_and_types(metric, image, message):
    with pytest.raises(ValueError, match=message):
        metric(image, image)


def test_ssim_names_its_smallest_size():
    with pytest.raises(ValueError, match="at least 11"):
        metrics.ssim(np.zeros((1, 10, 16, 3)), np.zeros((1, 10, 16, 3)))


def test_tpr_at_a_rate_of_a_case_worked_by_hand():
    # 100 reals at 0.00 to 0.99; fakes at 0.505, 0.905, 0.985 and 0.995.
    labels = np.repeat([0, 1], [100, 4])
    found = view(labels, np.concatenate([np.arange(100) / 100, [0.985, 0.995, 0.505, 0.905]]))
    assert metrics.tpr_at(found, 0.01) == 0.5  # at one false alarm, the upper end
    assert metrics.tpr_at(found, 0.09) == 0.75
    assert metrics.tpr_at(found, 1.0) == 1.0
    with pytest.raises(Undefined, match="1000 reals, found 100"):
        metrics.tpr_at(found, 0.001)


def test_tpr_is_straight_between_corners():
    # All reals tie with half of the fakes: straight from (0, 0.5) to (1, 1).
    found = view(np.repeat([0, 1], [10, 2]), np.concatenate([np.full(11, 0.3), [0.9]]))
    assert metrics.tpr_at(found, 0.1) == pytest.approx(0.55)


def test_tpr_of_two_normal_distributions():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 200_000)
    found = view(labels, norm.cdf(rng.normal(2.0 * labels), 1.0, 2.0))
    for name, fpr in (("tpr_at_fpr_1%", 0.01), ("tpr_at_fpr_0.1%", 0.001)):
        assert METRICS[name].function(found) == pytest.approx(norm.sf(norm.isf(fpr) - 2.0), abs=0.01)


def test_calibration_error_of_cases_worked_by_hand():
    # Bins of 1/15: 0.01 twice (one fake), 0.99 twice (both fake), 0.5 once (real).
    found = view([0, 1, 1, 1, 0], [0.01, 0.01, 0.99, 0.99, 0.5])
    score, fakes, count = metrics.reliability(found)
    np.testing.assert_allclose(score, [0.01, 0.5, 0.99])
    np.testing.assert_allclose(fakes, [0.5, 0.0, 1.0])
    assert count.tolist() == [2, 1, 2]
    assert metrics.calibration_error(found) == pytest.approx((2 * 0.49 + 0.5 + 2 * 0.01) / 5)
    assert metrics.brier(found) == pytest.approx((0.01**2 + 0.99**2 + 2 * 0.01**2 + 0.25) / 5)
    assert metrics.calibration_error(view([0, 1], [0.0, 1.0])) == 0  # the ends have a bin


def test_true_probabilities_are_calibrated_and_sharpened_ones_are_not():
    rng = np.random.default_rng(0)
    scores = rng.random(200_000)
    labels = (rng.random(len(scores)) < scores).astype(int)
    assert metrics.calibration_error(view(labels, scores)) < 0.006
    assert metrics.brier(view(labels, scores)) == pytest.approx(1 / 6, abs=0.002)  # the integral of p (1 - p)
    sharp = view(labels, np.round(scores))
    assert metrics.calibration_error(sharp) == pytest.approx(0.25, abs=0.005)  # E|round(p) - p|
