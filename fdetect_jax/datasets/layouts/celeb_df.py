"""Celeb-DF v2 (Li et al., 2020); v1 has the same folders.

    Celeb-real/idA_CLIP.mp4  YouTube-real/NNNNN.mp4  Celeb-synthesis/idA_idB_CLIP.mp4  List_of_testing_videos.txt

SelfBlendedImages wants a level ``videos/`` below each folder and spells Youtube-real; both are read. In the list **1
means real**: labels come from the folders, and a list that contradicts them is refused. What the list does not name is
for training; there is no validation split. As published, test and training share celebrities.
"""

from pathlib import Path

from fdetect_jax.datasets.layouts.base import (
    REAL_METHOD,
    Expected,
    Item,
    Layout,
    child,
    existing,
    inside,
    lines_of,
    listed,
    media_in,
    relative,
    require,
)
from fdetect_jax.errors import UserError
from fdetect_jax.types import FAKE, REAL

FOLDERS = {"Celeb-real": REAL, "YouTube-real": REAL, "Celeb-synthesis": FAKE}
LIST = "List_of_testing_videos.txt"
KIND = "swap"  # of every fake


def items(root: Path) -> list[Item]:
    """What lies in the three folders, and what the list names, whether it lies there or not."""
    folders = {name: inside(child(root, name)) for name in FOLDERS}
    require(any(map(Path.is_dir, folders.values())), root, ", ".join(FOLDERS))
    test = read_list(root)
    found = []
    for name, folder in folders.items():
        named = {file for where, file in test if where == name}
        present = {file.name for file in media_in(folder)}
        for file in sorted(present | named):
            found.append(_item(root, name, folder, file, "test" if file in named else "train"))
    return found


def read_list(root: Path) -> set[tuple[str, str]]:
    """{(folder, file)} of the test set.

    Raises UserError for a line that is no label and path, for a label other than the folder's, and where the list is
    missing: training would take in the test set.
    """
    path = child(root, LIST)
    require(path.is_file(), root, f"{LIST}, which says what is the test set")
    spelled = {name.lower(): name for name in FOLDERS}
    named = set()
    for number, line in lines_of(path):
        first, _, file = line.partition(" ")
        parts = listed(file.strip()).split("/")
        folder = spelled.get(parts[0].lower())
        if first not in ("0", "1") or len(parts) < 2 or folder is None:
            raise UserError(f"{path}, line {number}: found {line!r}, wanted LABEL FOLDER/FILE of {', '.join(FOLDERS)}")
        if 1 - int(first) != FOLDERS[folder]:
            wanted = f"{1 - FOLDERS[folder]}, for here 1 means real"
            raise UserError(f"{path}, line {number}: found label {first} for {folder}, wanted {wanted}")
        named.add((folder, parts[-1]))
    return named


def expected(root: Path) -> list[Expected]:
    """Of v2: 590, 300 and 5639 videos, and a list of 518; a list of 100 is v1's, with 795 fakes."""
    path = child(root, LIST)
    first = path.is_file() and len(list(lines_of(path))) == 100
    counts = dict(zip(FOLDERS, (None, None, 795) if first else (590, 300, 5639), strict=True))
    rows = [Expected(".", 1, path.name, lines=100 if first else 518)]
    return rows + [Expected(relative(root, inside(child(root, name))), count) for name, count in counts.items()]


def _item(root: Path, name: str, folder: Path, file: str, split: str) -> Item:
    stem = Path(file).stem
    method, original = REAL_METHOD, None
    identity = stem.split("_")[0] if name != "YouTube-real" else f"youtube{stem}"
    if name == "Celeb-synthesis":
        method = name
        real = inside(child(root, "Celeb-real")) / f"{identity}_{stem.rsplit('_', 1)[-1]}.mp4"
        original = existing(root, real)
    where = relative(root, folder / file)
    return Item(where, FOLDERS[name], split, method, "celeb_df", identity, identity, original=original, kind=KIND)


LAYOUT = Layout(
    "celeb_df",
    items,
    expected,
    "Celeb-DF v2 (or v1)",
    "ask its authors by the form of https://github.com/yuezunli/celeb-deepfakeforensics",
    marks=("Celeb-real", "Celeb-synthesis"),
)
