"""Figures of merit on the host: the registry of what is measured of every test, and PSNR and SSIM of image pairs.

To add a metric, write a function of a ``View`` and register it in one line; it then stands in every report's JSON,
table and text::

    METRICS["misses"] = Metric(lambda view: float(np.mean(view.scores[view.labels == 1] < view.threshold)),
                               "Misses", "The share of fakes below the threshold.", "share", "lower")
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.view import Undefined, View
from fdetect_jax.types import FAKE, REAL

__all__ = ["METRICS", "Metric", "Undefined", "View", "psnr", "ssim"]

_SSIM_WINDOW = 11
_ROUNDING = 1e-5  # a float32 image may leave [0, 1] by this much
FORMATS = ("number", "share", "interval")


@dataclass(frozen=True)
class Metric:
    """One registered metric.

    function: View -> float, or a pair (low, high) of floats for the format "interval"; raises ``Undefined`` where the
      units do not determine it.
    title: heads its column. note: one sentence that explains it; ``{threshold}`` stands for the threshold.
    format: "number", "share" (shown in percent), or "interval". better: "higher", "lower", or None where neither is.
    """

    function: Callable[[View], float | tuple[float, float]]
    title: str
    note: str = ""
    format: str = "number"
    better: str | None = None

    def __post_init__(self) -> None:
        if self.format not in FORMATS or self.better not in ("higher", "lower", None):
            raise ValueError(f"metric {self.title!r}: found format {self.format!r} and better {self.better!r}")


def accuracy(view: View) -> float:
    """Share of units on their side of the threshold. One class is enough."""
    view.need_units()
    return float(np.mean(_right(view)))


def balanced_accuracy(view: View) -> float:
    """Mean over both classes of the share on its side of the threshold."""
    view.need_both()
    right = _right(view)
    return float(np.mean([right[view.labels == label].mean() for label in (REAL, FAKE)]))


def auc(view: View) -> float:
    """Probability that a fake's margin is above a real's, ties counting half (Hanley and McNeil 1982)."""
    view.need_both()
    return float(roc_auc_score(view.labels, view.margins))


def interval(view: View) -> tuple[float, float]:
    """``bootstrap.auc_interval`` over groups, 95 %."""
    view.need_both()
    return auc_interval(view.labels, view.margins, view.groups, seed=view.seed)


def eer(view: View) -> float:
    """Where the ROC curve meets the line tpr = 1 - fpr, with straight lines between corners.

    The crossing is unique: fpr - (1 - tpr) climbs from -1 to 1.
    """
    fpr, tpr = roc(view)
    return float(np.interp(0.0, fpr - (1.0 - tpr), fpr))


def average_precision(view: View) -> float:
    """Sum of (R_k - R_{k-1}) P_k with fakes as positives, without interpolation."""
    view.need_both()
    return float(average_precision_score(view.labels, view.margins))


def tpr_at(view: View, fpr: float) -> float:
    """Share of fakes that are caught where ``fpr`` of the reals are called fake, straight between the ROC's corners.

    Where the curve rises at that very rate it is the upper end. Undefined where there are fewer than 1 / fpr reals: one
    false alarm alone would exceed the rate.
    """
    corners = roc(view)
    reals, needed = int(np.sum(view.labels == REAL)), math.ceil(1 / fpr - 1e-9)
    if reals < needed:
        raise Undefined(f"a rate of {fpr:g} needs {needed} reals, found {reals}")
    return float(np.interp(fpr, *corners))


def calibration_error(view: View) -> float:
    """Expected calibration error: the mean over ``reliability``'s bins of |mean score - share of fakes|, by count.

    The binary form, on P(fake) (Naeini et al. 2015), not that on the confidence of the class called (Guo et al. 2017).
    """
    score, fakes, count = reliability(view)
    return float(np.sum(np.abs(score - fakes) * count) / np.sum(count))


def brier(view: View) -> float:
    """Mean of (score - label)² (Brier 1950). One class is enough."""
    view.need_units()
    return float(np.mean((view.scores - view.labels) ** 2))


METRICS: dict[str, Metric] = {
    "auc": Metric(auc, "AUC", "The probability that a fake scores above a real.", better="higher"),
    "auc_interval": Metric(interval, "95 %", "Of the AUC, by a bootstrap over groups of units.", "interval"),
    "accuracy": Metric(accuracy, "Accuracy", "At P(fake) = {threshold}.", "share", "higher"),
    "balanced_accuracy": Metric(
        balanced_accuracy, "Balanced", "The mean of the accuracies on reals and on fakes.", "share", "higher"
    ),
    "eer": Metric(eer, "EER", "The rate at which false alarms equal misses.", "share", "lower"),
    "ap": Metric(average_precision, "AP", "Average precision with fakes as positives.", better="higher"),
    "tpr_at_fpr_1%": Metric(
        partial(tpr_at, fpr=0.01), "TPR 1 %", "Fakes caught where 1 % of the reals are called fake.", "share", "higher"
    ),
    "tpr_at_fpr_0.1%": Metric(
        partial(tpr_at, fpr=0.001),
        "TPR 0.1 %",
        "Fakes caught where 0.1 % of the reals are called fake.",
        "share",
        "higher",
    ),
    "ece": Metric(
        calibration_error,
        "ECE",
        "Over 15 equal bins of P(fake), the mean distance of the mean score from the share of fakes.",
        better="lower",
    ),
    "brier": Metric(brier, "Brier", "The mean squared distance of P(fake) from the label.", better="lower"),
}


def roc(view: View) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the ROC curve, (K,) false and true positive rates, from (0, 0) to (1, 1) (Fawcett 2006).

    Equal margins move together, so ties give a slanted segment. Raises Undefined for one class alone.
    """
    view.need_both()
    fpr, tpr, _ = roc_curve(view.labels, view.margins)
    return fpr, tpr


def reliability(view: View, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether P(fake) is what it says: its range in ``bins`` equal parts, of which those that hold scores are returned.

    Returns (mean score, share of fakes, count), (K,) each. One class is enough; raises Undefined without any unit.
    """
    view.need_units()
    part = np.clip((view.scores * bins).astype(int), 0, bins - 1)
    count = np.bincount(part, minlength=bins)
    kept = count > 0
    score, fakes = (np.bincount(part, x, bins)[kept] / count[kept] for x in (view.scores, view.labels))
    return score, fakes, count[kept]


def psnr(a, b) -> np.ndarray:
    """Peak signal-to-noise ratio in dB of each pair, 10 log10(1 / MSE) over pixels and channels.

    a, b: (N, H, W, 3) floats in [0, 1]. Returns (N,) float64, infinite where two images are equal.
    Raises ValueError on integer images, values outside [0, 1] or unequal shapes.
    """
    a, b = _images(a, b)
    error = np.mean((a - b) ** 2, axis=(1, 2, 3))
    with np.errstate(divide="ignore"):
        return -10.0 * np.log10(error)


def ssim(a, b) -> np.ndarray:
    """Structural similarity of each pair, averaged over pixels and channels (Wang et al. 2004).

    The paper's setting: Gaussian window of 11 pixels with sigma 1.5, K1 = 0.01, K2 = 0.03, data range 1.
    a, b: (N, H, W, 3) floats in [0, 1], at least 11 pixels a side. Returns (N,) float64, at most 1.
    Raises ValueError like ``psnr``, and on smaller images.
    """
    a, b = _images(a, b)
    if min(a.shape[1:3]) < _SSIM_WINDOW:
        raise ValueError(f"ssim needs images of at least {_SSIM_WINDOW} pixels a side, found {a.shape[1:3]}")
    options = {"channel_axis": -1, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    values = [structural_similarity(x, y, use_sample_covariance=False, **options) for x, y in zip(a, b, strict=True)]
    return np.asarray(values, np.float64)


def _right(view: View) -> np.ndarray:
    """(N,) whether each unit is on its side of the threshold."""
    return (view.scores >= view.threshold) == (view.labels == FAKE)


def _images(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 4 or a.shape[-1] != 3 or a.shape != b.shape:
        raise ValueError(f"images must both be (N, H, W, 3), found {a.shape} and {b.shape}")
    for x in (a, b):
        if not np.issubdtype(x.dtype, np.floating):
            raise ValueError(f"images must be floats in [0, 1], found {x.dtype}")
        if x.size and not (x.min() >= -_ROUNDING and x.max() <= 1 + _ROUNDING):
            raise ValueError(f"images must lie in [0, 1], found [{x.min():.4g}, {x.max():.4g}]")
    return a.astype(np.float64), b.astype(np.float64)
