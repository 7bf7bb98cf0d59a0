"""``fdetect evaluate``'s figures: judged files in, a report of frames and videos out, per source and method."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import expit

from fdetect_jax.errors import UserError
from fdetect_jax.evaluation import metrics
from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.labelled import Excluded, ScoredFile
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol, to_score
from fdetect_jax.types import FAKE, REAL

RATES = {"tpr_at_fpr_1%": 0.01, "tpr_at_fpr_0.1%": 0.001}


@dataclass(frozen=True)
class Level:
    """Scores of one kind of unit, frames or videos.

    labels, scores, videos: (N,) each unit's label, P(fake), and the number of its video among all.
    """

    labels: np.ndarray
    scores: np.ndarray
    videos: np.ndarray

    def of(self, videos: Sequence[int]) -> "Level":
        """The units of these videos."""
        kept = np.isin(self.videos, videos)
        return Level(self.labels[kept], self.scores[kept], self.videos[kept])


def levels(judged: Sequence[ScoredFile], calibration: Calibration, protocol: Protocol) -> dict[str, Level]:
    """``frame`` and ``video``: one unit for each frame that shows a face, one for each file; an image is both."""
    frames: list[np.ndarray] = []
    videos: list[float] = []
    for one in judged:
        margins = calibration.margins(one.margins)
        margins = protocol.frame_margins(one.frames, one.areas, margins, image=one.image)[1]
        frames.append(expit(margins))
        videos.append(to_score(protocol.file_margin(margins)))
    labels, numbers = np.array([one.file.label for one in judged]), np.arange(len(judged))
    counts = [len(scores) for scores in frames]
    return {
        "frame": Level(np.repeat(labels, counts), np.concatenate(frames), np.repeat(numbers, counts)),
        "video": Level(labels, np.array(videos), numbers),
    }


def groups(judged: Sequence[ScoredFile]) -> dict[tuple[str, str | None], list[int]]:
    """(source, method) -> numbers of its files: all of a source for method None, and each method with the reals of its
    source."""
    members: dict[tuple[str, str | None], list[int]] = defaultdict(list)
    reals: dict[str, list[int]] = defaultdict(list)
    for number, one in enumerate(judged):
        members[one.file.source, None].append(number)
        if one.file.label == REAL:
            reals[one.file.source].append(number)
        else:
            members[one.file.source, one.file.method].append(number)
    ordered = sorted(members, key=lambda group: (group[0], group[1] or ""))
    return {group: members[group] if group[1] is None else reals[group[0]] + members[group] for group in ordered}


def figures(level: Level, threshold: float, seed: int = 0) -> dict:
    """How well the scores of one level tell fakes from reals.

    Returns:
      n_real, n_fake, n_videos; accuracy and balanced_accuracy at the threshold; auc and auc_interval (95 %, by videos,
      ``bootstrap.auc_interval``); eer, ap; tpr_at_fpr_1% and _0.1% (``metrics.tpr_at``); ece and brier. What these
      units do not determine is None, with its reason under ``undefined``.
    """
    labels, scores = level.labels, level.scores
    undefined: dict[str, str] = {}

    def unless_undefined(name: str, figure: Callable):
        try:
            return figure()
        except ValueError as error:
            undefined[name] = str(error)
            return None

    right = (scores >= threshold) == (labels == FAKE)
    found = {"n_real": int(np.sum(labels == REAL)), "n_fake": int(np.sum(labels == FAKE))}
    found["n_videos"] = len(np.unique(level.videos))
    found["accuracy"] = float(np.mean(right)) if len(right) else None
    both = unless_undefined("auc", lambda: metrics.classification(labels, scores, threshold)) or {}
    found["balanced_accuracy"] = (
        float((right[labels == REAL].mean() + right[labels == FAKE].mean()) / 2) if both else None
    )
    found["auc"] = both.get("auc")
    found["auc_interval"] = unless_undefined(
        "auc_interval", lambda: list(auc_interval(labels, scores, level.videos, seed=seed))
    )
    found |= {name: both.get(name) for name in ("eer", "ap")}
    for name, rate in RATES.items():
        found[name] = unless_undefined(name, lambda rate=rate: metrics.tpr_at(labels, scores, rate))
    found["ece"] = unless_undefined("ece", lambda: metrics.calibration_error(labels, scores))
    found["brier"] = unless_undefined("brier", lambda: metrics.brier(labels, scores))
    return found | {"undefined": undefined}


def report(
    judged: Sequence[ScoredFile],
    excluded: Sequence[Excluded],
    calibration: Calibration,
    protocol: Protocol,
    seed: int = 0,
) -> dict:
    """Everything that is known of a detector on these files, fit for JSON.

    Returns:
      protocol, calibration, seed; ``data``: counts, and the excluded files by reason; ``frame`` and ``video``, see
      ``figures``; the same under ``sources`` (source -> level) and ``methods`` (source -> method -> level), a method
      against the reals of its source; ``files``: what each was given.

    Raises:
      ValueError: no file is left.
    """
    if not judged:
        reasons = sorted({one.reason for one in excluded})
        raise UserError(f"found no face in any of {len(excluded)} files ({'; '.join(reasons[:3])})")
    all_levels = levels(judged, calibration, protocol)

    def of(videos: Sequence[int]) -> dict:
        return {name: figures(level.of(videos), protocol.threshold, seed) for name, level in all_levels.items()}

    by_reason = defaultdict(list)
    for one in excluded:
        by_reason[one.reason].append(one.file.name)
    sources: dict[str, dict] = {}
    methods: dict[str, dict] = defaultdict(dict)
    for (source, method), videos in groups(judged).items():
        if method is None:
            sources[source] = of(videos)
        else:
            methods[source][method] = of(videos)
    frames = np.bincount(all_levels["frame"].videos, minlength=len(judged))
    return {
        "protocol": protocol.to_dict(),
        "calibration": dataclasses.asdict(calibration),
        "seed": seed,
        "data": {"judged": len(judged), "excluded": len(excluded), "reasons": dict(by_reason)},
        **of(range(len(judged))),
        "sources": sources,
        "methods": dict(methods),
        "files": [
            {**dataclasses.asdict(one.file), "frames": int(count), "score": round(float(score), 6)}
            for one, count, score in zip(judged, frames, all_levels["video"].scores, strict=True)
        ],
    }


def lines(report: Mapping) -> list[tuple[str, Mapping, tuple[str, str | None] | None]]:
    """A table's lines: (title, level -> figures, key in ``groups`` or None for all), none that repeats another."""
    found: list[tuple[str, Mapping, tuple[str, str | None] | None]] = [("All", report, None)]
    several = len(report["sources"]) > 1
    for source, of_source in report["sources"].items():
        if several:
            found.append((source, of_source, (source, None)))
        methods = report["methods"].get(source, {})
        if len(methods) > 1:
            for method, of_method in methods.items():
                found.append((f"{source}: {method}" if several else method, of_method, (source, method)))
    return found


def titles(report: Mapping) -> dict[str, str]:
    """level -> what a reader calls it; "video" alone where every file is one frame."""
    if report["frame"]["n_real"] + report["frame"]["n_fake"] == report["data"]["judged"]:
        return {"video": "Files"}
    return {"video": "Videos", "frame": "Frames"}
