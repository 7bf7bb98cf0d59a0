"""What a data set's folder holds and no item uses. In: its folder and its items. Out: names, by reason."""

from collections.abc import Sequence
from pathlib import Path

from fdetect_jax.datasets.layouts.base import Item, relative
from fdetect_jax.media.files import Found, media_kind, walk

UNUSED = "media that no list or folder of the data set names"
HARMLESS = ("hidden", "an output folder", "made by an earlier run", UNUSED)  # reasons that are no fault of a download


def listing(root: Path, items: Sequence[Item], output: Path | None = None) -> Found:
    """Every file below the root; in ``left_out`` those that were passed over, and media that no item uses.

    output: a folder that is written to, see ``media.files.find_files``.
    """
    used = {name for item in items for name in (item.file, item.mask, item.original) if name}
    files, left = [], {}
    for path, reason in walk(root, output):
        if reason:
            left.setdefault(reason, []).append(path.relative_to(root))
            continue
        files.append((path, path.relative_to(root)))
        if items and relative(root, path) not in used and media_kind(path) is not None:
            left.setdefault(UNUSED, []).append(path.relative_to(root))
    return Found(tuple(files), {reason: tuple(paths) for reason, paths in left.items()})
