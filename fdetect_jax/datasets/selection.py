"""Which of a data set's items are prepared. In: Items and a Selection. Out: fewer Items, in a fixed order."""

from collections.abc import Sequence
from dataclasses import dataclass

from fdetect_jax.datasets.layouts.base import REAL_METHOD, SPLITS, Item, name_hash
from fdetect_jax.errors import UserError
from fdetect_jax.types import REAL


@dataclass(frozen=True)
class Selection:
    """splits: some of train, val, test. methods: of forgery, or "real"; None: all. A method brings the real videos of
    its data set. compression: one of those that the items have; needed where there are several. train_fraction: in
    (0, 1], share of the training groups; groups are taken in the order of a hash of their name, so that the choice is
    the same everywhere and a larger fraction contains a smaller one.

    The paper trains on 10 % of FaceForensics++: 0.1 there takes 36 of 360 pairs, 72 original videos.
    """

    splits: tuple[str, ...] = SPLITS
    methods: tuple[str, ...] | None = None
    compression: str | None = None
    train_fraction: float = 1.0

    def __post_init__(self):
        unknown = [split for split in self.splits if split not in SPLITS]
        if unknown or not self.splits:
            raise UserError(f"split: found {list(self.splits)}, wanted some of {', '.join(SPLITS)}")
        if not 0 < self.train_fraction <= 1:
            raise UserError(f"train fraction: found {self.train_fraction}, wanted a number in (0, 1]")


def select(items: Sequence[Item], selection: Selection) -> list[Item]:
    """The chosen items, by split and file.

    Raises:
        UserError: names the option that fits no item, or that is needed.
    """
    items = _of_compression(items, selection.compression)
    if selection.methods is not None:
        items = _of_methods(items, selection.methods)
    items = [item for item in items if item.split in selection.splits]
    if selection.train_fraction < 1:
        groups = sorted({item.group for item in items if item.split == "train"}, key=name_hash)
        kept = set(groups[: max(1, round(selection.train_fraction * len(groups)))])
        items = [item for item in items if item.split != "train" or item.group in kept]
    if not items:
        raise UserError(f"nothing is left of {selection}")
    return sorted(items, key=lambda item: (SPLITS.index(item.split), item.file))


def _of_compression(items: Sequence[Item], wanted: str | None) -> list[Item]:
    found = sorted({item.compression for item in items})
    if wanted is None and len(found) > 1:
        raise UserError(f"compression: found {', '.join(found)}, wanted one of them chosen")
    if wanted is not None and wanted not in found:
        raise UserError(f"compression: found {wanted!r}, wanted {_listed([one for one in found if one])}")
    return [item for item in items if wanted in (None, item.compression)]


def _of_methods(items: Sequence[Item], wanted: Sequence[str]) -> list[Item]:
    found = sorted({item.method for item in items})
    for method in wanted:
        if method not in found:
            raise UserError(f"methods: found {method!r}, wanted {_listed(found)}")
    sources = {item.source for item in items if item.method in wanted and item.method != REAL_METHOD}
    return [item for item in items if item.method in wanted or (item.label == REAL and item.source in sources)]


def _listed(names: Sequence[str]) -> str:
    return f"one of {', '.join(names)}" if names else "nothing: there is no choice in this data set"
