"""The parts of a layout. In: the folder of a download. Out: Items, and what a complete download holds.

Labels are 0 = real and 1 = fake, whatever a data set's own lists say.
"""

import codecs
import contextlib
import csv
import hashlib
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.media.files import media_kind, walk
from fdetect_jax.types import KINDS, REAL

SPLITS = ("train", "val", "test")
REAL_METHOD = "real"  # the method of what is not forged
FAKE_KINDS = (*KINDS[1:], "unknown")  # what the kind of a fake can be


@dataclass(frozen=True)
class Item:
    """One video or image of a data set.

    file, mask, original: paths below the root, with "/". mask: a video that is white where the file was altered.
    original: the real video that a fake was made from. label: 0 real, 1 fake. method: of forgery, or "real". source:
    the data set. identity: who was filmed. group: what is never divided between splits. compression: where a data set
    has the same video in several. kind: of forgery, one of ``types.KINDS`` or "unknown"; "real" for every real item.
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
    kind: str = "unknown"

    def __post_init__(self):
        if self.label == REAL:
            object.__setattr__(self, "kind", KINDS[REAL])
        elif self.kind not in FAKE_KINDS:
            raise UserError(f"{self.file}: found the kind {self.kind!r}, wanted one of {', '.join(FAKE_KINDS)}")
        for path in filter(None, (self.file, self.mask, self.original)):
            if not is_below(path):  # lists are downloaded as well
                raise UserError(f"found the file {path!r}, wanted a path below the root")

    @property
    def video(self) -> str:
        """Its name among all data sets: names of files alone are not unique."""
        return f"{self.source}/{self.file}"


@dataclass(frozen=True)
class Expected:
    """What a whole download holds in one place: ``count`` files that match ``pattern`` below ``folder``.

    count: None where no figure was published. required: whether a missing folder is a problem. named: the files below
    the folder, without suffixes, where they are known. lines: the number of lines of each file. description: names what
    is expected, where folder and pattern do not.
    """

    folder: str
    count: int | None
    pattern: str = "*.mp4"
    required: bool = True
    named: frozenset[str] | None = None
    lines: int | None = None
    description: str = ""


@dataclass(frozen=True)
class Layout:
    """A published data set's folders.

    items: root -> Items; UserError where the root does not have this layout or its lists cannot be used. expected:
    root -> what should lie there. about: one line. where: how to obtain it, or "". faces: "largest", or "all" where
    videos show several people. marks: patterns of what only this layout has in its root.

    A layout becomes known to ``prepare``, ``doctor`` and every reader by ``layouts.LAYOUTS[layout.name] = layout``.
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
    """``folder / name`` with the upper and lower case that it has on the disk; unchanged where it does not exist."""
    exact = folder / name
    if exact.exists() or not folder.is_dir():
        return exact
    wanted = name.lower()
    return next((one for one in sorted(folder.iterdir()) if one.name.lower() == wanted), exact)


def descend(folder: Path, *names: str) -> Path:
    """``child`` for each name in turn."""
    for name in names:
        folder = child(folder, name)
    return folder


def inside(folder: Path, name: str = "videos") -> Path:
    """The folder's sub-folder of that name where it exists, else the folder: some mirrors add the level."""
    below = child(folder, name)
    return below if below.is_dir() else folder


def media_in(folder: Path, deep: bool = False, images: bool = False) -> list[Path]:
    """The videos in a folder, sorted; see ``media.files``. deep: of sub-folders too. images: photographs too."""
    if not folder.is_dir():
        return []
    wanted = ("video", "image") if images else ("video",)
    if deep:
        found = [path for path, reason in walk(folder) if not reason]
    else:
        found = [path for path in folder.iterdir() if not path.name.startswith(".") and path.is_file()]
    return sorted(path for path in found if media_kind(path) in wanted)


def relative(root: Path, path: Path) -> str:
    """The path below the root, with "/". Raises UserError where it lies elsewhere, as a list may say."""
    if not path.is_relative_to(root):
        raise UserError(f"found the file {path}, wanted a path below {root}")
    return path.relative_to(root).as_posix()


def existing(root: Path, path: Path) -> str | None:
    """``relative``, or None where there is no such file."""
    return relative(root, path) if path.is_file() else None


def require(found: bool, root: Path, wanted: str) -> None:
    """Raises UserError, naming what a layout wanted under ``root``, unless it was ``found``."""
    if not found:
        holds = ", ".join(sorted(one.name for one in root.iterdir())[:8]) if root.is_dir() else "no folder"
        raise UserError(f"{root}: found {holds or 'an empty folder'}, wanted {wanted}")


def undivided(items: Sequence[Item], wanted: str) -> list[Item]:
    """The items. Raises UserError where a group is in two splits."""
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
    """Connected components of sets of names that belong together: {name: the first name of its component}."""
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
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()


def json_table(path: Path, wanted: str) -> dict[str, Any]:
    """The object that a JSON file holds. Raises UserError, naming what was ``wanted``, for any other content."""
    try:
        found = from_json(text_of(path))
    except ValueError as error:
        raise UserError(f"{path}: found no JSON ({error}), wanted {wanted}") from None
    if not isinstance(found, dict):
        raise UserError(f"{path}: found no table, wanted {wanted}")
    return found


def text_of(path: Path) -> str:
    """The content of a text file in UTF-8, in UTF-16 (PowerShell's lists) or in cp1252 (Excel's tables).

    Raises UserError where it is none of these.
    """
    content = path.read_bytes()
    wide = _utf_16(content)
    for encoding in (wide,) if wide else ("utf-8-sig", "cp1252"):
        with contextlib.suppress(UnicodeDecodeError):
            text = content.decode(encoding)
            if "\0" not in text:
                return text.replace("\r\n", "\n").replace("\r", "\n")
    raise UserError(f"{path}: found bytes that are no text, wanted UTF-8, UTF-16 or cp1252")


def _utf_16(content: bytes) -> str | None:
    """The encoding of content in UTF-16, with its mark or, by the zeros of its letters, without; else None."""
    if content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    first, second = content[0::2].count(0), content[1::2].count(0)
    if len(content) % 2 or 4 * max(first, second) < len(content):
        return None
    return "utf-16-be" if first > second else "utf-16-le"


def listed(path: str) -> str:
    """A path as a list names it, with "/" where the list was made on Windows."""
    return path.replace("\\", "/")


def rows_of(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns of a table with a header, in small letters, and its rows: CSV with commas, semicolons or tabs.

    Raises UserError where it is no table.
    """
    text = text_of(path).lstrip("\n")
    delimiter = max(",;\t", key=text.partition("\n")[0].count)
    reader = csv.DictReader(io.StringIO(text), delimiter=delimiter, skipinitialspace=True)
    try:
        columns = reader.fieldnames = [name.strip().lower() for name in reader.fieldnames or []]
        return columns, [{name: (text or "").strip() for name, text in row.items() if name} for row in reader]
    except csv.Error as error:
        raise UserError(f"{path}: found no table ({error}), wanted a header and rows") from None


def lines_of(path: Path) -> Iterator[tuple[int, str]]:
    """(number from 1, text) of the lines that are not blank."""
    for number, line in enumerate(text_of(path).splitlines(), 1):
        if line.strip():
            yield number, line.strip()
