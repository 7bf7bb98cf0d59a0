"""Analyses beside the main detector, by name. A new one is a file here and a line in ``ANALYSES``.

An analysis extracts plain data in a worker process, for files are hostile, and turns the data into ``Evidence`` in this
one. In: a file and its face crops. Out: evidence, and a note for every analysis that failed.
"""

import dataclasses
import math
import pickle
import re
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.faces.clips import FaceCrop
from fdetect_jax.inference.evidence import TITLES, Evidence

UNITS = ("face", "clip", "file")


@dataclasses.dataclass(frozen=True)
class Analysis:
    """What is registered of an analysis.

    unit: what ``extract`` is called with: "face", each ``FaceCrop``; "clip", each person's crops (a tuple of
      ``FaceCrop``) in order of time; "file", the path. Crops are cut by the recipe of the detector in use.
    extract: runs in a worker process, which finds it by its module and name. It returns plain data that can be pickled,
      or None where it has nothing to say. It must not import JAX: several processes cannot share one accelerator.
    weigh: runs in the process that scores, with what ``extract`` returned: for "file" the data itself, else a list of
      the data of every face or clip that had any. It returns ``Evidence``, or None where it has nothing to say.
    title: what a reader sees.

    An exception in either of them becomes a note of the verdict.
    """

    unit: str
    extract: Callable[[Any], Any]
    weigh: Callable[[Any], Evidence | None]
    title: str

    def __post_init__(self) -> None:
        if self.unit not in UNITS:
            raise UserError(f"analysis unit: found {self.unit!r}, wanted one of {UNITS}")


ANALYSES: dict[str, Analysis] = {}


@dataclasses.dataclass(frozen=True)
class Extraction:
    """The part of an analysis that goes to a worker process. function: ``extract``, pickled by its name."""

    name: str
    unit: str
    function: bytes


@dataclasses.dataclass(frozen=True)
class Extracted:
    """What came back of one file. data: by the name of the analysis. notes: why an analysis has none. passing: whether
    what failed may succeed the next time."""

    data: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    notes: tuple[str, ...] = ()
    passing: bool = False


def extractions(analyses: Mapping[str, Analysis]) -> tuple[Extraction, ...]:
    """The parts that go to worker processes.

    Raises:
      UserError: a name that cannot be part of a file's name, or an ``extract`` that no other process can find.
    """
    found = []
    for name, analysis in analyses.items():
        if not re.fullmatch(r"[\w-]+", name) or name in TITLES:
            wanted = f"letters, digits, _ and -, none of {list(TITLES)}"
            raise UserError(f"analyses: found the name {name!r}, wanted {wanted}")
        try:
            if getattr(analysis.extract, "__module__", "") == "__main__":
                raise pickle.PicklingError("it is defined in the program that runs")
            function = pickle.dumps(analysis.extract)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            wanted = "a function of a module, which worker processes can import"
            raise UserError(f"analyses.{name}.extract: found {analysis.extract!r}, wanted {wanted} ({error})") from None
        found.append(Extraction(name, analysis.unit, function))
    return tuple(found)


def extract(task: tuple[Path, Sequence[FaceCrop], Sequence[Extraction]]) -> Extracted:
    """Runs every extraction on one file, in a worker process; one that fails leaves a note and the others go on."""
    path, crops, chosen = task
    data, notes = {}, []
    for one in chosen:
        try:
            function = pickle.loads(one.function)
            if one.unit == "file":
                found = function(path)
            else:
                subjects = crops if one.unit == "face" else clips_of(crops)
                found = [each for subject in subjects if (each := function(subject)) is not None] or None
            pickle.dumps(found)  # fails here, where it costs only this analysis
        except Exception as error:
            notes.append(_failed(one.name, error))
        else:
            if found is not None:
                data[one.name] = found
    return Extracted(data, tuple(notes))


def weigh(extracted: Extracted, analyses: Mapping[str, Analysis]) -> tuple[tuple[Evidence, ...], tuple[str, ...]]:
    """The evidence in what was extracted of one file, in the order of the registry, and all notes."""
    found, notes = [], list(extracted.notes)
    for name, analysis in analyses.items():
        if name not in extracted.data:
            continue
        try:
            evidence = analysis.weigh(extracted.data[name])
            if evidence is None:
                continue
            if isinstance(evidence.value, Real) and not math.isfinite(evidence.value):
                raise ValueError(f"evidence.value: found {evidence.value}, wanted a finite number")
            found.append(dataclasses.replace(evidence, name=name))
        except Exception as error:
            notes.append(_failed(name, error))
    return tuple(found), tuple(notes)


def clips_of(crops: Sequence[FaceCrop]) -> list[tuple[FaceCrop, ...]]:
    """The crops of each person, by track, in the order given."""
    tracks = dict.fromkeys(one.track for one in crops)
    return [tuple(one for one in crops if one.track == track) for track in tracks]


def _failed(name: str, error: Exception) -> str:
    return f"analysis {name} failed: {type(error).__name__}: {error}"
