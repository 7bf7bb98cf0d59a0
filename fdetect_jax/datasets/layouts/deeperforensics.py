"""DeeperForensics-1.0 (Jiang et al., 2020), and other sets of that shape.

    manipulated_videos/VARIANT/TTT_ACTOR.mp4      VARIANT: end_to_end, end_to_end_level_1, reenact_postprocess, …
    lists/splits/{train,val,test}.txt             a name TTT_ACTOR.mp4 a line
    target_videos/TTT.mp4, or original_sequences/youtube/c23/videos/TTT.mp4

The real side are the targets, FaceForensics++'s originals at c23, which are not part of the download: put them, or a
link to them, into the root. ``source_videos`` are studio recordings of the actors and no real side; they are left out.
The published splits divide the actors.
"""

from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    REAL_METHOD,
    SPLITS,
    Expected,
    Item,
    Layout,
    existing,
    lines_of,
    media_in,
    relative,
    require,
    undivided,
)
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

KIND = "swap"  # of every variant
TARGETS = ("target_videos", "original_sequences/youtube/c23/videos")


def items(root: Path) -> list[Item]:
    """The fakes that a split names, in every variant, and their targets."""
    manipulated = root / "manipulated_videos"
    require(manipulated.is_dir(), root, "manipulated_videos/ with a folder for each variant")
    splits = read_splits(root)
    of_target = {stem.split("_")[0]: split for stem, split in splits.items()}
    targets = _targets(root)
    found = []
    for file in media_in(targets):
        if file.stem in of_target:
            split, name = of_target[file.stem], f"target{file.stem}"
            found.append(Item(relative(root, file), REAL, split, REAL_METHOD, "deeperforensics", name, name))
    for variant in sorted(one for one in manipulated.iterdir() if one.is_dir()):
        for file in media_in(variant):
            if file.stem in splits:
                target, _, actor = file.stem.partition("_")
                original = existing(root, targets / f"{target}.mp4")
                found.append(
                    Item(
                        relative(root, file),
                        FAKE,
                        splits[file.stem],
                        variant.name,
                        "deeperforensics",
                        f"target{target}",
                        f"actor{actor}",
                        original=original,
                        kind=KIND,
                    )
                )
    require(bool(found), root, "videos in manipulated_videos/VARIANT that lists/splits names")
    return undivided(found, "splits that share no actor")


def read_splits(root: Path) -> dict[str, str]:
    """{stem of a fake: its split}. Raises UserError where a list is missing or two name one target."""
    splits: dict[str, str] = {}
    of_target: dict[str, str] = {}
    for split in SPLITS:
        path = root / "lists" / "splits" / f"{split}.txt"
        require(path.is_file(), root, f"lists/splits/{split}.txt")
        for number, line in lines_of(path):
            stem = Path(line.split()[0]).stem
            splits[stem] = split
            other = of_target.setdefault(stem.split("_")[0], split)
            if other != split:
                raise UserError(f"{path}, line {number}: found {stem}, whose target is in {other} as well")
    return splits


def expected(root: Path) -> list[Expected]:
    """1000 fakes of each variant, 1000 targets."""
    rows = [
        Expected("lists/splits", 1, f"{split}.txt")
        for split in SPLITS
        if not (root / "lists" / "splits" / f"{split}.txt").is_file()
    ]
    manipulated = root / "manipulated_videos"
    variants = sorted(one.name for one in manipulated.iterdir() if one.is_dir()) if manipulated.is_dir() else []
    rows += [Expected(f"manipulated_videos/{variant}", 1000) for variant in variants or ["end_to_end"]]
    return [*rows, Expected(relative(root, _targets(root)), 1000)]


def _targets(root: Path) -> Path:
    return next((root / one for one in TARGETS if (root / one).is_dir()), root / TARGETS[0])


LAYOUT = Layout(
    "deeperforensics",
    items,
    expected,
    "DeeperForensics-1.0",
    "ask its authors by the form of https://github.com/EndlessSora/DeeperForensics-1.0",
    marks=("manipulated_videos", "source_videos", "lists"),
)
