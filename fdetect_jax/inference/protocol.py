"""How the scores of faces become a score of their file: a protocol, shared by evaluation and prediction.

In: for each face its frame, its box's area and P(fake). Out: one score a frame, a track, and the file.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.media.video import Sampling


def _top_third(scores: np.ndarray) -> np.ndarray:
    return np.mean(np.sort(scores)[-max(1, len(scores) // 3) :])


_FRAMES_32 = Sampling(count=32)
FACES = ("largest", "all")
MULTI_FACE = ("max", "mean", "largest")
AGGREGATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "mean": np.mean,
    "median": np.median,
    "max": np.max,
    "top_third": _top_third,
}


@dataclasses.dataclass(frozen=True)
class Protocol:
    """From faces to a file's score. The defaults are the evaluation of SBI (Shiohara and Yamasaki 2022, public code).

    sampling: which frames of a video are looked at.
    faces: "all", or "largest": the one person seen largest over the clip.
    min_face_share: of the faces in a frame of a video, those count whose box has at least this share of the largest
      one's area, in [0, 1]. In an image every face counts.
    multi_face: the score of a frame: "max" or "mean" over the faces that count, or that of the "largest".
    aggregation: the score of a file from its frames with a face: "mean", "median", "max", or "top_third", the mean of
      the highest third of them, rounded down, but at least one (FWA; Li and Lyu 2019).
    threshold: a file counts as fake from this score on, in [0, 1].

    Raises:
      ValueError: names ``protocol.<field>``, what was found and what was wanted.
    """

    sampling: Sampling = _FRAMES_32
    faces: str = "all"
    min_face_share: float = 0.5
    multi_face: str = "max"
    aggregation: str = "mean"
    threshold: float = 0.5

    def __post_init__(self) -> None:
        if not isinstance(self.sampling, Sampling):
            raise UserError(f"protocol.sampling: found {self.sampling!r}, wanted a Sampling")
        for name, allowed in (("faces", FACES), ("multi_face", MULTI_FACE), ("aggregation", tuple(AGGREGATIONS))):
            if getattr(self, name) not in allowed:
                raise UserError(f"protocol.{name}: found {getattr(self, name)!r}, wanted one of {list(allowed)}")
        for name in ("min_face_share", "threshold"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                raise UserError(f"protocol.{name}: found {value!r}, wanted a number in [0, 1]")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}
        return fields | {"sampling": self.sampling.to_dict()}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "Protocol":
        """Inverse of ``to_dict``; unknown or missing fields raise ValueError."""
        wanted = {field.name for field in dataclasses.fields(cls)}
        if set(values) != wanted:
            raise UserError(f"protocol: found fields {sorted(values)}, wanted {sorted(wanted)}")
        return cls(**(values | {"sampling": Sampling.from_dict(values["sampling"])}))

    def frame_scores(
        self, frames: np.ndarray, areas: np.ndarray, scores: np.ndarray, *, image: bool = False
    ) -> tuple[np.ndarray, np.ndarray]:
        """The score of each frame that shows a face.

        Args:
          frames: (K,) of each face, its frame's index. areas: (K,) of its box, in any unit. scores: (K,) P(fake).
          image: the file is an image, in which no face is too small.

        Returns:
          (F,) the frames that show a face, ascending, and (F,) their scores; F = 0 for K = 0.

        Raises:
          ValueError: unequal lengths, or a score that is NaN.
        """
        frames, areas, scores = np.asarray(frames), np.asarray(areas, float), np.asarray(scores, float)
        if not frames.shape == areas.shape == scores.shape or frames.ndim != 1:
            raise UserError(f"frames, areas, scores must be (K,), found {frames.shape}, {areas.shape}, {scores.shape}")
        if np.isnan(scores).any():
            raise UserError(f"scores: found {int(np.isnan(scores).sum())} of {len(scores)} that are NaN")
        kept, combined = np.unique(frames), []
        for frame in kept:
            here = frames == frame
            area, score = areas[here], scores[here]
            if not image:
                large = area >= self.min_face_share * area.max()
                area, score = area[large], score[large]
            largest = score[np.argmax(area)]
            combined.append({"max": score.max(), "mean": score.mean(), "largest": largest}[self.multi_face])
        return kept, np.array(combined)

    def file_score(self, frame_scores: np.ndarray) -> float | None:
        """The score of an image or a video from those of its frames, (F,); None where no frame shows a face."""
        return float(AGGREGATIONS[self.aggregation](np.asarray(frame_scores))) if len(frame_scores) else None

    def track_scores(self, tracks: np.ndarray, scores: np.ndarray) -> dict[int, float]:
        """track -> its score over time, aggregated as a file's. tracks, scores: (K,), of each face."""
        tracks, scores = np.asarray(tracks), np.asarray(scores, float)
        return {int(track): self.file_score(scores[tracks == track]) for track in np.unique(tracks)}

    def is_fake(self, score: float) -> bool:
        """Whether a file of this score counts as fake."""
        return score >= self.threshold
