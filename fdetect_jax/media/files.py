"""Finds media files: the one discovery of all jobs. In: files and folders. Out: files, and what was left out and why.

Links are followed. Left out are hidden files and folders, links to nothing or in a circle, what is no file, what cannot
be opened, and what ``fdetect predict`` wrote into an output folder that lies among its input.
"""

import contextlib
import os
import stat
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import on_one_line
from fdetect_jax.media.container import kind_of
from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.photos import SUFFIXES as PHOTO_SUFFIXES

VERDICTS = "verdicts.jsonl"  # marks an output folder of ``fdetect predict``
VIDEO_SUFFIXES = frozenset(
    {
        *(".mp4", ".m4v", ".mov", ".qt", ".3gp", ".3g2", ".mkv", ".webm", ".avi", ".divx"),
        *(".mpg", ".mpeg", ".vob", ".ts", ".m2ts", ".mts", ".m2t"),
    }
)
_SHOWN = 3  # names in one line


@dataclass(frozen=True)
class Found:
    """files: (file, its path relative to what was named) of each, in order. left_out: reason -> paths."""

    files: tuple[tuple[Path, Path], ...]
    left_out: Mapping[str, tuple[Path, ...]]

    def notes(self) -> list[str]:
        """A line for each reason: how many were left out, and the names of a few."""
        lines = []
        for reason, paths in self.left_out.items():
            more = f" and {len(paths) - _SHOWN} more" if len(paths) > _SHOWN else ""
            shown = ", ".join(on_one_line(str(path)) for path in paths[:_SHOWN])
            lines.append(f"left out, {reason}: {len(paths)} ({shown}{more})")
        return lines


def find_files(paths: Sequence[str | Path], output: Path | None = None) -> Found:
    """Every file that is named or lies in a named folder, at any depth, each path once; media or not.

    output: a folder that is written to, and left out where it lies below a named one.

    Raises:
      UserError: a path does not exist, or there is no file at all.
    """
    found: dict[Path, Path] = {}
    left: dict[str, list[Path]] = defaultdict(list)
    for named in map(Path, paths):
        if not named.exists():
            raise UserError(f"{on_one_line(str(named))}: no such file or folder")
        if not named.is_dir():
            found.setdefault(named, Path(named.name))
            continue
        for file, reason in walk(named, output):
            if reason:
                left[reason].append(file)
            else:
                found.setdefault(file, file.relative_to(named))
    result = Found(tuple(found.items()), {reason: tuple(files) for reason, files in left.items()})
    if not found:
        named = ", ".join(on_one_line(str(path)) for path in paths)
        raise UserError("; ".join([f"{named}: found no file, wanted images or videos", *result.notes()]))
    return result


def walk(folder: Path, output: Path | None = None) -> Iterator[tuple[Path, str]]:
    """(path, "") of every file below a folder, at any depth, in order; (path, reason) of what is left out.

    output: as for ``find_files``.
    """
    own = _written_there(folder)
    written = _identity(output) if output is not None and output.is_dir() else None
    for path, reason in _below(folder, tuple(_identities(folder.resolve())), written):
        if not reason and path in own:
            yield path, "made by an earlier run"
        else:
            yield path, reason


def media_kind(path: Path) -> str | None:
    """ "image" or "video" by the suffix of a file's name; where that does not say, by its content; else None."""
    suffix = path.suffix.lower()
    if suffix in PHOTO_SUFFIXES or suffix in VIDEO_SUFFIXES:
        return "image" if suffix in PHOTO_SUFFIXES else "video"
    try:
        return kind_of(path)
    except UnreadableMedia:
        return None


def written_for(row: Mapping) -> list[str]:
    """The pictures that ``fdetect predict`` wrote for a row of its output, as paths below the output folder."""
    written = [row["annotated"], row["heat_map"], row.get("poster"), *(one["picture"] for one in row["evidence"])]
    return [path for path in written if path]


def _below(folder: Path, above: tuple, written: tuple[int, int] | None) -> Iterator[tuple[Path, str]]:
    """above: identities of the folder and of those it was reached through. written: of the output."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        yield folder, f"cannot be opened ({error.strerror})"
        return
    folders = []
    for entry in entries:
        path = folder / entry.name
        try:
            mode = entry.stat().st_mode
        except OSError as error:
            yield path, "a link to nothing" if entry.is_symlink() else f"cannot be opened ({error.strerror})"
            continue
        if entry.name.startswith("."):
            yield path, "hidden"
        elif stat.S_ISDIR(mode):
            folders.append(path)
        elif stat.S_ISREG(mode):
            yield path, ""
        else:
            yield path, "no file"
    for path in folders:
        identity = _identity(path)
        if identity in above:
            yield path, "a link to a folder that it lies in"
        elif identity == written or (path / VERDICTS).is_file():
            yield path, "an output folder"
        else:
            yield from _below(path, (*above, identity), written)


def _identity(folder: Path) -> tuple[int, int]:
    found = os.stat(folder)
    return found.st_dev, found.st_ino


def _identities(folder: Path) -> Iterator[tuple[int, int]]:
    """Of the folder and all that it lies in: a link in fake/ to what lies above would make fakes of the real files."""
    for one in (folder, *folder.parents):
        with contextlib.suppress(OSError):
            yield _identity(one)


def _written_there(folder: Path) -> set[Path]:
    """What ``fdetect predict`` wrote into the folder, where it is its output as well as its input."""
    diary = folder / VERDICTS
    if not diary.is_file():
        return set()
    written = {diary, folder / "report.html"}
    for line in diary.read_text(errors="replace").splitlines():
        try:
            written |= {folder / name for name in written_for(from_json(line)["row"])}
        except (ValueError, KeyError, TypeError):  # a line that a kill cut off, or that somebody changed
            continue
    return written
