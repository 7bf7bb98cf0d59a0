"""Lists the files to examine. In: files and folders. Out: files, each once."""

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from fdetect_jax.errors import UserError


def find_files(paths: Sequence[str | Path]) -> list[tuple[Path, Path]]:
    """(file, its path relative to the argument) of every file, each once; folders are searched recursively, in order.

    Hidden files and folders are skipped; linked folders are not entered. The type of a file is not checked here.

    Raises:
      UserError: a path does not exist, or there is no file at all.
    """
    found: dict[Path, Path] = {}
    for named in map(Path, paths):
        if not named.exists():
            raise UserError(f"{named}: no such file or folder")
        if named.is_dir():
            for file in _below(named):
                found.setdefault(file, file.relative_to(named))
        else:
            found.setdefault(named, Path(named.name))
    if not found:
        raise UserError(f"{', '.join(map(str, paths))}: found no file, wanted images or videos")
    return list(found.items())


def _below(folder: Path) -> Iterator[Path]:
    for where, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(names):
            file = Path(where) / name
            if not name.startswith(".") and file.is_file():
                yield file
