"""FaceForensics++ (Rössler et al., 2019), with DeepFakeDetection and its actors, as the authors' script downloads it.

    original_sequences/{youtube,actors}/{raw,c23,c40}/videos/*.mp4
    manipulated_sequences/METHOD/{raw,c23,c40,masks}/videos/*.mp4
    splits/{train,val,test}.json          (or directly in the root, as SelfBlendedImages has them)

A pair [a, b] of the splits stands for the originals a and b and the fakes a_b and b_a. DeepFakeDetection has no
published splits and is a test set throughout, the usual protocol; its source is "dfd".
"""

from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    REAL_METHOD,
    SPLITS,
    Expected,
    Item,
    Layout,
    existing,
    media_in,
    relative,
    require,
    text_of,
    undivided,
)
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.types import FAKE, REAL

METHODS = {  # and their kinds
    "Deepfakes": "swap",
    "Face2Face": "reenactment",
    "FaceSwap": "swap",
    "NeuralTextures": "reenactment",
    "FaceShifter": "swap",
}
ACTORS = "DeepFakeDetection"
KINDS = METHODS | {ACTORS: "swap"}
COMPRESSIONS = ("raw", "c0", "c23", "c40")  # c0 is an older name of raw


def items(root: Path) -> list[Item]:
    """Every video that is there and belongs to a split, in all compressions."""
    require((root / "original_sequences").is_dir(), root, "original_sequences/ and manipulated_sequences/")
    pairs = [(split, a, b) for split, both in read_splits(root).items() for a, b in both]
    where = {name: (split, f"{a}+{b}") for split, a, b in pairs for name in (a, b, f"{a}_{b}", f"{b}_{a}")}
    found = []
    for compression in COMPRESSIONS:
        youtube = _original(root, "youtube", compression)
        folders = {REAL_METHOD: youtube} | {method: _manipulated(root, method, compression) for method in METHODS}
        for method, folder in folders.items():
            for file in media_in(folder):
                if file.stem in where and ("_" in file.stem) == (method != REAL_METHOD):
                    split, group = where[file.stem]
                    target = file.stem.split("_")[0]
                    original = None if method == REAL_METHOD else existing(root, youtube / f"{target}{file.suffix}")
                    found.append(_item(root, file, split, group, method, target, compression, original))
        folders = {
            REAL_METHOD: _original(root, "actors", compression),
            ACTORS: _manipulated(root, ACTORS, compression),
        }
        for method, folder in folders.items():
            for file in media_in(folder):
                actor = "actor" + file.stem.split("_")[0]
                found.append(_item(root, file, "test", actor, method, actor, compression, source="dfd"))
    require(bool(found), root, "videos in original_sequences/youtube/{raw,c23,c40}/videos")
    return undivided(found, "splits that share no video")


def read_splits(root: Path) -> dict[str, list[tuple[str, str]]]:
    """The pairs of each split.

    Raises UserError for a file that is missing or is no list of pairs, and for an id that is in two pairs.
    """
    splits: dict[str, list[tuple[str, str]]] = {}
    seen: dict[str, str] = {}
    for split in SPLITS:
        path = splits_file(root, split)
        require(path is not None, root, f"the official splits/{split}.json, of the repository ondyari/FaceForensics")
        try:
            pairs = [(str(a), str(b)) for a, b in from_json(text_of(path))]
        except (ValueError, TypeError) as error:
            raise UserError(f"{path}: found no list of pairs ({error}), wanted [[id, id], …]") from None
        for name in (name for pair in pairs for name in pair):
            if name in seen:
                raise UserError(f"{path}: found {name} in {split} and before in {seen[name]}, wanted each id once")
            seen[name] = split
        splits[split] = pairs
    return splits


def splits_file(root: Path, split: str) -> Path | None:
    """Where a split's list lies, or None."""
    for folder in ("splits", ".", "dataset/splits"):
        path = root / folder / f"{split}.json"
        if path.is_file():
            return path
    return None


def expected(root: Path) -> list[Expected]:
    """1000 originals and 1000 fakes of each method, in every compression that is there; 363 and 3068 with actors."""
    splits = {split: splits_file(root, split) for split in SPLITS}
    lists = [Expected("splits", 1, f"{split}.json") for split, path in splits.items() if path is None]
    ids = pairs = None
    if not lists:
        both = [pair for split in read_splits(root).values() for pair in split]
        ids = frozenset(name for pair in both for name in pair)
        pairs = frozenset(name for a, b in both for name in (f"{a}_{b}", f"{b}_{a}"))
    have = [one for one in COMPRESSIONS if _original(root, "youtube", one).is_dir()]
    rows = []
    for compression in have or ["c23"]:
        rows.append(Expected(f"original_sequences/youtube/{compression}/videos", 1000, named=ids))
        rows.append(Expected(f"original_sequences/actors/{compression}/videos", 363, required=False))
        rows.append(Expected(f"manipulated_sequences/{ACTORS}/{compression}/videos", 3068, required=False))
    for method in METHODS:
        rows += [
            Expected(f"manipulated_sequences/{method}/{kind}/videos", 1000, required=False, named=pairs)
            for kind in (*COMPRESSIONS, "masks")
        ]
    return lists + rows


def _item(
    root: Path,
    file: Path,
    split: str,
    group: str,
    method: str,
    identity: str,
    compression: str,
    original: str | None = None,
    source: str = "faceforensics",
) -> Item:
    label = REAL if method == REAL_METHOD else FAKE
    mask = existing(root, _manipulated(root, method, "masks") / file.name) if label == FAKE else None
    compression = "raw" if compression == "c0" else compression
    kind = KINDS.get(method, "unknown")
    return Item(relative(root, file), label, split, method, source, identity, group, compression, mask, original, kind)


def _original(root: Path, kind: str, compression: str) -> Path:
    return root / "original_sequences" / kind / compression / "videos"


def _manipulated(root: Path, method: str, compression: str) -> Path:
    return root / "manipulated_sequences" / method / compression / "videos"


LAYOUT = Layout(
    "faceforensics",
    items,
    expected,
    "FaceForensics++, all methods and compressions, and DeepFakeDetection",
    "ask its authors for the download script: https://github.com/ondyari/FaceForensics",
    marks=("original_sequences", "manipulated_sequences"),
)
