"""How far a picture is from those that a detector knows: in size, sharpness and embedding. In: faces. Out: caveats.

The embeddings of known faces lie near a plane of few dimensions. What an embedding has beside that plane, its residual,
grows for pictures unlike them. What is known is fitted by ``fdetect evaluate --calibrate`` and stands in the weights.
"""

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_text

COLLECTION = "familiar"  # of the variables in a weights file: mean (D,), basis (D, K), limit ()
KEY = "familiar"  # of its metadata: smallest, blurred
LEAST = 60  # faces to fit to
MOST = 1000  # faces that help
_DIMENSIONS = 64
_SHARE = 0.01  # of the known faces that lie outside of each limit
_SIDE = 192  # pixels, at which sharpness is measured
_LOOKED_AT = 8  # faces of a file


@dataclasses.dataclass(frozen=True)
class Limits:
    """smallest: side of a face in pixels, the root of its box's area; blurred: sharpness, see ``sharpness``. 99 of 100
    known faces are larger, and as many are sharper."""

    smallest: float = 0.0
    blurred: float = 0.0

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, str]) -> "Limits":
        """Those that a weights file carries; zeros, which nothing is below, where it carries none. Raises UserError."""
        return from_text(cls, metadata[KEY], KEY) if KEY in metadata else cls()

    @classmethod
    def fit(cls, sample: "Sample") -> "Limits":
        """Those of known faces."""
        sharp = [sharpness(crop) for crop in sample.crops]
        return cls(*(round(float(np.quantile(values, _SHARE)), 1) for values in (sample.sides, sharp)))

    def to_metadata(self) -> dict[str, str]:
        """A note for ``weights.annotate``."""
        return {KEY: json.dumps(dataclasses.asdict(self), sort_keys=True)}


def caveats(limits: Limits, sides: np.ndarray, crops: Sequence[np.ndarray], strangeness: np.ndarray) -> Iterator[str]:
    """Why the scores of a file may mean little. sides, strangeness: (K,) of its faces, K > 0; crops: (S, S, 3) each."""
    if (largest := float(np.max(sides))) < limits.smallest:
        wanted = f"below {limits.smallest:.0f}"
        yield f"the largest face is only {largest:.0f} pixels large, where scores mean little ({wanted})"
    sharpest = max(sharpness(crop) for crop in crops[:: -(-len(crops) // _LOOKED_AT)])
    if sharpest < limits.blurred:
        yield f"the faces are blurred, where scores mean little (sharpness {sharpest:.1f}, below {limits.blurred:.0f})"
    if (far := float(np.median(strangeness))) > 1:
        words = f"{far:.1f} times as far from them as 99 of 100 of these"
        yield f"the faces are unlike those that the detector knows, where scores mean little ({words})"


def sharpness(crop: np.ndarray) -> float:
    """The variance of the Laplacian of a crop (S, S, 3) uint8 at 192 px."""
    grey = cv2.cvtColor(cv2.resize(crop, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA), cv2.COLOR_RGB2GRAY)
    return float(cv2.Laplacian(grey, cv2.CV_32F).var())


class Sample:
    """At most ``MOST`` crops of a stream, each of it as likely, and the sides of all; by a seed."""

    def __init__(self, seed: int = 0):
        self.crops: list[np.ndarray] = []
        self.sides: list[float] = []
        self._rng = np.random.default_rng(seed)

    def add(self, crop: np.ndarray, side: float) -> None:
        """crop: (S, S, 3) uint8. side: of its face in the file, pixels."""
        self.sides.append(side)
        if len(self.crops) < MOST:
            self.crops.append(crop)
        elif (place := int(self._rng.integers(len(self.sides)))) < MOST:
            self.crops[place] = crop


def fit_plane(embeddings: np.ndarray, seed: int = 0) -> dict[str, np.ndarray]:
    """(N, D) of known faces -> the collection ``COLLECTION``: the plane of two thirds, the limit of the others.

    Raises UserError for fewer than ``LEAST``.
    """
    if len(embeddings) < LEAST:
        raise UserError(f"familiar: found {len(embeddings)} faces, wanted at least {LEAST}")
    order = np.random.default_rng(seed).permutation(len(embeddings))
    own, others = np.split(np.asarray(embeddings, np.float64)[order], [2 * len(order) // 3])
    mean = own.mean(0)
    _, _, directions = np.linalg.svd(own - mean, full_matrices=False)
    basis = directions[: min(_DIMENSIONS, len(own) // 4, embeddings.shape[1] // 2)].T
    rest = (others - mean) - (others - mean) @ basis @ basis.T
    limit = np.quantile(np.linalg.norm(rest, axis=1), 1 - _SHARE)
    found = {"mean": mean, "basis": basis, "limit": limit}
    return {name: np.asarray(value, np.float32) for name, value in found.items()}
