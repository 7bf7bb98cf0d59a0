"""What every layout is made of. In: the folder of a download. Out: Items, and what a whole download would hold.

Labels are 0 = real and 1 = fake, whatever a data set's own lists say.
"""

import hashlib
import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.media.photos import SUFFIXES as PHOTO_SUFFIXES

SPLITS = ("train", "val", "test")
REAL_METHOD = "real"  # the method of what is not forged
VIDEO_SUFFIXES = frozenset({".mp4", ".avi", ".mov", ".mkv", ".webm", ".m4v"})
MEDIA_SUFFIXES = VIDEO_SUFFIXES | PHOTO_SUFFIXES


@dataclass(frozen=True)
class Item:
    """One video or image of a data set.

    file, mask, original: paths below the root, with "/". mask: a video that is white where the file was altered.
    original: the real video that a fake was made from. label: 0 real, 1 fake. method: of forgery, or "real". source:
    the data set. identity: who was filmed. group: what is never divided between splits. compression: where a data set
    has the same video in several.
    """

    file: str
    label: int
    split: str
    method: str
    source: str
    identity: str
    group: str
    compression: str = ""
    mask: str | None = None
    original: str | None = None

    def __post_init__(self):
        for path in filter(None, (self.file, self.mask, self.original)):
            if not is_below(path):  # lists are downloads too
                raise UserError(f"found the file {path!r}, wanted a path below the root")

    @property
    def video(self) -> str:
        """Its name among all data sets: names of files alone are not unique."""
        return f"{self.source}/{self.file}"


@dataclass(frozen=True)
class Expected:
    """What a whole download holds in one place: ``count`` files that match ``pattern`` below ``folder``.

    Where the folder is missing, that is a problem only if ``required``. named: the files that there should be, below
    the folder, where they are known; suffixes do not count. count: None where no figure was published. lines: that each
    of the files should have. said: what was looked for, where the folder and the pattern do not say it.
    """

    folder: str
    count: int | None
    pattern: str = "*.mp4"
    required: bool = True
    named: frozenset[str] | None = None
    lines: int | None = None
    said: str = ""


@dataclass(frozen=True)
class Layout:
    """A published data set's folders.

    items: root -> Items; ValueError where the root does not have this layout or its lists cannot be used. expected:
    root -> what should lie there. faces: "largest", or "all" where videos show several people. about: one line. where:
    how to come by it, or "". marks: patterns of what only this layout has in its root.
    """

    name: str
    items: Callable[[Path], list[Item]]
    expected: Callable[[Path], list[Expected]]
    about: str
    where: str
    faces: str = "largest"
    marks: tuple[str, ...] = ()


def is_below(path: str) -> bool:
    """Whether a path stays below the folder that it is relative to."""
    return not Path(path).is_absolute() and ".." not in Path(path).parts


def child(folder: Path, name: str) -> Path:
    """``folder / name`` as it is spelled on the disk: in any case. The name as given where there is none."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    wanted = name.lower()
    return next((one for one in sorted(folder.iterdir()) if one.name.lower() == wanted), exact)


def descend(folder: Path, *names: str) -> Path:
    """``child`` again and again."""
    for name in names:
        folder = child(folder, name)
    return folder


def inside(folder: Path, name: str = "videos") -> Path:
    """The folder's sub-folder of that name where there is one, else the folder: some mirrors add the level."""
    below = child(folder, name)
    return below if below.is_dir() else folder


def media_in(folder: Path, deep: bool = False, suffixes: Iterable[str] = VIDEO_SUFFIXES) -> list[Path]:
    """Files with these suffixes (in any case), sorted; hidden ones are no media. deep: of sub-folders too."""
    if not folder.is_dir():
        return []
    found = folder.rglob("*") if deep else folder.iterdir()
    return sorted(one for one in found if one.suffix.lower() in suffixes and not _hidden(one.relative_to(folder)))


def relative(root: Path, path: Path) -> str:
    """The path below the root, with "/"."""
    return path.relative_to(root).as_posix()


def existing(root: Path, path: Path) -> str | None:
    """``relative``, or None where there is no such file."""
    return relative(root, path) if path.is_file() else None


def require(found: bool, root: Path, wanted: str) -> None:
    """Raises ValueError saying what a layout looked for under ``root`` and did not find."""
    if not found:
        holds = ", ".join(sorted(one.name for one in root.iterdir())[:8]) if root.is_dir() else "no folder"
        raise UserError(f"{root}: found {holds or 'an empty folder'}, wanted {wanted}")


def undivided(items: Sequence[Item], wanted: str) -> list[Item]:
    """The items, if no group is in two splits; else ValueError with the first that is."""
    splits: dict[str, Item] = {}
    for item in items:
        first = splits.setdefault(item.group, item)
        if first.split != item.split:
            raise UserError(
                f"{item.file} is in {item.split} and {first.file} in {first.split}, and both are of {item.group!r}; "
                f"wanted {wanted}"
            )
    return list(items)


def drawn_split(group: str) -> str:
    """The split that a hash of the group draws: 90 % train, 5 % val, 5 % test. Adding groups moves none."""
    return split_at(name_hash(group)[:16], 0.9, 0.05)


def split_at(digits: str, train: float, val: float) -> str:
    """The split of a hash of 16 hex digits, where train and val have these shares in [0, 1] and test has the rest."""
    draw = int(digits, 16) / 16**16
    return SPLITS[0] if draw < train else SPLITS[1] if draw < train + val else SPLITS[2]


def connected(links: Iterable[Sequence[str]]) -> dict[str, str]:
    """From sets of names that belong together to {name: the first name, in order, of all that hang together}."""
    neighbours = defaultdict(set)
    for names in links:
        for name in names:
            neighbours[name].update(names)
    leader: dict[str, str] = {}
    for name in sorted(neighbours):
        waiting = [] if name in leader else [name]
        while waiting:
            one = waiting.pop()
            if one not in leader:
                leader[one] = name
                waiting.extend(neighbours[one])
    return leader


def name_hash(text: str) -> str:
    """SHA-256 in hex digits; published figures depend on the splits and on the training groups that it draws."""
    return hashlib.sha256(text.encode()).hexdigest()


def json_table(path: Path, wanted: str) -> dict[str, Any]:
    """The object that a JSON file holds; ValueError, saying what was wanted, where it holds anything else."""
    try:
        found = json.loads(path.read_text())
    except (ValueError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: found no JSON ({error}), wanted {wanted}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: found no table, wanted {wanted}")
    return found


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that are not blank."""
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").splitlines(), 1):
        if line.strip():
            yield number, line.strip()


def _hidden(path: Path) -> bool:
    return any(part.startswith(".") for part in path.parts)
