"""DFDC (Dolhansky et al., 2020): the parts of the training set, and the public test set.

    dfdc_train_part_N/{metadata.json, *.mp4}              (in the root or in train/)
    train_sample_videos/{metadata.json, *.mp4}            (Kaggle's sample)
    labels.csv with videos/*.mp4, or test/labels.csv with test/[videos/]*.mp4; the same in validation/

metadata.json: {"x.mp4": {"label": "REAL" | "FAKE", "split": "train", "original": "y.mp4"}}. labels.csv: filename, label
with 1 = fake. Who is filmed was not published: a fake counts as the person of its original.
"""

from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    REAL_METHOD,
    Expected,
    Item,
    Layout,
    existing,
    inside,
    json_table,
    relative,
    require,
    rows_of,
    undivided,
)
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

METHOD, KIND = "dfdc", "unknown"  # which method made a fake was not published; not all of them swap faces
_WANTED = "dfdc_train_part_N/metadata.json, or labels.csv beside videos/"
_PARTS = ("dfdc_train_part_*", "train/dfdc_train_part_*", "train_sample_videos")
_LABELS = {"REAL": REAL, "FAKE": FAKE, "0": REAL, "1": FAKE, "0.0": REAL, "1.0": FAKE}


def items(root: Path) -> list[Item]:
    """Everything that the metadata and the lists name, whether it lies there or not."""
    parts, lists = _parts(root), _lists(root)
    require(bool(parts or lists), root, _WANTED)
    found = [item for part in parts for item in _part(root, part)]
    for split, path in lists.items():
        folder = inside(path.parent)
        found += [_item(root, folder / name, label, split, None) for name, label in _labels(path)]
    return undivided(found, "an original's fakes in its own split")


def expected(root: Path) -> list[Expected]:
    """As many files as the metadata and lists name; 5000 of the public test."""
    rows = [
        Expected(relative(root, part), None, named=frozenset(Path(name).stem for name in _metadata(part)))
        for part in _parts(root)
    ]
    for part in _folders(root):
        if not (part / "metadata.json").is_file():
            rows.append(Expected(relative(root, part), 1, "metadata.json"))
    for split, path in _lists(root).items():
        named = frozenset(Path(name).stem for name, _ in _labels(path))
        rows.append(Expected(relative(root, inside(path.parent)), 5000 if split == "test" else None, named=named))
    return rows or [Expected(".", 1, "labels.csv", description=_WANTED)]


def _parts(root: Path) -> list[Path]:
    """Folders whose files can be used: ``prepare`` and ``doctor`` name the files of the others."""
    return [one for one in _folders(root) if (one / "metadata.json").is_file()]


def _folders(root: Path) -> list[Path]:
    found = [one for pattern in _PARTS for one in root.glob(pattern) if one.is_dir()]
    return sorted(found, key=lambda one: (len(one.name), one.name))


def _lists(root: Path) -> dict[str, Path]:
    where = {"test": ("labels.csv", "test/labels.csv"), "val": ("validation/labels.csv",)}
    return {
        split: next(path for path in (root / name for name in names) if path.is_file())
        for split, names in where.items()
        if any((root / name).is_file() for name in names)
    }


def _metadata(part: Path) -> dict[str, dict]:
    path = part / "metadata.json"
    found = json_table(path, "{file: {label, split, original}}")
    for name, row in found.items():
        if not isinstance(row, dict) or row.get("label") not in ("REAL", "FAKE"):
            raise UserError(f"{path}: found {row!r} for {name}, wanted a label REAL or FAKE")
    return found


def _part(root: Path, part: Path) -> list[Item]:
    return [
        _item(root, part / name, _LABELS[row["label"]], "train", row.get("original"))
        for name, row in sorted(_metadata(part).items())
    ]


def _labels(path: Path) -> list[tuple[str, int]]:
    _, rows = rows_of(path)
    for number, row in enumerate(rows, 2):
        if not row.get("filename") or (row.get("label") or "").strip() not in _LABELS:
            raise UserError(f"{path}, line {number}: found {row}, wanted filename and label (0 real, 1 fake)")
    return [(row["filename"], _LABELS[row["label"].strip()]) for row in rows]


def _item(root: Path, file: Path, label: int, split: str, original: str | None) -> Item:
    identity = f"{split}/{Path(original or file.name).stem}"
    method = METHOD if label == FAKE else REAL_METHOD
    real = existing(root, file.parent / original) if original else None
    return Item(relative(root, file), label, split, method, "dfdc", identity, identity, original=real, kind=KIND)


LAYOUT = Layout(
    "dfdc",
    items,
    expected,
    "DFDC: training parts and public test",
    "https://ai.meta.com/datasets/dfdc/",
    marks=(*_PARTS, "labels.csv", "test/labels.csv"),
)
