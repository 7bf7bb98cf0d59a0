"""Checks of a download, or of prepared shards. In: its folder. Out: lines to show, and whether there is no problem."""

from collections.abc import Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.datasets import audit
from fdetect_jax.datasets.layouts import LAYOUTS, Item, Layout, find_layout
from fdetect_jax.datasets.layouts.base import Expected, descend, lines_of
from fdetect_jax.datasets.left_out import HARMLESS, listing
from fdetect_jax.datasets.manifest import MANIFEST, read_manifest
from fdetect_jax.datasets.progress import watched
from fdetect_jax.errors import UserError
from fdetect_jax.files import sha256_of
from fdetect_jax.media.files import Found, media_kind
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.whole import check_whole

_UNFINISHED = (".part", ".crdownload", ".download", ".aria2", ".tmp", ".partial", ".!ut")
_PACKED = (".zip", ".tar", ".tgz", ".gz", ".7z", ".rar")
_SHOWN = 8  # names in one line
_SECONDS = 300.0  # the most that one file may take


@dataclass(frozen=True)
class Finding:
    """kind: "missing", "misnamed", "corrupt", "unusable", "leftover", "shortcut" or "note"; all but the last two are
    problems."""

    kind: str
    text: str


def examine(
    root: Path, name: str | None = None, open_files: bool = True, workers: int | None = None
) -> tuple[list[str], bool]:
    """Checks a download; or the output of ``prepare``, whose shards are compared with their hashes.

    Args:
        name: of a layout; None: guessed. open_files: whether to read every video and image to its end, and to look for
            shortcuts (``audit``). workers: number
            of processes that do; None: one per core.

    Returns:
        lines to show, and whether there is no problem.

    Raises:
        UserError: no such folder or name, or no layout that fits.
    """
    if not root.is_dir():
        raise UserError(f"{root}: found no folder, wanted a download")
    if name is None and (root / MANIFEST).is_file():
        return _examine_prepared(root)
    layout = find_layout(name) if name else guess(root)
    lines = [f"{root}: {layout.about} ({layout.name})"]
    result: list[Finding] = []
    items: list[Item] = []
    try:
        for expected in layout.expected(root):
            result += _compare(root, expected)
        items = layout.items(root)
    except UserError as error:
        result.append(Finding("unusable", str(error)))
    found = listing(root, items)
    result = [*_leftovers(found), *result, *_absent(root, items), *_left_out(found)]
    if open_files:
        result += _opened(root, items, workers)
        result += [Finding("shortcut", line) for line in audit.lines(audit.measure(root, items, workers))]
    lines += [f"  {split}: {text}" for split, text in _counts(items).items()]
    lines += [f"{one.kind:9s} {one.text}" for one in dict.fromkeys(result)]
    sound = all(one.kind in ("note", "shortcut") for one in result)
    if layout.where and not sound:
        lines.append(f"where it comes from: {layout.where}")
    return lines, sound


def _examine_prepared(root: Path) -> tuple[list[str], bool]:
    manifest = read_manifest(root)
    lines = [f"{root}: prepared from {manifest['data_set']}, {len(manifest['shards'])} files with their hashes"]
    for name, wanted in watched(manifest["shards"].items(), 0, len(manifest["shards"]), "reading", "file"):
        if not (root / name).is_file():
            lines.append(f"missing   {name}")
        elif (found := sha256_of(root / name)) != wanted:
            lines.append(f"corrupt   {name}: SHA-256 {found}, written was {wanted}")
    return lines, len(lines) == 1


def guess(root: Path) -> Layout:
    """The layout that has most of its marks in the folder. Raises UserError where none has any."""
    found = {layout.name: sum(_has(root, mark) for mark in layout.marks) for layout in LAYOUTS.values()}
    best = max(found, key=found.__getitem__)
    if not found[best]:
        marks = "; ".join(f"{one.name}: {', '.join(one.marks)}" for one in LAYOUTS.values())
        raise UserError(f"{root}: found no known layout, wanted one of these ({marks}), or its --name")
    return LAYOUTS[best]


def _has(root: Path, mark: str) -> bool:
    """Whether something matches a pattern, in any upper and lower case."""
    letters = "".join(f"[{one.lower()}{one.upper()}]" if one.isalpha() else one for one in mark)
    return any(root.glob(letters))


def _compare(root: Path, expected: Expected) -> Iterator[Finding]:
    folder = root / expected.folder
    if not folder.is_dir():
        spelled = descend(root, *Path(expected.folder).parts)
        if spelled.is_dir():
            yield Finding("misnamed", f"{spelled.relative_to(root).as_posix()}/, wanted {expected.folder}/")
        elif expected.required:
            many = f"{expected.count} files " if expected.count else "files "
            yield Finding("missing", f"{expected.folder}/ with {many}{expected.pattern}")
        return
    if expected.lines is not None:
        for path in folder.glob(expected.pattern):
            if (found := len(list(lines_of(path)))) != expected.lines:
                yield Finding("corrupt", f"{path.relative_to(root)}: {found} lines, published were {expected.lines}")
    present = {_stem(one.relative_to(folder)) for one in folder.glob(expected.pattern) if one.is_file()}
    wanted = {_stem(Path(one)) for one in expected.named or ()}
    if absent := sorted(wanted - present):
        yield Finding("missing", f"{expected.folder}/: {len(absent)} of {len(wanted)} files: {_some(absent)}")
    elif not present or (expected.count or 0) > len(present):
        what = expected.description or f"{expected.folder}/{expected.pattern}"
        yield Finding("missing", f"{what}: {len(present)} files, wanted {expected.count or 'at least one'}")
    elif expected.count and len(present) > expected.count:
        yield Finding("note", f"{expected.folder}/: {len(present)} files, published were {expected.count}")
    if expected.named is not None and (strange := sorted(present - wanted)):
        yield Finding("misnamed", f"{expected.folder}/: {_files(strange)} that no list names: {_some(strange)}")


def _stem(path: Path) -> str:
    return path.with_suffix("").as_posix()


def _leftovers(found: Found) -> Iterator[Finding]:
    unfinished, packed, empty = [], [], []
    for path, name in found.files:
        suffix, shown = path.suffix.lower(), name.as_posix()
        if suffix in _UNFINISHED:
            unfinished.append(shown)
        elif suffix in _PACKED:
            packed.append(shown)
        elif not path.stat().st_size and media_kind(path) is not None:
            empty.append(shown)
    for found, what in ((unfinished, "that did not finish downloading"), (packed, "to unpack, or to remove")):
        if found:
            yield Finding("leftover", f"{_files(found)} {what}: {_some(sorted(found))}")
    if empty:
        yield Finding("corrupt", f"{_files(empty)} of no bytes: {_some(sorted(empty))}")


def _absent(root: Path, items: Sequence[Item]) -> Iterator[Finding]:
    absent = sorted(item.file for item in items if not (root / item.file).is_file())
    if absent:
        yield Finding("missing", f"{_files(absent)} that a list names: {_some(absent)}")


def _left_out(found: Found) -> Iterator[Finding]:
    for reason, paths in found.left_out.items():
        kind = "note" if reason in HARMLESS else "unusable"
        yield Finding(kind, f"left out, {reason}: {len(paths)} ({_some(sorted(path.as_posix() for path in paths))})")


def _opened(root: Path, items: Sequence[Item], workers: int | None) -> Iterator[Finding]:
    names = sorted({name for item in items for name in (item.file, item.mask) if name})
    names = [name for name in names if (root / name).is_file() and (root / name).stat().st_size]
    if not names:
        return
    reasons: dict[str, list[str]] = {}
    looked = run_isolated(check_whole, [root / name for name in names], workers=workers, seconds=_SECONDS)
    with closing(looked) as results:
        shown = watched(results, 0, len(names), "opening", "file")
        for name, result in zip(names, shown, strict=True):
            if isinstance(result, Rejected):
                reasons.setdefault(result.reason.partition(":")[0], []).append(f"{name} ({result.reason})")
    for found in reasons.values():
        yield Finding("corrupt", f"{_files(found)}: {_some(found)}")


def _counts(items: Sequence[Item]) -> dict[str, str]:
    counts: dict[str, dict[str, int]] = {}
    for item in items:
        of_split = counts.setdefault(item.split, {})
        of_split[item.method] = of_split.get(item.method, 0) + 1
    return {split: ", ".join(f"{n} {method}" for method, n in rows.items()) for split, rows in counts.items()}


def _files(names: Sequence[str]) -> str:
    return "1 file" if len(names) == 1 else f"{len(names)} files"


def _some(names: Sequence[str]) -> str:
    rest = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
