"""The interface of a source of face crops."""

from typing import Protocol

import numpy as np

from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.types import Example


class Source(Protocol):
    """Random access to face crops of one size.

    recipe: how they were cropped, None if they were not cropped. fingerprint: equal for equal crops in equal order.
    groups: (N,) int, equal for the crops that belong together: one person's photographs, or one person's frames of a
    video. video: whether a group is a video, which is scored as a whole.
    """

    @property
    def size(self) -> int: ...
    @property
    def recipe(self) -> CropRecipe | None: ...
    @property
    def fingerprint(self) -> str: ...
    @property
    def groups(self) -> np.ndarray: ...
    @property
    def video(self) -> bool: ...
    def __len__(self) -> int: ...
    def __getitem__(self, index: int) -> Example: ...


def describe(error: Exception) -> str:
    """The message of an error; with its type unless it is a ValueError."""
    return str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"


def spread(groups: np.ndarray, count: int, seed: int = 0) -> list[int]:
    """``count`` indices drawn over groups: one crop of each group, then a second of each, and so on.

    groups: (N,) of ``Source.groups``. seed: of the order of the groups, and of the crops within each.
    """
    rng = np.random.default_rng((seed, 0x5EED))
    order = rng.permutation(len(groups))
    seen: dict[int, int] = {}
    ranks = np.empty(len(groups), np.int64)
    for index in order:
        group = int(groups[index])
        ranks[index] = seen.get(group, 0)
        seen[group] = ranks[index] + 1
    places = {group: place for place, group in enumerate(rng.permutation(sorted(seen)).tolist())}
    by_turn = sorted(range(len(groups)), key=lambda index: (ranks[index], places[int(groups[index])]))
    return by_turn[:count]
