"""What each kind of file is taken for. In: scored files of a detector of kinds. Out: counts, and a table of them."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fdetect_jax.evaluation.table import Scored
from fdetect_jax.inference.labelled import ScoredFile
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import KINDS

_UNKNOWN = "unknown kind"


def confusion(
    files: Sequence[ScoredFile], videos: Scored, protocol: Protocol, names: Sequence[str], calibrated: np.ndarray
) -> dict[str, Any] | None:
    """The verdicts on the files of each kind; those called fake by the fake class that their faces are most like.

    Args:
      files: with ``classes``. videos: their rows, one for each. protocol: whose thresholds apply. names: the classes of
        the detector, the first is real. calibrated: (F,) calibrated margins of the files.

    Returns:
      "columns": the words and classes, "rows": kind -> count of each column, in the order of ``types.KINDS``; None for
      a detector of two classes.
    """
    if len(names) < 3 or any(one.classes is None for one in files):
        return None
    columns = ["real", "suspicious", *names[1:]]
    rows: dict[str, dict[str, int]] = {}
    for kind in (*range(len(KINDS)), -1):
        own = np.flatnonzero(videos.kind == kind)
        if len(own):
            counts = rows[KINDS[kind] if kind >= 0 else _UNKNOWN] = dict.fromkeys(columns, 0)
            for number in own:
                word = protocol.word(calibrated[number])
                counts[_likest(files[number], names) if word == "fake" else word] += 1
    return {"columns": columns, "rows": rows}


def _likest(one: ScoredFile, names: Sequence[str]) -> str:
    return names[1 + int(np.argmax(one.classes.mean(0)[1:]))]


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The table as text."""
    columns, rows = found["columns"], found["rows"]
    wide = max(len(kind) for kind in rows) + 2
    yield ""
    yield f"{'taken for':{wide}s}" + "  ".join(columns)
    for kind, counts in rows.items():
        yield f"{kind:{wide}s}" + "  ".join(f"{counts[column]:{len(column)}d}" for column in columns)
