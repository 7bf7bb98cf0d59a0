"""One piece of evidence about a file: what was found, what it speaks for, how strongly, and a sentence that says so."""

from dataclasses import dataclass
from numbers import Integral, Real
from typing import Any

import numpy as np

from fdetect_jax.inference.protocol import Protocol

SIDES = ("fake", "real", "neither")
DETECTOR, MASK = "detector", "mask"  # names of the main detector's evidence: its score, and what it marks as altered
TITLES = {DETECTOR: "Detector", MASK: "Altered area"}


@dataclass(frozen=True)
class Evidence:
    """What one analysis says of a file.

    name: of the analysis, its key in ``analyses.ANALYSES``; of the main detector a key of ``TITLES``.
    value: the figure or the word that was found, None where there is none. speaks_for: one of ``SIDES``.
    strength: how strongly, in [0, 1]; 0 says nothing. words: a sentence for a reader.
    picture: (H, W, 3) uint8 RGB or None. It is no part of ``to_row``; ``fdetect predict`` writes it beside the copy.
    """

    name: str
    value: float | str | None
    speaks_for: str
    strength: float
    words: str
    picture: np.ndarray | None = None

    def __post_init__(self) -> None:
        if self.speaks_for not in SIDES:
            raise ValueError(f"evidence.speaks_for: found {self.speaks_for!r}, wanted one of {SIDES}")
        if not 0 <= self.strength <= 1:
            raise ValueError(f"evidence.strength: found {self.strength!r}, wanted a number in [0, 1]")
        if not isinstance(self.value, Real | str | None):
            raise ValueError(f"evidence.value: found {self.value!r}, wanted a number, a string or None")
        if self.picture is not None and (self.picture.dtype != np.uint8 or self.picture.shape[2:] != (3,)):
            found = f"{self.picture.shape} {self.picture.dtype}"
            raise ValueError(f"evidence.picture: found {found}, wanted (H, W, 3) uint8")

    def to_row(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        value = self.value
        if isinstance(value, Real):
            value = int(value) if isinstance(value, Integral) else round(float(value), 6)
        return {
            "name": self.name,
            "value": value,
            "speaks_for": self.speaks_for,
            "strength": round(float(self.strength), 6),
            "words": self.words,
        }


def of_detector(score: float, word: str, protocol: Protocol, words: str) -> Evidence:
    """The main detector's evidence. Its strength is 0 at the threshold and 1 at P(fake) = 0 or 1, linear between.

    score: P(fake) of the file. word: the verdict; what is suspicious speaks for neither, and what is real is measured
    from where suspicion ends.
    """
    if word == "suspicious":
        return Evidence(DETECTOR, score, "neither", 0.0, words)
    edge = protocol.threshold if word == "fake" or protocol.suspicious is None else protocol.suspicious
    room = 1 - edge if word == "fake" else edge
    strength = abs(score - edge) / room if room else 0.0
    return Evidence(DETECTOR, score, word, min(strength, 1.0), words)
