"""Classifiers of embeddings, fitted. In: rows, labels and groups. Out: their arrays, and margins by cross-validation.

Rows of one group (a video, a person) are never on both sides of a fold. Every class weighs one half, and every file of
a class as much as any other.
"""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.detectors.probe import votes
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

FOLDS = 5
STRENGTHS = tuple(10.0**power for power in range(-5, 2))  # C of scikit-learn: the smaller, the more regularisation
_INNER = 3  # folds that choose among them
_UNCHOSEN = 1e-3  # C where there are too few groups to choose
_NEWTON = 500  # columns
MOST = 4000  # rows of a bank
_CONSTANT = 1e-6  # a channel whose deviation is below this share of the largest says nothing


@dataclasses.dataclass(frozen=True)
class Rows:
    """What is fitted to.

    rows: (N, D) float. labels: (N,) 0 = real, 1 = fake. groups: (N,) int, equal for rows that must stay together.
    weights: (N,) positive.
    """

    rows: np.ndarray
    labels: np.ndarray
    groups: np.ndarray
    weights: np.ndarray

    def __getitem__(self, chosen: np.ndarray) -> "Rows":
        return Rows(*(getattr(self, field.name)[chosen] for field in dataclasses.fields(self)))


class Fitted(Protocol):
    """A fitted classifier. note: what was chosen, for whoever reads it."""

    note: str

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """(M, D) -> (M,) float64, positive for fake."""


_votes = jax.jit(votes, static_argnames="k")
Fit = Callable[[Rows], Fitted]


def balanced(labels: np.ndarray, files: np.ndarray) -> np.ndarray:
    """(N,) weights of mean 1: every class has half of them, and every file of a class the same share.

    labels: (N,). files: (N,), of each row the number of its file.
    """
    own = 1.0 / np.bincount(files)[files]
    for label in (REAL, FAKE):
        own[labels == label] /= 2 * own[labels == label].sum()
    return own * len(labels)


def folds(labels: np.ndarray, groups: np.ndarray, most: int = FOLDS, seed: int = 0) -> np.ndarray:
    """(N,) the fold of each row: groups are dealt out by a seed, so that every fold holds groups of both classes.

    There are ``most`` folds, or as many as the class with the fewest groups has groups.

    Raises:
      UserError: a class with fewer than two groups.
    """
    fewest = min(len(np.unique(groups[labels == label])) for label in (REAL, FAKE))
    if fewest < 2:
        raise UserError(f"folds: found {fewest} groups of a class, wanted at least 2 of each")
    names, member = np.unique(groups, return_inverse=True)
    holds = [np.bincount(member, labels == label, len(names)) > 0 for label in (REAL, FAKE)]
    order = np.random.default_rng(seed).permutation(len(names))
    # Those of both classes lie between the others: the groups of a class follow each other and go to different folds.
    place = np.where(holds[REAL] & holds[FAKE], 1, np.where(holds[REAL], 2, 0))
    order = order[np.argsort(place[order], kind="stable")]
    fold = np.empty(len(names), int)
    fold[order] = np.arange(len(names)) % min(most, fewest)
    return fold[member]


def cross_validated(fit: Fit, data: Rows, fold: np.ndarray) -> np.ndarray:
    """(N,) of each row the margin by a classifier that saw no row of its fold."""
    found = np.empty(len(data.labels))
    for number in np.unique(fold):
        held_out = fold == number
        found[held_out] = fit(data[~held_out]).margins(data.rows[held_out])
    return found


def standard(data: Rows) -> tuple[np.ndarray, np.ndarray]:
    """(D,) mean and deviation of the rows, unweighted; the deviation of a channel that never changes is 1."""
    rows = np.asarray(data.rows, np.float64)
    deviation = rows.std(axis=0)
    return rows.mean(axis=0), np.where(deviation > _CONSTANT * deviation.max(), deviation, 1.0)


@dataclasses.dataclass(frozen=True)
class Linear:
    """margin = (x - mean) / scale · kernel + bias. mean, scale, kernel: (D,)."""

    mean: np.ndarray
    scale: np.ndarray
    kernel: np.ndarray
    bias: float
    note: str

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """See ``Fitted``."""
        return (np.asarray(rows, np.float64) - self.mean) / self.scale @ self.kernel + self.bias


def logistic(data: Rows, strengths: Sequence[float] = STRENGTHS) -> Linear:
    """Logistic regression of standardised rows (scikit-learn's) with a squared norm.

    strengths: of its regularisation; that of the lowest cross-validated cross-entropy is taken.
    """
    from sklearn.linear_model import LogisticRegression  # slow to import

    # Newton's steps are few, and each takes the cube of the columns.
    solver = "newton-cholesky" if min(data.rows.shape) <= _NEWTON else "lbfgs"
    options = {"solver": solver, "max_iter": 10_000, "tol": 1e-6}
    return _linear(data, strengths, lambda c: LogisticRegression(C=c, **options), np.logaddexp)


def svm(data: Rows, strengths: Sequence[float] = STRENGTHS) -> Linear:
    """A linear support vector machine (scikit-learn's ``SVC``) likewise, by the lowest cross-validated hinge loss."""
    from sklearn.svm import SVC

    return _linear(data, strengths, lambda c: SVC(C=c, kernel="linear"), lambda zero, x: np.maximum(zero, 1 + x))


def _linear(
    data: Rows,
    strengths: Sequence[float],
    make: Callable[[float], Any],
    loss: Callable[[float, np.ndarray], np.ndarray],
) -> Linear:
    """loss: (0, -y margin) -> the loss of each row, y in {-1, 1}."""

    def fits(own: Rows, strengths: Sequence[float]) -> list[Linear]:
        mean, scale = standard(own)
        x, axes = _rotated((own.rows - mean) / scale)
        models = [make(strength).fit(x, own.labels, own.weights) for strength in strengths]
        return [
            Linear(mean, scale, axes @ model.coef_[0], float(model.intercept_[0]), f"C = {strength:g}")
            for model, strength in zip(models, strengths, strict=True)
        ]

    if len(strengths) > 1:
        strengths = [_chosen(data, strengths, fits, loss)]
    return fits(data, strengths)[0]


def _chosen(
    data: Rows,
    strengths: Sequence[float],
    fits: Callable[[Rows, Sequence[float]], list[Linear]],
    loss: Callable[[float, np.ndarray], np.ndarray],
) -> float:
    """The strength of the lowest cross-validated loss."""
    try:
        fold = folds(data.labels, data.groups, _INNER)
    except UserError:
        return _UNCHOSEN
    margins = np.empty((len(strengths), len(fold)))
    for number in np.unique(fold):
        held_out = fold == number
        margins[:, held_out] = [one.margins(data.rows[held_out]) for one in fits(data[~held_out], strengths)]
    signs = np.where(data.labels == FAKE, -1.0, 1.0)
    return strengths[int(np.argmin(loss(0.0, signs * margins) @ data.weights))]


def _rotated(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(N, D) -> (N, R) and (D, R), R = min(N, D): the same rows along the axes that they span.

    A squared norm does not see the rotation, so that a fit to fewer columns finds the same classifier.
    """
    if x.shape[1] <= x.shape[0]:
        return x, np.eye(x.shape[1])
    axes, rows = np.linalg.qr(x.T)
    return rows.T, axes


@dataclasses.dataclass(frozen=True)
class Bank:
    """Nearest neighbours, see ``detectors.probe.votes``. embedding: (M, D), standardised. label: (M,)."""

    mean: np.ndarray
    scale: np.ndarray
    embedding: np.ndarray
    label: np.ndarray
    width: float
    k: int
    note: str

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """See ``Fitted``."""
        x = np.asarray((rows - self.mean) / self.scale, np.float32)
        classes = np.eye(2, dtype=np.float32)[self.label]
        share = np.asarray(_votes(x, self.embedding, classes, jnp.float32(self.width), self.k), np.float64)
        return np.log(self.k * share[:, FAKE] + 1) - np.log(self.k * share[:, REAL] + 1)


def neighbours(data: Rows, k: int, most: int = MOST, seed: int = 0) -> Bank:
    """A bank of at most ``most`` rows, in half precision. Their width is the median distance to the k-th neighbour.

    Of more rows every class keeps the same share, drawn by the seed. The distance is to rows of other groups.

    Raises:
      UserError: fewer than k rows.
    """
    if k > len(data.labels):
        raise UserError(f"k: found {k} with {len(data.labels)} faces to choose from, wanted at most as many")
    if len(data.labels) > most:
        order = np.random.default_rng(seed).permutation(len(data.labels))
        order = order[np.argsort(data.labels[order], kind="stable")]
        data = data[np.sort(order[np.linspace(0, len(order) - 1, most).round().astype(int)])]
    mean, scale = standard(data)
    x = ((data.rows - mean) / scale).astype(np.float16).astype(np.float32)
    square = np.sum(x**2, axis=1)
    distance = np.sqrt(np.maximum(square[:, None] + square - 2 * x @ x.T, 0))
    distance[data.groups[:, None] == data.groups] = np.inf
    own = np.sort(distance, axis=1)[:, min(k, len(x)) - 1]
    own = own[np.isfinite(own) & (own > 0)]
    width = float(np.median(own)) if len(own) else 1.0
    return Bank(mean, scale, x, data.labels, width, k, f"k = {k}, a bank of {len(x)} faces")
