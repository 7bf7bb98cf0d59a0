"""How sure an AUC is: (labels, scores, groups) -> an interval, by resampling whole groups."""

import numpy as np

from fdetect_jax.errors import UserError

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
    """The percentile bootstrap interval of the AUC, stratified by class (Efron and Tibshirani 1993, 13.3).

    Groups are drawn with replacement, as many of each class as there are, and each brings all of its rows: frames of
    one video are no independent evidence. A sample knows nothing beyond itself: where classes part completely, the
    interval is [1, 1].

    Args:
      labels: (N,) 0 = real, 1 = fake. scores: (N,) finite.
      groups: (N,) integers, for example the video of each frame; None: every row is its own.
      confidence: in (0, 1). resamples: how many. seed: of the draws.

    Raises:
      ValueError: a class with fewer than two groups.
    """
    labels, scores = np.asarray(labels), np.asarray(scores, np.float64)
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    order = np.argsort(scores, kind="stable")
    labels, scores, groups = labels[order], scores[order], groups[order]
    ties = np.flatnonzero(np.r_[True, scores[1:] != scores[:-1]])  # where each run of equal scores begins
    members = {label: np.unique(groups[labels == label], return_inverse=True) for label in (0, 1)}
    for label, name in ((0, "real"), (1, "fake")):
        if len(members[label][0]) < 2:
            raise UserError(f"an interval needs two {name} groups at least, found {len(members[label][0])}")
    rng, found = np.random.default_rng(seed), []
    at_once = max(1, _CELLS // len(labels))
    for start in range(0, resamples, at_once):
        count = min(at_once, resamples - start)
        drawn = [_drawn(rng, count, labels == label, *members[label], ties) for label in (0, 1)]
        found.append(_auc(*drawn))
    low, high = np.quantile(np.concatenate(found), [(1 - confidence) / 2, (1 + confidence) / 2])
    return float(low), float(high)


def _drawn(rng, count: int, rows: np.ndarray, names: np.ndarray, member: np.ndarray, ties: np.ndarray) -> np.ndarray:
    """(count, ties) how many rows of one class each resample has in each run of equal scores."""
    times = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), count)
    weight = np.zeros((count, len(rows)))
    weight[:, rows] = times[:, member]
    return np.add.reduceat(weight, ties, axis=1)


def _auc(real: np.ndarray, fake: np.ndarray) -> np.ndarray:
    """(count,) AUCs: for each fake the reals below it, and half of those level with it."""
    below = np.cumsum(real, axis=1) - real / 2
    return np.sum(fake * below, axis=1) / (real.sum(axis=1) * fake.sum(axis=1))
