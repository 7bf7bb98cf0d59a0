"""``fdetect evaluate``'s report: scored files in, tests of videos and of frames out, pooled, per source and method."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.evaluation import schema
from fdetect_jax.evaluation.confusion import confusion
from fdetect_jax.evaluation.results import measure_all
from fdetect_jax.evaluation.table import Scored, Test
from fdetect_jax.evaluation.units import LEVELS, units_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import Excluded, ScoredFile
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import REAL


@dataclass(frozen=True)
class Group:
    """Files that are measured together.

    name: "" for all, "/SET", "/SOURCE" or "/SOURCE/METHOD", which follows the level in a test's name. title: what a
    reader sees. files: their numbers. shown: it is no repetition of another group.
    """

    name: str
    title: str
    files: tuple[int, ...]
    shown: bool = True


def groups(files: Sequence[ScoredFile], sets: Sequence[str] | None = None) -> list[Group]:
    """All files, then of each data set all of it where it holds several sources, each source, and each method with the
    reals of its source.

    sets: of each file the data set that it is from; None: they are all from one.
    """
    members: dict[str, dict[str, dict[str, list[int]]]] = defaultdict(lambda: defaultdict(lambda: defaultdict(list)))
    of_sets = [""] * len(files) if sets is None else sets
    for number, (name, one) in enumerate(zip(of_sets, files, strict=True)):
        members[name][one.file.source]["" if one.file.label == REAL else one.file.method].append(number)
    found = [Group("", "All", tuple(range(len(files))))]
    several = sum(map(len, members.values())) > 1
    for name, sources in sorted(members.items()):
        if len(sources) > 1 and len(members) > 1:
            every = (number for methods in sources.values() for part in methods.values() for number in part)
            found.append(Group(f"/{name}", name, tuple(sorted(every))))
        for source, methods in sorted(sources.items()):
            reals = methods.pop("", [])
            every = sorted([*reals, *(number for part in methods.values() for number in part)])
            found.append(Group(f"/{source}", source, tuple(every), shown=several))
            for method, fakes in sorted(methods.items()):
                title = f"{source}: {method}" if several else method
                found.append(Group(f"/{source}/{method}", title, (*reals, *fakes), shown=len(methods) > 1))
    return found


def tests_of(levels: Mapping[str, Scored], found: Sequence[Group]) -> dict[str, list[Test]]:
    """Level -> the test of each group. levels: of ``units_of`` of the same files."""
    tests = {}
    for level, units in levels.items():
        rows = [units.rows(np.isin(units.group, group.files)) for group in found]
        tests[level] = [
            Test(f"{level}{group.name}", group.title, own, level) for group, own in zip(found, rows, strict=True)
        ]
    return tests


def titles(levels: Mapping[str, Scored]) -> dict[str, str]:
    """Level -> what a reader calls it; "video" alone where every file is one frame."""
    if len(levels["frame"]) == len(levels["video"]):
        return {"video": "Files"}
    return {"video": "Videos", "frame": "Frames"}


@dataclass(frozen=True)
class Evaluated:
    """An evaluation: what report.json holds, and what it was made of.

    content: see ``schema``. groups, tests: of ``groups`` and ``tests_of``. titles: of ``titles``, the levels to show.
    """

    content: dict[str, Any]
    groups: list[Group]
    tests: dict[str, list[Test]]
    titles: dict[str, str]

    @property
    def shown(self) -> list[str]:
        """The names of the tests that a reader sees."""
        return [f"{level}{group.name}" for group in self.groups if group.shown for level in self.titles]


def evaluate(
    files: Sequence[ScoredFile],
    excluded: Sequence[Excluded],
    calibration: Calibration,
    protocol: Protocol,
    seed: int = 0,
    *,
    title: str = "",
    model: Mapping[str, Any] | None = None,
    sets: Sequence[str] | None = None,
    classes: Sequence[str] = (),
) -> Evaluated:
    """Everything that is known of a detector on these files.

    title: of the report. model: of ``schema``, with its description. sets: of ``groups``. classes: of the detector.

    Raises:
      UserError: no file is left.
    """
    if not files:
        reasons = sorted({one.reason for one in excluded})
        raise UserError(f"found no face in any of {len(excluded)} files ({'; '.join(reasons[:3])})")
    levels = units_of(files, calibration, protocol)
    found = groups(files, sets)
    tests = tests_of(levels, found)
    every = [test for level in LEVELS for test in tests[level]]
    measured = measure_all(every, calibration, protocol.threshold, seed)
    reasons = defaultdict(list)
    for one in excluded:
        reasons[one.reason].append(one.file.name)
    counts = np.bincount(levels["frame"].group, minlength=len(files))
    scores = calibration.scores(levels["video"].margin)
    taken = confusion(files, levels["video"], protocol, classes, calibration.margins(levels["video"].margin))
    description = model["description"] if model else ""
    content = schema.base(
        "evaluation", title, description, calibration, protocol.threshold, seed, measured, {}, model
    ) | {
        "protocol": protocol.to_dict(),
        "data": {"scored": len(files), "excluded": len(excluded), "reasons": dict(reasons)},
        "files": [
            _row(one) | {"frames": int(count), "score": round(float(score), 6)}
            for one, count, score in zip(files, counts, scores, strict=True)
        ],
        "confusion": taken,
    }
    return Evaluated(content, found, tests, titles(levels))


def _row(one: ScoredFile) -> dict[str, Any]:
    return {name: getattr(one.file, name) for name in ("name", "label", "method", "source")}
