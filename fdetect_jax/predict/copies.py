"""The names of the annotated copies."""

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

_LONGEST = 200  # bytes; file systems take 255, and what is written for a file adds to its name


def distinct(relative: Sequence[Path], used: Collection[Path] = ()) -> list[Path]:
    """The paths, with " (2)", " (3)" … before the last suffix of those that came before or are used, letters' case
    aside; names of over 200 bytes are shortened first."""
    taken = {str(path).lower() for path in used}
    names = []
    for path in map(_shortened, relative):
        candidate, number = path, 1
        while str(candidate).lower() in taken:
            number += 1
            candidate = path.with_name(f"{path.stem} ({number}){path.suffix}")
        taken.add(str(candidate).lower())
        names.append(candidate)
    return names


def _shortened(path: Path) -> Path:
    """The path; of a long name as many letters as there is room for, and a hash of the whole."""
    whole = os.fsencode(path.name)
    if len(whole) <= _LONGEST:
        return path
    suffix = path.suffix if len(os.fsencode(path.suffix)) <= 16 else ""
    end = f"~{hashlib.sha256(whole).hexdigest()[:8]}{suffix}"
    kept = path.name.removesuffix(suffix)
    while len(os.fsencode(kept + end)) > _LONGEST:
        kept = kept[:-1]
    return path.with_name(kept + end)
