"""The names of the annotated copies."""

from collections.abc import Collection, Sequence
from pathlib import Path


def distinct(relative: Sequence[Path], used: Collection[Path] = ()) -> list[Path]:
    """The paths, with " (2)", " (3)" … before the last suffix of those that came before or are used, letters' case
    aside."""
    taken = {str(path).lower() for path in used}
    names = []
    for path in relative:
        candidate, number = path, 1
        while str(candidate).lower() in taken:
            number += 1
            candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        taken.add(str(candidate).lower())
        names.append(candidate)
    return names
