"""A folder of one's own: real/ and fake/, or a table.

    [train/ val/ test/]  real/[PERSON/]*   fake/[METHOD/]*          videos and images, in any depth
    manifest.csv: file,label[,split,method,source,identity,group,mask,original,kind]

In the folders, the first sub-folder of real/ names a person and that of fake/ a method. In the table, file, mask and
original are paths below the root, label is real, fake, 0 or 1, and kind is one of ``types.KINDS`` or unknown. Other
columns are ignored; path stands for file, generator for method, and type for kind, where it may say "entire" or "none"
(of a real one). source names the data set or the camera that a file comes from. group is
what must stay in one split: the identity where the column is absent or empty, and the file without that. Where no split
stands in the table, a hash of the group draws one: 90 % train, 5 % val, 5 % test; a fake that names an original is in
the split of the original. Only a table can say of whom a fake was made: in plain folders a person's fakes can be in
another split than the person.
"""

from collections.abc import Iterator
from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    FAKE_KINDS,
    REAL_METHOD,
    SPLITS,
    Expected,
    Item,
    Layout,
    child,
    connected,
    drawn_split,
    is_below,
    listed,
    media_in,
    relative,
    require,
    rows_of,
    undivided,
)
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

TABLE = "manifest.csv"
COLUMNS = ("file", "label", "split", "method", "source", "identity", "group", "mask", "original", "kind")
_ALSO = {"path": "file", "generator": "method", "type": "kind"}  # other names of columns
_KINDS = {"entire": "entire synthesis", "none": ""}  # other names of kinds
_LABELS = {"real": REAL, "fake": FAKE, "0": REAL, "1": FAKE, "0.0": REAL, "1.0": FAKE}


def items(root: Path) -> list[Item]:
    """What the table names, where there is one; else what lies in real/ and fake/."""
    path = root / TABLE
    found = _table(path) if path.is_file() else list(_folders(root))
    require(bool(found), root, f"{TABLE}, or videos and images in real/ and fake/")
    return undivided(found, "each group in one split")


def expected(root: Path) -> list[Expected]:
    """Real files; fakes may be made of them."""
    if (root / TABLE).is_file():
        return []  # the table's items show what is missing
    return [Expected(relative(root, where), None, "**/*", required=label == REAL) for where, label, _ in _places(root)]


def _places(root: Path) -> list[tuple[Path, int, str | None]]:
    tops = [(child(root, split), split) for split in SPLITS if child(root, split).is_dir()] or [(root, None)]
    return [(child(top, name), label, split) for top, split in tops for name, label in (("real", REAL), ("fake", FAKE))]


def _folders(root: Path) -> Iterator[Item]:
    for folder, label, split in _places(root):
        for file in media_in(folder, deep=True, images=True):
            parts = file.relative_to(folder).parts
            where = relative(root, file)
            identity = where if label == FAKE or len(parts) == 1 else f"{split or ''}/{parts[0]}"
            method = REAL_METHOD if label == REAL else parts[0] if len(parts) > 1 else "fake"
            yield Item(where, label, split or drawn_split(identity), method, "folder", identity, identity)


def _table(path: Path) -> list[Item]:
    columns, rows = rows_of(path)
    also = {other: name for other, name in _ALSO.items() if other in columns and name not in columns}
    if not {"file", "label"} <= {*columns, *also.values()}:
        raise UserError(f"{path}: found columns {columns}, wanted file, label and any of {', '.join(COLUMNS[2:])}")
    for row in rows:
        row |= {name: row[other] for other, name in also.items()}
        row |= {name: listed(row[name]) for name in ("file", "mask", "original") if name in row}
        row["kind"] = _KINDS.get(kind := row.get("kind", ""), kind)
    seen: set[str] = set()
    for number, row in enumerate(rows, 2):
        _check(path, number, row)
        if row["file"] in seen:
            raise UserError(f"{path}, line {number}: found {row['file']} again, wanted each file once")
        seen.add(row["file"])
    free = [row for row in rows if not row.get("split")]
    groups = connected([_group(row), row["file"], *filter(None, [row.get("original")])] for row in free)
    return [_row(row, groups) for row in rows]


def _group(row: dict[str, str]) -> str:
    return row.get("group") or row.get("identity") or row["file"]


def _check(path: Path, number: int, row: dict[str, str]) -> None:
    wanted = None
    label = _LABELS.get(row["label"].lower())
    if label is None:
        wanted = f"label {row['label']!r}, wanted real, fake, 0 or 1"
    elif row.get("split") and row["split"] not in SPLITS:
        wanted = f"split {row['split']!r}, wanted {', '.join(SPLITS)} or nothing"
    elif (row.get("kind") or "unknown") not in (kinds := FAKE_KINDS if label == FAKE else (REAL_METHOD, "unknown")):
        wanted = f"kind {row['kind']!r}, wanted {', '.join(kinds)} or nothing"
    for name in ("file", "mask", "original"):
        text = row.get(name)
        if (name == "file" and not text) or (text and not is_below(text)):
            wanted = f"{name} {text!r}, wanted a path below {path.parent}"
    if wanted:
        raise UserError(f"{path}, line {number}: found {wanted}")


def _row(row: dict[str, str], groups: dict[str, str]) -> Item:
    label, group = _LABELS[row["label"].lower()], _group(row)
    if not row.get("split"):
        group = groups[group]
    method = row.get("method") or (REAL_METHOD if label == REAL else "fake")
    return Item(
        row["file"],
        label,
        row.get("split") or drawn_split(group),
        REAL_METHOD if label == REAL else method,
        row.get("source") or "folder",
        row.get("identity") or row["file"],
        group,
        mask=row.get("mask") or None,
        original=row.get("original") or None,
        kind=row.get("kind") or "unknown",
    )


LAYOUT = Layout(
    "folder",
    items,
    expected,
    "real/ and fake/, or manifest.csv",
    "",
    marks=("real", "fake", "manifest.csv", "train/real", "test/real"),
)
