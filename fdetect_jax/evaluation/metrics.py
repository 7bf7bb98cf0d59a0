"""Figures of merit on the host: (labels, scores) -> classification metrics, image pairs -> PSNR and SSIM.

Labels are 0 = real, 1 = fake; a score is P(fake) in [0, 1].
"""

import math
from dataclasses import dataclass

import numpy as np
from skimage.metrics import structural_similarity
from sklearn.metrics import average_precision_score, roc_auc_score, roc_curve

from fdetect_jax.errors import UserError

_SSIM_WINDOW = 11
_ROUNDING = 1e-5  # a float32 softmax may leave [0, 1] by this much


@dataclass(frozen=True)
class Test:
    """One labelled set that a detector has scored.

    name: key in report.json. title: what a reader sees. labels: (N,) in {0, 1}. scores: (N,) P(fake).
    """

    __test__ = False  # the name would make pytest collect it

    name: str
    title: str
    labels: np.ndarray
    scores: np.ndarray


def classification(labels, scores, threshold: float = 0.5) -> dict[str, float | int]:
    """How well scores tell fakes from reals.

    Args:
      labels: (N,) 0 = real, 1 = fake; both must occur.
      scores: (N,) P(fake) in [0, 1].
      threshold: a face counts as fake from this score on; only ``accuracy`` depends on it.

    Returns:
      accuracy: share of faces on their side of the threshold.
      auc: probability that a fake outscores a real, ties counting half (Hanley and McNeil 1982).
      eer: the rate at which false alarms equal misses, see ``equal_error_rate``.
      ap: average precision with fakes as positives, sum of (R_k - R_{k-1}) P_k without interpolation.
      n_real, n_fake: counts.

    Raises:
      ValueError: on unequal lengths, other labels, one class only, or a score that is NaN or outside [0, 1].
    """
    labels, scores = _checked(labels, scores)
    fpr, tpr = roc(labels, scores)
    return {
        "accuracy": float(np.mean((scores >= threshold) == (labels == 1))),
        "auc": float(roc_auc_score(labels, scores)),
        "eer": equal_error_rate(fpr, tpr),
        "ap": float(average_precision_score(labels, scores)),
        "n_real": int(np.sum(labels == 0)),
        "n_fake": int(np.sum(labels == 1)),
    }


def roc(labels, scores) -> tuple[np.ndarray, np.ndarray]:
    """Corners of the ROC curve, (K,) false and true positive rates, from (0, 0) to (1, 1) (Fawcett 2006).

    Equal scores move together, so ties give a slanted segment. Raises like ``classification``.
    """
    fpr, tpr, _ = roc_curve(*_checked(labels, scores))
    return fpr, tpr


def equal_error_rate(fpr: np.ndarray, tpr: np.ndarray) -> float:
    """Where the ROC curve meets the line tpr = 1 - fpr, with straight lines between corners.

    fpr, tpr: (K,) as ``roc`` returns them. The crossing is unique: fpr - (1 - tpr) climbs from -1 to 1.
    """
    excess = fpr - (1.0 - tpr)
    return float(np.interp(0.0, excess, fpr))


def tpr_at(labels, scores, fpr: float) -> float:
    """Share of fakes that are caught where ``fpr`` of the reals are called fake, straight between the ROC's corners.

    Where the curve rises at that very rate it is the upper end. Raises like ``classification``, and ValueError where
    there are fewer than 1 / fpr reals: one false alarm alone would exceed the rate.
    """
    labels, scores = _checked(labels, scores)
    reals, needed = int(np.sum(labels == 0)), math.ceil(1 / fpr - 1e-9)
    if reals < needed:
        raise UserError(f"a rate of {fpr:g} needs {needed} reals, found {reals}")
    return float(np.interp(fpr, *roc(labels, scores)))


def brier(labels, scores) -> float:
    """Mean of (score - label)² (Brier 1950). One class is enough; else raises like ``classification``."""
    labels, scores = _checked(labels, scores, both=False)
    return float(np.mean((scores - labels) ** 2))


def reliability(labels, scores, bins: int = 15) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Whether P(fake) is what it says: its range in ``bins`` equal parts, of which those that hold scores are returned.

    Returns (mean score, share of fakes, count), (K,) each. One class is enough; else raises like ``classification``.
    """
    labels, scores = _checked(labels, scores, both=False)
    part = np.clip((scores * bins).astype(int), 0, bins - 1)
    count = np.bincount(part, minlength=bins)
    kept = count > 0
    score, fakes = (np.bincount(part, x, bins)[kept] / count[kept] for x in (scores, labels))
    return score, fakes, count[kept]


def calibration_error(labels, scores, bins: int = 15) -> float:
    """Expected calibration error: the mean over ``reliability``'s bins of |mean score - share of fakes|, by count.

    The binary form, on P(fake) (Naeini et al. 2015), not that on the confidence of the class called (Guo et al. 2017).
    """
    score, fakes, count = reliability(labels, scores, bins)
    return float(np.sum(np.abs(score - fakes) * count) / np.sum(count))


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
        raise UserError(f"ssim needs images of at least {_SSIM_WINDOW} pixels a side, found {a.shape[1:3]}")
    options = {"channel_axis": -1, "data_range": 1.0, "gaussian_weights": True, "sigma": 1.5}
    values = [structural_similarity(x, y, use_sample_covariance=False, **options) for x, y in zip(a, b, strict=True)]
    return np.asarray(values, np.float64)


def _checked(labels, scores, both: bool = True) -> tuple[np.ndarray, np.ndarray]:
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    if labels.ndim != 1 or labels.shape != scores.shape:
        raise UserError(f"labels and scores must both be (N,), found {labels.shape} and {scores.shape}")
    if not np.isin(labels, (0, 1)).all():
        raise UserError(f"labels must be 0 (real) or 1 (fake), found {np.unique(labels)[:8].tolist()}")
    if bad := int(np.sum(~np.isfinite(scores))):
        raise UserError(f"scores must be finite, found {bad} of {len(scores)} that are NaN or infinite")
    n_fake = int(np.sum(labels == 1))
    if not len(labels) or (both and n_fake in (0, len(labels))):
        raise UserError(f"both classes are needed, found {len(labels) - n_fake} real and {n_fake} fake")
    if scores.min() < -_ROUNDING or scores.max() > 1 + _ROUNDING:
        raise UserError(f"scores must be P(fake) in [0, 1], found [{scores.min():.4g}, {scores.max():.4g}]")
    return labels.astype(np.int64), scores


def _images(a, b) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a), np.asarray(b)
    if a.ndim != 4 or a.shape[-1] != 3 or a.shape != b.shape:
        raise UserError(f"images must both be (N, H, W, 3), found {a.shape} and {b.shape}")
    for x in (a, b):
        if not np.issubdtype(x.dtype, np.floating):
            raise UserError(f"images must be floats in [0, 1], found {x.dtype}")
        if x.size and not (x.min() >= -_ROUNDING and x.max() <= 1 + _ROUNDING):
            raise UserError(f"images must lie in [0, 1], found [{x.min():.4g}, {x.max():.4g}]")
    return a.astype(np.float64), b.astype(np.float64)
