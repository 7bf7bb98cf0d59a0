"""The most confident mistakes of a detector. In: scored files, one by one. Out: the worst of each class, as rows for
JSON with a picture of each.
"""

import bisect
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import CLASSES, LabelledFile, ScoredFile
from fdetect_jax.inference.protocol import Protocol, to_score
from fdetect_jax.types import FAKE, REAL

TITLES = {REAL: "Reals called fake", FAKE: "Fakes called real"}


@dataclass(frozen=True)
class Mistake:
    """A file on the wrong side of the threshold.

    score: its P(fake). frame, time, frame_score: of its most misleading frame, the second None in an image. picture:
    (S, S, 3) uint8, the face there.
    """

    file: LabelledFile
    score: float
    frame: int
    time: float | None
    frame_score: float
    picture: np.ndarray


class Mistakes:
    """Keeps the ``count`` most confident mistakes of each class, by the file's score.

    calibration, protocol: from which scores follow.
    """

    def __init__(self, calibration: Calibration, protocol: Protocol, count: int = 12):
        self._calibration, self._protocol, self._count = calibration, protocol, count
        self._kept: dict[int, list[tuple[float, str, Mistake]]] = {label: [] for label in CLASSES.values()}

    def add(self, one: ScoredFile) -> None:
        """Takes one file, which still has its ``crops``."""
        scores = self._calibration.scores(one.margins)
        margins = self._calibration.margins(one.margins)
        frames, frame_margins = self._protocol.frame_margins(one.frames, one.areas, margins, image=one.image)
        margin, label = self._protocol.file_margin(frame_margins), one.file.label
        score, frame_scores = to_score(margin), expit(frame_margins)
        if self._protocol.is_fake(margin) == (label == FAKE):
            return
        kept, key = self._kept[label], (score if label == FAKE else -score, one.file.name)
        place = bisect.bisect(kept, key, key=lambda item: item[:2])
        if place == self._count:
            return
        worst = int(np.argmin(frame_scores) if label == FAKE else np.argmax(frame_scores))
        # Of that frame's faces the one that its score is nearest to: the very face, unless the rule is their mean.
        distance = np.where(one.frames == frames[worst], np.abs(scores - frame_scores[worst]), np.inf)
        face = int(np.argmin(distance))
        time = None if one.image else float(one.times[face])
        shown = np.array(one.crops[face][0])
        mistake = Mistake(one.file, score, int(frames[worst]), time, float(frame_scores[worst]), shown)
        kept.insert(place, (*key, mistake))
        del kept[self._count :]

    def of(self, label: int) -> list[Mistake]:
        """Those of a class, the most confident first."""
        return [mistake for *_, mistake in self._kept[label]]

    def shown(self, label: int) -> list[tuple[dict, np.ndarray]]:
        """The row of ``to_dict`` and the picture of each of a class."""
        return [(_row(one), one.picture) for one in self.of(label)]

    def to_dict(self) -> dict[str, list[dict]]:
        """ "real" and "fake" -> what is known of each, fit for JSON."""
        return {name: [_row(one) for one in self.of(label)] for name, label in CLASSES.items()}


def _row(one: Mistake) -> dict:
    scores = {name: round(getattr(one, name), 6) for name in ("score", "frame_score")}
    time = None if one.time is None else round(one.time, 3)
    return {"name": one.file.name, "method": one.file.method, "frame": one.frame, "time": time, **scores}
