"""What ``fdetect predict`` finds, prints and ends with, wherever the files are judged. In: arguments, rows."""

import argparse
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from fdetect_jax.media.files import Found

_WORDS = {"real": "real", "suspicious": "suspicious", "fake": "FAKE"}
_WORDS |= {"not_applicable": "no face", "unable_to_evaluate": "not evaluated"}
FOUND_FAKE, NOT_ALL = 1, 3  # exit status


def found_files(arguments: argparse.Namespace) -> "Found":
    """The files that are named; what was left out is printed. Raises UserError also where the output cannot be made."""
    from fdetect_jax.files import check_folder, check_output
    from fdetect_jax.media.files import find_files

    if arguments.json:
        check_output(arguments.json, "--json")
    if arguments.output:
        check_folder(arguments.output, "--output")
    named = find_files(arguments.paths, arguments.output)
    for note in named.notes():
        print(note, file=sys.stderr)
    return named


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
