"""A source that keeps the faces it has returned in memory: for small sources that are slow and read many times."""

import dataclasses

import numpy as np

from fdetect_jax.data.source import Source
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.types import Example


@dataclasses.dataclass(frozen=True)
class Cached:
    """Wraps a source; each process makes a face once and keeps it (about 17 KB each at 64 px)."""

    source: Source
    kept: dict[int, Example] = dataclasses.field(default_factory=dict, compare=False, repr=False)

    @property
    def size(self) -> int:
        return self.source.size

    @property
    def recipe(self) -> CropRecipe | None:
        return self.source.recipe

    @property
    def groups(self) -> np.ndarray:
        return self.source.groups

    @property
    def video(self) -> bool:
        return self.source.video

    @property
    def fingerprint(self) -> str:
        return self.source.fingerprint

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> Example:
        if index not in self.kept:
            # Copies: a view would keep the whole array that it was cut from.
            self.kept[index] = {
                name: value.copy() if isinstance(value, np.ndarray) else value
                for name, value in self.source[index].items()
            }
        return self.kept[index]
