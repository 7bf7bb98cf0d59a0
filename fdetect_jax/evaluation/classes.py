"""What a detector of several classes takes held-out faces for, and which of them are like none of its classes.

In: logits of faces whose class is known. Out: counts, recall and rejection as the field ``classes`` of report.json, and
lines of text. A face is like none of the classes where its lead is below a limit (``inference.lead``).
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from sklearn.metrics import roc_auc_score

from fdetect_jax.inference.lead import leads


@dataclasses.dataclass(frozen=True)
class Faces:
    """Held-out faces of one kind, or by one method.

    title: what a reader sees. number: of their class, None where the detector has none for them. logits: (N, K), N > 0.
    """

    title: str
    number: int | None
    logits: np.ndarray


def classes_part(names: Sequence[str], groups: Sequence[Faces], limit: float | None) -> dict[str, Any]:
    """The field ``classes`` of report.json.

    Args:
      names: of the detector's classes, the first is real. groups: of distinct titles. limit: ``lead.limit_of``, None
        where none was fitted.

    Returns:
      columns: ``names``. rows: title -> class (its name or null), counts (class -> faces taken for it), recall (the
      share taken for their own class), rejected (the share below the limit) and auc (how well the lead tells the
      known faces from these; of faces without a class alone), each null where it is not defined. recall: the mean over
      the classes. rejected: of the known faces. limit.
    """
    known = [one for one in groups if one.number is not None]
    rows = {}
    for one in groups:
        taken = np.bincount(np.argmax(one.logits, axis=-1), minlength=len(names))
        rows[one.title] = {
            "class": None if one.number is None else names[one.number],
            "counts": {name: int(count) for name, count in zip(names, taken, strict=True)},
            "recall": None if one.number is None else float(taken[one.number] / len(one.logits)),
            "rejected": _rejected([one], limit),
            "auc": _auc(known, one) if one.number is None and known else None,
        }
    recalls: dict[str, list[float]] = {}
    for row in rows.values():
        if row["class"] is not None:
            recalls.setdefault(row["class"], []).append(row["recall"])
    return {
        "columns": list(names),
        "rows": rows,
        "recall": float(np.mean([np.mean(found) for found in recalls.values()])) if recalls else None,
        "rejected": _rejected(known, limit) if known else None,
        "limit": limit,
    }


def _rejected(groups: Sequence[Faces], limit: float | None) -> float | None:
    if limit is None:
        return None
    return float(np.mean(np.concatenate([leads(one.logits) for one in groups]) < limit))


def _auc(known: Sequence[Faces], other: Faces) -> float:
    own, others = np.concatenate([leads(one.logits) for one in known]), leads(other.logits)
    return float(roc_auc_score(np.repeat([1, 0], [len(own), len(others)]), np.concatenate([own, others])))


def lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The table as text."""
    columns, rows = found["columns"], found["rows"]
    wide = max(map(len, rows)) + 2
    yield f"  {'taken for':{wide}s}" + "  ".join([*columns, "recall", "like none", "AUC of it"])
    for title, row in rows.items():
        counts = [f"{row['counts'][column]:{len(column)}d}" for column in columns]
        figures = [_share(row["recall"], 6), _share(row["rejected"], 9)]
        figures.append(f"{'–' if row['auc'] is None else format(row['auc'], '.3f'):>9}")
        yield f"  {title:{wide}s}" + "  ".join(counts + figures)


def _share(value: float | None, wide: int) -> str:
    return f"{'–' if value is None else f'{100 * value:.1f} %':>{wide}}"
