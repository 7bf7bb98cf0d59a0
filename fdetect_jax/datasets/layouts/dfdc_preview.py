"""DFDC preview (Dolhansky et al., 2019).

    dataset.json: {"method_A/ACTOR/…/FILE.mp4": {"label": "fake", "set": "test", …},
                   "original_videos/ACTOR/FILE.mp4": {"label": "real", "set": "train", …}}

The files lie where the keys say, or below a level ``videos/`` (method_A/videos/…), where SelfBlendedImages wants them.
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
)
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

LIST = "dataset.json"
KIND = "swap"  # of both methods
_LABELS = {"real": REAL, "fake": FAKE}
_TOTAL = {"original_videos": 1131, "method_A and method_B": 4119}


def items(root: Path) -> list[Item]:
    """Everything that dataset.json names, whether it lies there or not."""
    found = []
    for key, row in sorted(_rows(root).items()):
        label = _LABELS[row["label"]]
        folder, *rest = key.split("/")
        # The person filmed; in older copies of the file only the path says who.
        identity = str(row.get("target_id", rest[0]))
        method = folder if label == FAKE else REAL_METHOD
        file = relative(root, _place(root, key))
        found.append(Item(file, label, row["set"], method, "dfdc_preview", identity, identity, kind=KIND))
    return found


def expected(root: Path) -> list[Expected]:
    """Every file of dataset.json."""
    if not (root / LIST).is_file():
        return [Expected(".", 1, LIST)]
    rows = _rows(root)
    folders = sorted({key.split("/")[0] for key in rows})
    return [
        Expected(
            relative(root, inside(root / folder)),
            _TOTAL.get(folder),
            "**/*.mp4",
            named=frozenset(key.split("/", 1)[1] for key in rows if key.startswith(f"{folder}/")),
        )
        for folder in folders
    ]


def _rows(root: Path) -> dict[str, dict]:
    path = root / LIST
    require(path.is_file(), root, f"{LIST} beside method_A/, method_B/ and original_videos/")
    rows = json_table(path, "{file: {label, set}}")
    for key, row in rows.items():
        good = isinstance(row, dict) and row.get("label") in _LABELS and row.get("set") in ("train", "test")
        if not good or "/" not in key:
            raise UserError(f"{path}: found {row} for {key}, wanted label real or fake and set train or test")
    return rows


def _place(root: Path, key: str) -> Path:
    if existing(root, root / key) is None:
        folder, _, rest = key.partition("/")
        return inside(root / folder) / rest
    return root / key


LAYOUT = Layout(
    "dfdc_preview",
    items,
    expected,
    "DFDC preview",
    "https://ai.meta.com/datasets/dfdc/",
    marks=("dataset.json", "original_videos", "method_?"),
)
