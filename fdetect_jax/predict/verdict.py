"""The verdict on one file: a word, a score, a reason, the evidence, and where and when each face was scored."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import expit

from fdetect_jax.faces.boxes import area
from fdetect_jax.faces.clips import MediaFaces
from fdetect_jax.inference.evidence import Evidence, of_detector
from fdetect_jax.inference.familiar import Limits, caveats
from fdetect_jax.inference.lead import leads_of
from fdetect_jax.inference.protocol import Protocol, to_score

_NO_LIMITS = Limits()
VERDICTS = ("real", "suspicious", "fake", "not_applicable", "unable_to_evaluate")


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
    """The verdict on one file.

    verdict: one of ``VERDICTS``: fake from ``threshold`` on; suspicious below it, from ``suspicious`` on where the
    detector has such a threshold; not_applicable: readable, and without a face;
    unable_to_evaluate: not readable. score: P(fake), None for the last two. reason: a sentence.
    kind: "image", "video", or None where that is unknown. duration: seconds, 0 for an image.
    frames: (seconds, P(fake) or None where no face was usable) of every sampled frame.
    evidence: the detector's first, with its mask's where it has one, then that of each of ``analyses.ANALYSES`` that
    had something to say.
    classes: of a detector with more than two classes, the name of each -> its mean probability over the faces, not
    calibrated; else empty. notes: why an analysis is missing. passing: whether something failed that may succeed the
    next time, see ``limits.Rejected``.
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
    evidence: tuple[Evidence, ...] = ()
    classes: Mapping[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passing: bool = False
    suspicious: float | None = None

    def word_of(self, score: float) -> str:
        """What a score of one face or frame would be as that of the file: "fake", "suspicious" or "real"."""
        if score >= self.threshold:
            return "fake"
        return "suspicious" if self.suspicious is not None and score >= self.suspicious else "real"

    def to_row(self) -> dict[str, Any]:
        """Plain values, fit for JSON: seconds and scores with the digits that mean something."""
        return {
            "file": self.file,
            "verdict": self.verdict,
            "score": _rounded(self.score),
            "reason": self.reason,
            "evidence": [one.to_row() for one in self.evidence],
            "classes": {name: _rounded(value) for name, value in self.classes.items()},
            "threshold": self.threshold,
            "suspicious": self.suspicious,
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


def decide(
    file: str,
    seen: MediaFaces,
    margins: np.ndarray,
    protocol: Protocol,
    classes: np.ndarray | None = None,
    names: Sequence[str] = (),
    evidence: Sequence[Evidence] = (),
    notes: Sequence[str] = (),
    strangeness: np.ndarray | None = None,
    limits: Limits = _NO_LIMITS,
    lead: float | None = None,
) -> Verdict:
    """The verdict on a file that could be read, by the protocol's rules.

    Args:
      seen: its faces. margins: (K,) calibrated margins of ``seen.crops``, in order. protocol: from faces to the file.
      classes: (K, C) probabilities of the classes ``names``, the first of which is real; used where C > 2.
      evidence, notes: of the analyses. strangeness: (K,) of the faces, and limits: what the detector knows, see
        ``familiar.caveats``. lead: below it a face is like none of the classes (``inference.lead``); None: not known.
    """
    crops, image = seen.crops, seen.kind == "image"
    duration = seen.info.duration if seen.info else 0.0
    known = {
        "file": file,
        "threshold": protocol.threshold,
        "suspicious": protocol.suspicious,
        "kind": seen.kind,
        "duration": duration,
    }
    if not crops:
        reason = "no face in the image" if image else f"no face in any of the {len(seen.frames)} sampled frames"
        frames = tuple((time, None) for _, time in seen.frames)
        known |= {"evidence": tuple(evidence), "notes": tuple(notes)}
        return Verdict(verdict="not_applicable", score=None, reason=reason, frames=frames, **known)
    index, tracks = np.array([one.frame for one in crops]), np.array([one.track for one in crops])
    areas = np.array([area(one.box) for one in crops])
    far = np.full(len(crops), np.nan) if strangeness is None else strangeness
    known["notes"] = (*notes, *caveats(limits, np.sqrt(areas), [one.example["image"] for one in crops], far))
    found, of_frames = protocol.frame_margins(index, areas, margins, image=image)
    margin = protocol.file_margin(of_frames)
    score, word = to_score(margin), protocol.word(margin)
    shares = {}
    if len(names) > 2:
        shares = dict(zip(names, np.mean(classes, axis=0).tolist(), strict=True))
    over = f", {protocol.aggregation} over {len(found)} of {len(seen.frames)} frames, those with a face"
    side = "at or above" if word == "fake" else "below"
    reason = f"P(fake) {score:.3f}{'' if image else over}, is {side} the threshold {protocol.threshold:.3f}"
    if word == "suspicious":
        reason += f" and not below {protocol.suspicious:.3f}, from which on a file is suspicious"
    if word != "real" and shares:
        none = lead is not None and float(np.median(leads_of(classes))) < lead
        reason += "; it is like none of the classes that the detector knows" if none else _kind(shares)
    at = dict(zip(found.tolist(), expit(of_frames).tolist(), strict=True))
    scores = expit(margins)
    return Verdict(
        verdict=word,
        score=score,
        reason=reason,
        frames=tuple((time, at.get(frame)) for frame, time in seen.frames),
        tracks=tuple(
            TrackVerdict(
                track,
                to_score(value),
                tuple(
                    Sighting(one.time, float(p), one.box)
                    for one, p in zip(crops, scores, strict=True)
                    if one.track == track
                ),
            )
            for track, value in protocol.track_margins(tracks, margins).items()
        ),
        evidence=(of_detector(score, word, protocol, reason), *evidence),
        classes=shares,
        **known,
    )


def _kind(classes: Mapping[str, float]) -> str:
    """The likeliest class of a fake, as the end of a sentence."""
    fakes = list(classes)[1:]
    return f"; of the fakes it is most like {max(fakes, key=classes.__getitem__)}" if fakes else ""


def unable(file: str, reason: str, protocol: Protocol, passing: bool = False) -> Verdict:
    """The verdict on a file that could not be read."""
    thresholds = {"threshold": protocol.threshold, "suspicious": protocol.suspicious}
    return Verdict(file, "unable_to_evaluate", None, reason, **thresholds, passing=passing)


def _rounded(score: float | None) -> float | None:
    return None if score is None else round(score, 6)
