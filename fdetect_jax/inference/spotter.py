"""FakeSpotter, fitted. In: what each layer of a network says of faces. Out: thresholds, a classifier, margins.

Thresholds come from one pass over the faces, in which only the mean of each layer is kept of a face; the counts above
them from a second one. A fold's thresholds are of the faces that its classifier sees, so that cross-validation is of
both.
"""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.detectors.fakespotter import HIDDEN, Classifier
from fdetect_jax.inference.probes import Fit, Rows, standard
from fdetect_jax.types import FAKE, margin

STEPS = 5000
_RATE, _DECAY, _MOMENTUM, _BATCH = 1e-4, 1e-6, 0.9, 32


class Coverage:
    """The thresholds of a stream of faces: sums of each layer's mean, over all faces and over those outside each fold.

    fold: (N,) the fold of each face, in the order they come in.
    """

    def __init__(self, fold: np.ndarray):
        self._fold, self._count = fold, 0
        self._sums: Any = 0.0

    def add(self, means: np.ndarray) -> None:
        """means: (M, L) of the next faces, see ``fakespotter.layer_means``."""
        fold = self._fold[self._count : self._count + len(means)]
        self._count += len(means)
        outside = np.arange(self._fold.max() + 1)[:, None] != fold
        rows = np.vstack([outside, np.ones(len(means), bool)])
        self._sums = self._sums + rows.astype(np.float64) @ means

    @property
    def thresholds(self) -> np.ndarray:
        """(folds + 1, L): of the faces outside each fold, and of all."""
        outside = len(self._fold) - np.bincount(self._fold, minlength=self._fold.max() + 1)
        return self._sums / np.append(outside, len(self._fold))[:, None]


@dataclasses.dataclass(frozen=True)
class Network:
    """Five dense layers on standardised counts. variables: of ``Classifier``."""

    mean: np.ndarray
    scale: np.ndarray
    variables: Any
    note: str

    def margins(self, rows: np.ndarray) -> np.ndarray:
        """(M, L) -> (M,) float64, positive for fake."""
        x = jnp.asarray((rows - self.mean) / self.scale, jnp.float32)
        return np.asarray(_margins(self.variables, x), np.float64)


_CLASSIFIER = Classifier(HIDDEN, 2)
_first = jax.jit(_CLASSIFIER.init)


@jax.jit
def _margins(variables: Any, x: jax.Array) -> jax.Array:
    return margin(_CLASSIFIER.apply(variables, x))


def network(data: Rows, steps: int = STEPS, seed: int = 0) -> Network:
    """The published classifier, by its optimiser: momentum 0.9, a rate of 1e-4 / (1 + 1e-6 step).

    The number of steps is not stated there, nor the batch; every step draws 32 rows by their weights.
    """
    mean, scale = standard(data)
    x = jnp.asarray((data.rows - mean) / scale, jnp.float32)
    variables = _first(jax.random.key(seed), jnp.zeros((1, x.shape[1])))
    chance = jnp.log(jnp.asarray(data.weights, jnp.float32))
    label = jnp.asarray(data.labels == FAKE, jnp.float32)
    found = _trained(variables, x, label, chance, jax.random.key(seed + 1), steps)
    return Network(mean, scale, jax.tree.map(np.asarray, found), f"{steps} steps")


@partial(jax.jit, static_argnames="steps")
def _trained(variables: Any, x: jax.Array, label: jax.Array, chance: jax.Array, key: jax.Array, steps: int) -> Any:
    def loss(variables: Any, rows: jax.Array) -> jax.Array:
        found = _margins(variables, x[rows])
        return jnp.mean(jax.nn.softplus(found) - label[rows] * found)

    def one(state: tuple[Any, Any], step: jax.Array) -> tuple[tuple[Any, Any], None]:
        variables, speed = state
        rows = jax.random.categorical(jax.random.fold_in(key, step), chance, shape=(_BATCH,))
        rate = _RATE / (1 + _DECAY * step)
        speed = jax.tree.map(lambda v, g: _MOMENTUM * v - rate * g, speed, jax.grad(loss)(variables, rows))
        return (jax.tree.map(jnp.add, variables, speed), speed), None

    (variables, _), _ = jax.lax.scan(one, (variables, jax.tree.map(jnp.zeros_like, variables)), jnp.arange(steps))
    return variables


def fitted(fit: Fit, counts: np.ndarray, data: Rows, fold: np.ndarray) -> tuple[Any, np.ndarray]:
    """(the classifier of all faces, (N,) margins by classifiers that saw no face of the same fold).

    counts: (N, folds + 1, L) under ``Coverage.thresholds``. data: its rows are ignored.
    """
    margins = np.empty(len(fold))
    for number in np.unique(fold):
        own, held_out = dataclasses.replace(data, rows=counts[:, number]), fold == number
        margins[held_out] = fit(own[~held_out]).margins(own.rows[held_out])
    return fit(dataclasses.replace(data, rows=counts[:, -1])), margins
