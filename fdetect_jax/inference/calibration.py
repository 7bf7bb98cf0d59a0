"""From a detector's margins to P(fake) and a verdict: Platt scaling and a threshold, fitted on held-out faces.

A margin is logit(fake) - logit(real); without a calibration P(fake) is its logistic function, the softmax.
"""

import dataclasses
import json
import math
import os

import numpy as np
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

KEY = "calibration"  # of the metadata of a safetensors file
_ROUNDING = 2.0**-24  # a float32 softmax cannot tell 1 from less than this below it


@dataclasses.dataclass(frozen=True)
class Calibration:
    """P(fake) = 1 / (1 + exp(-(margin / temperature + bias))), and the score from which a file counts as fake.

    temperature: > 0, so that no order changes. threshold: in [0, 1]. data: what it was fitted on, "" where nothing was
    fitted. n_real, n_fake: how many margins of each class that was.
    """

    temperature: float = 1.0
    bias: float = 0.0
    threshold: float = 0.5
    data: str = ""
    n_real: int = 0
    n_fake: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", 0, math.inf), ("bias", -math.inf, math.inf), ("threshold", 0, 1)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
                raise UserError(f"calibration.{name}: found {value!r}, wanted a finite number in [{low}, {high}]")
        if not self.temperature:
            raise UserError("calibration.temperature: found 0, wanted a number above it")

    def scores(self, margins: np.ndarray) -> np.ndarray:
        """(N,) margins -> (N,) float64 P(fake)."""
        return expit(np.asarray(margins, np.float64) / self.temperature + self.bias)

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "Calibration":
        """The one that a weights file carries; the identity with threshold 0.5 where it carries none.

        Raises:
          ValueError: it carries something else under that name.
        """
        if KEY not in metadata:
            return cls()
        try:
            return cls(**json.loads(metadata[KEY]))
        except (TypeError, json.JSONDecodeError):  # of other fields, no object, or no JSON
            wanted = [field.name for field in dataclasses.fields(cls)]
            raise UserError(f"{KEY}: found {metadata[KEY]}, wanted the fields {wanted}") from None


def fit(margins: np.ndarray, labels: np.ndarray, data: str) -> Calibration:
    """Platt scaling by maximum likelihood, at even odds, and the threshold that suits it.

    Each class weighs one half, whatever its share: how many of the files that a detector will be asked about are fake
    is not known here. Targets are Platt's (n + 1) / (n + 2), so that classes which part do not ask for certainty
    (Platt 1999, "Probabilistic outputs for support vector machines", 2.1). The threshold is ``best_threshold``'s.

    Args:
      margins: (N,) of faces that the detector was not trained on. labels: (N,) 0 = real, 1 = fake; both must occur.
      data: what they are, for whoever reads the file.

    Raises:
      ValueError: shapes or labels are wrong, one class only, margins that are not finite, or a detector that ranks
        reals above fakes on average, for which no temperature above 0 is best.
    """
    margins, labels = np.asarray(margins, np.float64), np.asarray(labels)
    if margins.ndim != 1 or margins.shape != labels.shape:
        raise UserError(f"calibration: margins and labels must both be (N,), found {margins.shape}, {labels.shape}")
    if not np.isfinite(margins).all():
        raise UserError("calibration: found margins that are not finite")
    counts = [int(np.sum(labels == label)) for label in (REAL, FAKE)]
    if sum(counts) != len(labels) or not all(counts):
        raise UserError(f"calibration: found {counts[0]} real and {counts[1]} fake of {len(labels)}, wanted both")
    scale = max(float(np.abs(margins).max()), 1e-12)
    # Platt's target t of a row, as two rows: one fake of weight t, one real of weight 1 - t.
    n = np.take(counts, labels)
    wrong = 1 / (n + 2) / n
    right = (n + 1) / (n + 2) / n
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    model.fit(
        np.concatenate([margins, margins])[:, None] / scale,
        np.concatenate([labels, 1 - labels]),
        np.concatenate([right, wrong]) * len(labels),
    )
    slope = float(model.coef_[0, 0]) / scale
    if slope <= 0:
        raise UserError(f"calibration: found a slope of {slope:.3g}, wanted a detector that ranks fakes above reals")
    found = Calibration(1 / slope, float(model.intercept_[0]), 0.5, data, *counts)
    return dataclasses.replace(found, threshold=best_threshold(found.scores(margins), labels))


def best_threshold(scores: np.ndarray, labels: np.ndarray) -> float:
    """The threshold of the highest balanced accuracy, halfway between two neighbouring scores.

    Of several equally good ones it is the one in the widest gap. scores: (N,) in [0, 1]; labels: (N,), both classes.
    """
    values = np.unique(np.asarray(scores, np.float64))
    edges = np.concatenate([[0.0], values, [1.0]])
    cuts = (edges[:-1] + edges[1:]) / 2
    gaps = np.diff(edges)
    cuts[0], gaps[0] = 0.0, 0.0  # everything is fake
    real, fake = (np.sort(scores[labels == label]) for label in (REAL, FAKE))
    kept = np.searchsorted(real, cuts) / len(real)
    caught = 1 - np.searchsorted(fake, cuts) / len(fake)
    balanced = kept + caught
    best = np.isclose(balanced, balanced.max(), rtol=0, atol=1e-12)
    return float(cuts[best][np.argmax(gaps[best])])


def margins_of(scores: np.ndarray) -> np.ndarray:
    """(N,) uncalibrated float32 P(fake) -> (N,) margins, at most 16.6 in magnitude: beyond that a softmax is 1."""
    return logit(np.clip(np.asarray(scores, np.float64), _ROUNDING, 1 - _ROUNDING))


def notes_of(scores: np.ndarray, labels: np.ndarray, data: str) -> dict[str, str]:
    """The calibration as a note for ``weights.save``; none where ``fit`` finds none, as for a detector that has not
    learned. scores: (N,) uncalibrated P(fake) of held-out faces. labels, data: as for ``fit``."""
    try:
        return {KEY: fit(margins_of(scores), labels, data).to_json()}
    except ValueError:
        return {}


def write_calibrated(path: str | os.PathLike, output: str | os.PathLike, calibration: Calibration) -> None:
    """Copies a weights file, bit for bit but for its metadata, where the calibration is put.

    Raises:
      WeightsError: ``path`` is no weights file. OSError: ``output`` cannot be written.
    """
    weights.annotate(path, output, **{KEY: calibration.to_json()})
