"""What ``fdetect predict`` prints and its exit status, wherever the files were judged. In: rows."""

from collections import Counter
from collections.abc import Mapping, Sequence

_WORDS = {"real": "real", "suspicious": "suspicious", "fake": "FAKE"}
_WORDS |= {"not_applicable": "no face", "unable_to_evaluate": "not evaluated"}
FOUND_FAKE, NOT_ALL = 1, 3  # exit status


def lines(row: Mapping) -> list[str]:
    """The verdict, and below it the evidence of each analysis; the detector's is the verdict's reason already."""
    score = "     " if row["score"] is None else f"{row['score']:.3f}"
    note = f" ({row['note']})" if row["note"] else ""
    from fdetect_jax.inference.evidence import DETECTOR

    others = [one for one in row["evidence"] if one["name"] != DETECTOR]
    return [
        f"{_WORDS[row['verdict']]:13s} {score}  {row['file']}: {row['reason']}{note}",
        *(f"{'':21s}{one['title']}: {one['words']}" for one in others),
    ]


def summary(rows: Sequence[Mapping]) -> str:
    """How many files have each verdict."""
    counts = Counter(row["verdict"] for row in rows)
    return ", ".join(f"{number} {_WORDS[word]}" for word, number in counts.items())


def status(rows: Sequence[Mapping]) -> int:
    """1 with a fake, 3 with none but files that could not be evaluated, else 0."""
    found = {row["verdict"] for row in rows}
    return FOUND_FAKE if "fake" in found else NOT_ALL if "unable_to_evaluate" in found else 0
