"""How sure an AUC is: (labels, scores, groups) -> an interval, by resampling whole groups."""

import numpy as np

from fdetect_jax.evaluation.view import Undefined
from fdetect_jax.types import FAKE, REAL

_CELLS = 1 << 22  # of the largest array: 32 MB


def auc_interval(
    labels: np.ndarray,
    scores: np.ndarray,
    groups: np.ndarray | None = None,
    *,
    confidence: float = 0.95,
    resamples: int = 2000,
    seed: int = 0,
) -> tuple[float, float]:
    """The percentile bootstrap interval of the AUC (Efron and Tibshirani 1993, 13.3).

    Groups are drawn with replacement, and each brings all of its rows: frames of one video, or a face and the fake made
    of it, are no independent evidence. Groups of reals alone, of fakes alone, and of both are three strata; of each, as
    many are drawn as there are. A sample knows nothing beyond itself: where classes part completely, the interval is
    [1, 1].

    Args:
      labels: (N,) 0 = real, 1 = fake. scores: (N,) finite, in any unit.
      groups: (N,) for example the video of each frame; None: every row is its own.
      confidence: in (0, 1). resamples: how many. seed: of the draws.

    Raises:
      Undefined: a class with fewer than two groups.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    order = np.argsort(scores, kind="stable")
    labels, scores, groups = labels[order], scores[order], groups[order]
    ties = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])  # where each run of equal scores begins
    for label, name in ((REAL, "real"), (FAKE, "fake")):
        if (found := len(np.unique(groups[labels == label]))) < 2:
            raise Undefined(f"an interval needs two {name} groups at least, found {found}")
    names, member = np.unique(groups, return_inverse=True)
    holds = np.stack([np.bincount(member[labels == label], minlength=len(names)) > 0 for label in (REAL, FAKE)])
    strata = [np.flatnonzero((holds[REAL] == real) & (holds[FAKE] == fake)) for real, fake in ((1, 0), (0, 1), (1, 1))]
    rng, found = np.random.default_rng(seed), []
    at_once = max(1, _CELLS // len(labels))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        times = np.zeros((count, len(names)))  # how often each group is drawn
        for stratum in filter(len, strata):
            times[:, stratum] = rng.multinomial(len(stratum), np.full(len(stratum), 1 / len(stratum)), count)
        weight = times[:, member]
        classes = [np.add.reduceat(np.where(labels == label, weight, 0.0), ties, axis=1) for label in (REAL, FAKE)]
        found.append(_auc(*classes))
    low, high = np.quantile(np.concatenate(found), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _auc(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """(count,) AUCs: for each fake the reals below it, and half of those level with it.

    real, fake: (count, ties), how many rows of the class each resample has in each run of equal scores.
    """
    below = np.cumsum(real, axis=1) - real / 2
    return np.sum(fake * below, axis=1) / (real.sum(axis=1) * fake.sum(axis=1))
