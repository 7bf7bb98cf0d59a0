"""From a detector's margins to P(fake) and a verdict: Platt scaling and thresholds, fitted on held-out files.

A margin is log P(fake) / P(real) as the detector gives it; without a calibration P(fake) is its logistic function.
Temperature and bias apply to the margins of faces and are fitted such that the scores of files, which a protocol makes
of them, are right; the threshold is fitted to these scores.
"""

import dataclasses
import json
import math
import typing
from collections.abc import Callable, Iterator, Sequence

import numpy as np
from scipy.special import expit, log_expit, logit

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_text
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import FAKE, REAL

_ENOUGH = 20  # real files of a source that counts by itself
KEY = "calibration"  # of the metadata of a safetensors file


@dataclasses.dataclass(frozen=True)
class Calibration:
    """P(fake) = 1 / (1 + exp(-(margin / temperature + bias))), and the score from which a file counts as fake.

    temperature: > 0, so that no order changes. threshold: in [0, 1]. data: what it was fitted on, "" where nothing was
    fitted. n_real, n_fake: how many margins of each class that was. suspicious: the score from which a file
    counts as suspicious, at most the threshold; None: no file does.
    """

    temperature: float = 1.0
    bias: float = 0.0
    threshold: float = 0.5
    data: str = ""
    n_real: int = 0
    n_fake: int = 0
    suspicious: float | None = None

    def __post_init__(self) -> None:
        for name, low, high in (("temperature", 0, math.inf), ("bias", -math.inf, math.inf), ("threshold", 0, 1)):
            value = getattr(self, name)
            if not (isinstance(value, int | float) and math.isfinite(value) and low <= value <= high):
                raise UserError(f"calibration.{name}: found {value!r}, wanted a finite number in [{low}, {high}]")
        if self.suspicious is not None and not 0 <= self.suspicious <= self.threshold:
            raise UserError(f"calibration.suspicious: found {self.suspicious!r}, wanted one in [0, {self.threshold}]")
        if not self.temperature:
            raise UserError("calibration.temperature: found 0, wanted a number above it")

    def margins(self, margins: np.ndarray) -> np.ndarray:
        """(N,) margins -> (N,) float64 calibrated margins; compare and aggregate these, not scores."""
        return np.asarray(margins, np.float64) / self.temperature + self.bias

    def scores(self, margins: np.ndarray) -> np.ndarray:
        """(N,) margins -> (N,) float64 P(fake), 1 from a calibrated margin of 37 on."""
        return expit(self.margins(margins))

    def to_json(self) -> str:
        """The text that ``from_metadata`` reads."""
        fields = dataclasses.asdict(self)
        if self.suspicious is None:
            del fields["suspicious"]
        return json.dumps(fields, sort_keys=True)

    def to_metadata(self) -> dict[str, str]:
        """A note for ``weights.save``."""
        return {KEY: self.to_json()}

    @classmethod
    def from_metadata(cls, metadata: dict[str, str]) -> "Calibration":
        """The one that a weights file carries; the identity with threshold 0.5 where it carries none.

        Raises:
          UserError: it carries something else under that name.
        """
        return from_text(cls, metadata[KEY], KEY) if KEY in metadata else cls()


class ScoredFaces(typing.Protocol):
    """The scored faces of one file: anything with these attributes. frames, areas, margins: (K,), K > 0, of each face
    its frame, its box's area and its margin, not calibrated. image: the file is an image, not a video."""

    frames: np.ndarray
    areas: np.ndarray
    margins: np.ndarray
    image: bool


@dataclasses.dataclass(frozen=True)
class FileFaces:
    """The simplest ``ScoredFaces``."""

    frames: np.ndarray
    areas: np.ndarray
    margins: np.ndarray
    image: bool = False


def grouped(margins: np.ndarray, labels: np.ndarray, groups: np.ndarray) -> tuple[list[FileFaces], np.ndarray]:
    """Held-out faces as files, for ``calibrate``: those of one group and one label are a file, each face a frame of it.

    Args:
      margins: (N,). labels: (N,). groups: (N,) of each face, its video or its person.

    Returns:
      The files, and (F,) the label of each.
    """
    margins, labels, groups = np.asarray(margins), np.asarray(labels), np.asarray(groups)

    def files() -> Iterator[tuple[FileFaces, int]]:
        for group in np.unique(groups):
            for label in np.unique(labels[groups == group]):
                own = margins[(groups == group) & (labels == label)]
                yield FileFaces(np.arange(len(own)), np.ones(len(own)), own), label

    found = list(files())
    return [file for file, _ in found], np.array([label for _, label in found])


def calibrate(
    files: Sequence[ScoredFaces],
    labels: Sequence[int],
    protocol: Protocol,
    data: str,
    sources: Sequence[str] = (),
    false_alarms: tuple[float, float] | None = None,
) -> Calibration:
    """Temperature, bias and threshold from the scores of files under the protocol.

    Args:
      files: that the detector was not trained on, each with a face. labels: (F,) 0 = real, 1 = fake; both must occur.
      protocol: as the detector will be used; its threshold is ignored. data: what the files are, for whoever reads it.
      sources: (F,) of each file, the camera or collection. false_alarms: shares of the worst source's real files that
        count as suspicious and as fake, see ``worst_source``. The bias then moves until the threshold of fakes lies at
        P(fake) = 0.5 (for videos, whose frames are averaged, near it), as if fakes were rare: a score above 0.5 that
        means "real" would mislead. None: one threshold, of the highest balanced accuracy, and no such move.

    Raises:
      UserError: as ``fit`` and ``worst_source`` do.
    """

    def of_frames(one: ScoredFaces, margins: np.ndarray) -> np.ndarray:
        return protocol.frame_margins(one.frames, one.areas, margins, image=one.image)[1]

    frames = [of_frames(one, one.margins) for one in files]
    if not frames:
        raise UserError("calibration: found no file with a face, wanted real and fake ones")
    found = fit(np.concatenate(frames), np.repeat(labels, [len(own) for own in frames]), data)
    labels = np.asarray(labels)

    def margins(found: Calibration) -> np.ndarray:
        return np.array([protocol.file_margin(of_frames(one, found.margins(one.margins))) for one in files])

    def scores(found: Calibration) -> np.ndarray:
        return expit(margins(found))

    if max(map(len, frames)) > 1:
        found = _for_files(found, margins, labels)
    if false_alarms is None:
        return dataclasses.replace(found, threshold=best_threshold(scores(found), labels))
    real = labels == REAL
    sources = np.asarray(sources)[real]
    rare = worst_source(scores(found)[real], sources, false_alarms[1])
    found = dataclasses.replace(found, bias=found.bias - float(logit(np.clip(rare, 1e-6, 1 - 1e-6))))
    moved = scores(found)[real]
    suspicious, threshold = (worst_source(moved, sources, share) for share in false_alarms)
    return dataclasses.replace(found, threshold=threshold, suspicious=suspicious)


def _for_files(start: Calibration, margins: Callable[[Calibration], np.ndarray], labels: np.ndarray) -> Calibration:
    """Temperature and bias of the highest likelihood of files, see ``fit``, from those of frames on.

    margins: the calibrated margins (F,) of the files under a calibration.
    """
    from scipy.optimize import minimize  # a tenth of a second, and those who only apply one do without

    right, wrong = _weights(labels)

    def changed(values: np.ndarray) -> Calibration:
        return dataclasses.replace(
            start, temperature=float(start.temperature * np.exp(values[0])), bias=float(values[1])
        )

    def loss(values: np.ndarray) -> float:
        toward = np.where(labels == FAKE, 1.0, -1.0) * margins(changed(values))
        return -float(np.sum(right * log_expit(toward) + wrong * log_expit(-toward)))

    found = minimize(loss, [0.0, start.bias], method="Nelder-Mead", options={"xatol": 1e-3, "fatol": 1e-6})
    return changed(found.x)


def _weights(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each row: the weight of its own class and of the other, as Platt's targets have them; each class weighs 1."""
    n = np.bincount(labels, minlength=2)[labels]
    return (n + 1) / (n + 2) / n, 1 / (n + 2) / n


def worst_source(scores: np.ndarray, sources: np.ndarray, share: float) -> float:
    """The least score that at most ``share`` of the real files reach, of every source that has enough of them.

    A source counts if it has 20 files; those that have fewer count together. The score lies halfway to the next one
    below; where no file may reach it, right above the highest.

    Args:
      scores: (N,) of real files. sources: (N,) their sources. share: in [0, 1).

    Raises:
      UserError: another share, or no file.
    """
    if not 0 <= share < 1:
        raise UserError(f"false_alarms: found {share!r}, wanted a share in [0, 1)")
    if not len(scores):
        raise UserError("false_alarms: found no real file, wanted some")
    names, counts = np.unique(sources, return_counts=True)
    few = np.isin(sources, names[counts < _ENOUGH])
    groups = [sources == name for name in names[counts >= _ENOUGH]] + ([few] if few.any() else [])

    def least(own: np.ndarray) -> float:
        own = np.sort(own)[::-1]
        allowed = int(share * len(own))
        return (own[allowed - 1] + own[allowed]) / 2 if allowed else np.nextafter(own[0], 2.0)

    return float(max(least(scores[group]) for group in groups))


def fit(margins: np.ndarray, labels: np.ndarray, data: str) -> Calibration:
    """Platt scaling by maximum likelihood, at even odds. The threshold stays 0.5: ``calibrate`` fits it to files.

    Each class weighs one half, whatever its share: how many of the files that a detector will be asked about are fake
    is not known here. Targets are Platt's (n + 1) / (n + 2), so that separable classes do not ask for certainty
    (Platt 1999, "Probabilistic outputs for support vector machines", 2.1).

    Args:
      margins: (N,) of faces or frames that the detector was not trained on. labels: (N,) 0 = real, 1 = fake; both must
        occur. data: what they are, for whoever reads the file.

    Raises:
      UserError: one class only, margins that are not finite, or a detector that ranks reals above fakes on average, for
        which no temperature above 0 is best.
      ValueError: the shapes differ.
    """
    margins, labels = np.asarray(margins, np.float64), np.asarray(labels)
    if margins.ndim != 1 or margins.shape != labels.shape:
        raise ValueError(f"calibration: margins and labels must both be (N,), found {margins.shape}, {labels.shape}")
    if not np.isfinite(margins).all():
        raise UserError("calibration: found margins that are not finite")
    counts = [int(np.sum(labels == label)) for label in (REAL, FAKE)]
    if sum(counts) != len(labels) or not all(counts):
        raise UserError(f"calibration: found {counts[0]} real and {counts[1]} fake of {len(labels)}, wanted both")
    from sklearn.linear_model import LogisticRegression  # slow to import, and those who only apply one do without

    scale = max(float(np.abs(margins).max()), 1e-12)
    # Platt's target t of a row, as two rows: one fake of weight t, one real of weight 1 - t.
    right, wrong = _weights(labels)
    model = LogisticRegression(C=np.inf, solver="newton-cholesky", tol=1e-10)
    model.fit(
        np.concatenate([margins, margins])[:, None] / scale,
        np.concatenate([labels, 1 - labels]),
        np.concatenate([right, wrong]) * len(labels),
    )
    slope = float(model.coef_[0, 0]) / scale
    if slope <= 0:
        raise UserError(f"calibration: found a slope of {slope:.3g}, wanted a detector that ranks fakes above reals")
    return Calibration(1 / slope, float(model.intercept_[0]), data=data, n_real=counts[REAL], n_fake=counts[FAKE])


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
