"""FFIW10K (Zhou et al., 2021): videos of several people, of whom some are forged.

    [FFIW10K-v1-release/]{source,target,target_mask}/{train,val}/[videos/]*.mp4

source is real and target fake. train and val were released; papers test on val, so it is called test here. A fake's
label is the video's, also for the faces in it that are unaltered; ``target_mask`` shows them, and training on the data
set's fakes leaves them out.
"""

from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    REAL_METHOD,
    Expected,
    Item,
    Layout,
    existing,
    inside,
    media_in,
    relative,
    require,
)
from fdetect_jax.types import FAKE, REAL

METHOD, KIND = "ffiw", "swap"
SPLIT_OF = {"train": "train", "val": "test"}


def items(root: Path) -> list[Item]:
    """All videos of source and target."""
    top = _top(root)
    found = []
    for part, split in SPLIT_OF.items():
        reals = inside(top / "source" / part)
        for folder, label in ((reals, REAL), (inside(top / "target" / part), FAKE)):
            for file in media_in(folder):
                name = f"{part}/{file.stem}"
                mask = original = None
                if label == FAKE:
                    mask = existing(root, inside(top / "target_mask" / part) / file.name)
                    original = existing(root, reals / file.name)
                method = METHOD if label == FAKE else REAL_METHOD
                file = relative(root, file)
                found.append(Item(file, label, split, method, "ffiw", name, name, "", mask, original, KIND))
    require(bool(found), root, "videos in source/{train,val} and target/{train,val}")
    return found


def expected(root: Path) -> list[Expected]:
    """250 real and 250 fake videos in val; how many there are in train was not published."""
    top = _top(root)
    counts = {"train": None, "val": 250}
    return [
        Expected(relative(root, inside(top / kind / part)), counts[part], required=part == "val")
        for part in SPLIT_OF
        for kind in ("source", "target")
    ]


def _top(root: Path) -> Path:
    return next((one for one in sorted(root.glob("FFIW10K*")) if one.is_dir()), root)


LAYOUT = Layout(
    "ffiw",
    items,
    expected,
    "FFIW10K, several faces in a video",
    "ask its authors by the form of https://github.com/tfzhou/FFIW",
    faces="all",
    marks=("FFIW10K*", "source", "target", "target_mask"),
)
