"""Dataset fakes: the fakes that came with a data set. In: a face and these fakes. Out: a ForgedPair."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np

from fdetect_jax.data.pipeline import ForgedPair
from fdetect_jax.data.source import Source
from fdetect_jax.types import Example


class Located(Source, Protocol):
    """A source that knows where its crops come from before it reads them."""

    @property
    def origins(self) -> np.ndarray:
        """(N, 3) int32: of each crop the identity, the number of its video, and the frame in it."""
        ...


@dataclass(frozen=True)
class Given:
    """A HostForgery: a fake of the same person, any of the person's fakes alike, at the moment nearest to the face's.

    A person without fakes gets anybody's. The mask is where the data set says that it was altered, and all of the
    image where it does not say.
    """

    fakes: Located

    def __call__(self, rng: np.random.Generator, face: Example, donor: Callable[[], Example]) -> ForgedPair:
        """face: with ``identity`` and ``frame``."""
        videos = self._videos.get(int(face["identity"]), self._all)
        crops = videos[int(rng.integers(len(videos)))]
        apart = np.abs(self.fakes.origins[crops, 2] - int(face["frame"]))
        fake = self.fakes[int(crops[np.argmin(apart)])]
        mask = fake.get("altered", np.ones(fake["image"].shape[:2]))
        return ForgedPair(face["image"], fake["image"], mask.astype(np.float32), face.get("mask"))

    @cached_property
    def _videos(self) -> dict[int, list[np.ndarray]]:
        """Identity -> the indices of the crops of each of the person's videos."""
        found: dict[int, list[np.ndarray]] = {}
        for crops in self._all:
            found.setdefault(int(self.fakes.origins[crops[0], 0]), []).append(crops)
        return found

    @cached_property
    def _all(self) -> list[np.ndarray]:
        keys = self.fakes.origins[:, :2]
        order = np.lexsort(keys.T)
        ends = np.flatnonzero(np.any(np.diff(keys[order], axis=0), axis=1)) + 1
        return np.split(order, ends)
