"""How the margins of faces become a score of their file: a protocol, shared by evaluation and prediction.

In: for each face its frame, its box's area and its calibrated margin, log P(fake) / P(real). Out: one margin a frame, a
track, and the file. Rules that average do so over P(fake), as SBI's protocol does, and not over margins: one frame with
an extreme margin cannot outvote all others. The mean is taken in the log domain, so that scores next to 0 or 1, which
float64 could not tell apart, keep their order.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import expit, log_expit, logit, logsumexp

from fdetect_jax.errors import UserError
from fdetect_jax.media.video import Sampling


def mean_margin(margins: np.ndarray) -> float:
    """The margin of the mean of P(fake) over (N,) margins; exact for margins of any size."""
    margins = np.asarray(margins, np.float64)
    return float(logsumexp(log_expit(margins)) - logsumexp(log_expit(-margins)))


def _median(margins: np.ndarray) -> float:
    """The median; of an even number the mean of P(fake) over the two in the middle."""
    middle = np.sort(margins)[(len(margins) - 1) // 2 : len(margins) // 2 + 1]
    return mean_margin(middle)


def _top_third(margins: np.ndarray) -> float:
    return mean_margin(np.sort(margins)[-max(1, len(margins) // 3) :])


def _votes(margins: np.ndarray) -> float:
    """The share of the frames that are fake at even odds; 0 and 1 as 1e-6 and 1 − 1e-6."""
    return float(logit(np.clip(np.mean(margins > 0), 1e-6, 1 - 1e-6)))


_MOST_VIEWS = 100
_FRAMES_32 = Sampling(count=32)
FACES = ("largest", "all")
MULTI_FACE = ("max", "mean", "largest")
AGGREGATIONS: dict[str, Callable[[np.ndarray], float]] = {
    "mean": mean_margin,
    "median": _median,
    "max": np.max,
    "top_third": _top_third,
    "votes": _votes,
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """From faces to a file's score. The defaults are the evaluation of SBI (Shiohara and Yamasaki 2022, public code).

    sampling: which frames of a video are used.
    views: crops of each face, 1 to 100. With more than one their margins are drawn as in training, from fixed seeds,
      and the face's score is the mean over the upper half of them (FWA has 10).
    faces: "all", or "largest": the one person seen largest over the clip.
    min_face_share: of the faces in a frame of a video, those count whose box has at least this share of the largest
      one's area, in [0, 1]. In an image every face counts.
    multi_face: the score of a frame: "max" or "mean" over the faces that count, or that of the "largest".
    aggregation: the score of a file from its frames with a face: "mean", "median", "max"; "top_third", the mean of the
      highest third of them, rounded down, but at least one (FWA; Li and Lyu 2019); or "votes", the share of them that
      are fake at even odds (MesoNet; Afchar et al. 2018).
    threshold: a file counts as fake from this score on, in [0, 1]. suspicious: it counts as suspicious from this score
      on and below the threshold; None: never.

    Raises:
      UserError: names ``protocol.<field>``, what was found and what was wanted.
    """

    sampling: Sampling = _FRAMES_32
    faces: str = "all"
    min_face_share: float = 0.5
    multi_face: str = "max"
    aggregation: str = "mean"
    threshold: float = 0.5
    suspicious: float | None = None
    views: int = 1

    def __post_init__(self) -> None:
        if not isinstance(self.sampling, Sampling):
            raise UserError(f"protocol.sampling: found {self.sampling!r}, wanted a Sampling")
        for name, allowed in (("faces", FACES), ("multi_face", MULTI_FACE), ("aggregation", tuple(AGGREGATIONS))):
            if getattr(self, name) not in allowed:
                raise UserError(f"protocol.{name}: found {getattr(self, name)!r}, wanted one of {list(allowed)}")
        if isinstance(self.views, bool) or not isinstance(self.views, int) or not 1 <= self.views <= _MOST_VIEWS:
            raise UserError(f"protocol.views: found {self.views!r}, wanted a whole number of 1 to {_MOST_VIEWS}")
        for name in ("min_face_share", "threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError(f"protocol.{name}: found {value!r}, wanted a number in [0, 1]")

        if self.suspicious is not None and not 0 <= self.suspicious <= self.threshold:
            raise UserError(f"protocol.suspicious: found {self.suspicious!r}, wanted one in [0, {self.threshold}]")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"sampling": self.sampling.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Protocol":
        """Inverse of ``to_dict``; unknown or missing fields raise UserError."""
        wanted = {field.name for field in dataclasses.fields(cls)}
        if set(values) != wanted:
            raise UserError(f"protocol: found fields {sorted(values)}, wanted {sorted(wanted)}")
        return cls(**(values | {"sampling": Sampling.from_dict(values["sampling"])}))

    def face_margins(self, margins: np.ndarray) -> np.ndarray:
        """(K,) float64, the margin of each face from those of its views, (K, views)."""
        upper = np.sort(np.asarray(margins, np.float64), axis=1)[:, self.views // 2 :]
        return upper[:, 0] if self.views == 1 else np.array([mean_margin(one) for one in upper], np.float64)

    def frame_margins(
        self, frames: np.ndarray, areas: np.ndarray, margins: np.ndarray, *, image: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The margin of each frame that shows a face.

        Args:
          frames: (K,) of each face, its frame's index. areas: (K,) of its box, in any unit. margins: (K,), calibrated
            where ``multi_face`` is "mean"; the other rules only compare.
          image: the file is an image, in which no face is too small.

        Returns:
          (F,) the frames that show a face, ascending, and (F,) their margins, float64; F = 0 for K = 0.

        Raises:
          ValueError: unequal lengths, or a margin that is NaN.
        """
        frames, areas, margins = np.asarray(frames), np.asarray(areas, float), np.asarray(margins, float)
        if not frames.shape == areas.shape == margins.shape or frames.ndim != 1:
            shapes = f"{frames.shape}, {areas.shape}, {margins.shape}"
            raise ValueError(f"frames, areas, margins must be (K,), found {shapes}")
        if np.isnan(margins).any():
            raise ValueError(f"margins: found {int(np.isnan(margins).sum())} of {len(margins)} that are NaN")
        combine = {"max": lambda _, own: own.max(), "mean": lambda _, own: mean_margin(own), "largest": _of_largest}
        shown, combined = np.unique(frames), []
        for frame in shown:
            here = frames == frame
            area, own = areas[here], margins[here]
            if not image:
                large = area >= self.min_face_share * area.max()
                area, own = area[large], own[large]
            combined.append(combine[self.multi_face](area, own))
        return shown, np.array(combined, np.float64)

    def file_margin(self, frame_margins: np.ndarray) -> float | None:
        """The margin of an image or a video from the calibrated ones of its frames, (F,); None where F = 0.

        Its logistic function is the file's score.
        """
        return float(AGGREGATIONS[self.aggregation](np.asarray(frame_margins))) if len(frame_margins) else None

    def track_margins(self, tracks: np.ndarray, margins: np.ndarray) -> dict[int, float]:
        """track -> its margin over time, aggregated as a file's. tracks, margins: (K,), of each face."""
        tracks, margins = np.asarray(tracks), np.asarray(margins, float)
        return {int(track): self.file_margin(margins[tracks == track]) for track in np.unique(tracks)}

    def is_fake(self, margin: float) -> bool:
        """Whether a file of this calibrated margin counts as fake: its score is at or above the threshold."""
        return bool(margin >= logit(self.threshold))

    def word(self, margin: float) -> str:
        """The verdict on a file of this calibrated margin: "fake", "suspicious" or "real"."""
        if self.is_fake(margin):
            return "fake"
        return "suspicious" if self.suspicious is not None and margin >= logit(self.suspicious) else "real"


def _of_largest(areas: np.ndarray, margins: np.ndarray) -> float:
    return margins[np.argmax(areas)]


def to_score(margin: float | None) -> float | None:
    """P(fake) of a calibrated margin, to be shown; None stays None."""
    return None if margin is None else float(expit(margin))
