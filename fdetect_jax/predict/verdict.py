"""What is said of one file: a word, a score, a reason, and where and when each face was judged."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.clips import MediaFaces
from fdetect_jax.media.faces import area

VERDICTS = ("real", "fake", "not_applicable", "unable_to_evaluate")


@dataclass(frozen=True)
class Sighting:
    """A face at one moment. time: seconds from the start. score: P(fake). box: (x0, y0, x1, y1), pixels."""

    time: float
    score: float
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class TrackVerdict:
    """One person's face through a file. score: P(fake), by the protocol's rule for files. sightings: by time."""

    track: int
    score: float
    sightings: tuple[Sighting, ...]


@dataclass(frozen=True)
class Verdict:
    """What is said of one file.

    verdict: one of ``VERDICTS``: fake from ``threshold`` on; not_applicable: readable, and without a face;
    unable_to_evaluate: not readable. score: P(fake), None for the last two. reason: a sentence.
    kind: "image", "video", or None where that could not be told. duration: seconds, 0 for an image.
    frames: (seconds, P(fake) or None where no face was usable) of every frame that was looked at.
    """

    file: str
    verdict: str
    score: float | None
    reason: str
    threshold: float
    kind: str | None = None
    duration: float = 0.0
    frames: tuple[tuple[float, float | None], ...] = ()
    tracks: tuple[TrackVerdict, ...] = ()

    def to_row(self) -> dict[str, Any]:
        """Plain values, fit for JSON: seconds and scores with the digits that mean something."""
        return {
            "file": self.file,
            "verdict": self.verdict,
            "score": _rounded(self.score),
            "reason": self.reason,
            "threshold": self.threshold,
            "kind": self.kind,
            "duration": round(self.duration, 3),
            "frames": [[round(time, 3), _rounded(score)] for time, score in self.frames],
            "tracks": [
                {
                    "track": track.track,
                    "score": _rounded(track.score),
                    "faces": [
                        {
                            "time": round(one.time, 3),
                            "score": _rounded(one.score),
                            "box": [round(value, 1) for value in one.box],
                        }
                        for one in track.sightings
                    ],
                }
                for track in self.tracks
            ],
        }


def decide(file: str, seen: MediaFaces, scores: np.ndarray, protocol: Protocol) -> Verdict:
    """The verdict on a file that could be read, by the protocol's rules.

    seen: its faces. scores: (K,) P(fake) of ``seen.crops``, in order.
    """
    crops, image = seen.crops, seen.kind == "image"
    duration = seen.info.duration if seen.info else 0.0
    said = {"file": file, "threshold": protocol.threshold, "kind": seen.kind, "duration": duration}
    if not crops:
        reason = "no face in the image" if image else f"no face in any of the {len(seen.frames)} frames looked at"
        frames = tuple((time, None) for _, time in seen.frames)
        return Verdict(verdict="not_applicable", score=None, reason=reason, frames=frames, **said)
    index, tracks = np.array([one.frame for one in crops]), np.array([one.track for one in crops])
    areas = np.array([area(one.box) for one in crops])
    found, of_frames = protocol.frame_scores(index, areas, scores, image=image)
    score = protocol.file_score(of_frames)
    at = dict(zip(found.tolist(), of_frames.tolist(), strict=True))
    fake = protocol.is_fake(score)
    where = (
        "" if image else f", {protocol.aggregation} over {len(found)} of {len(seen.frames)} frames, those with a face"
    )
    side = "at or above" if fake else "below"
    return Verdict(
        verdict="fake" if fake else "real",
        score=score,
        reason=f"P(fake) {score:.3f}{where}, is {side} the threshold {protocol.threshold:.3f}",
        frames=tuple((time, at.get(frame)) for frame, time in seen.frames),
        tracks=tuple(
            TrackVerdict(
                track,
                value,
                tuple(
                    Sighting(one.time, float(p), one.box)
                    for one, p in zip(crops, scores, strict=True)
                    if one.track == track
                ),
            )
            for track, value in protocol.track_scores(tracks, scores).items()
        ),
        **said,
    )


def unable(file: str, reason: str, protocol: Protocol) -> Verdict:
    """The verdict on a file that could not be read."""
    return Verdict(file, "unable_to_evaluate", None, reason, protocol.threshold)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)
