"""Dataset fakes: fakes that come with a data set. In: a face and these fakes. Out: a ForgedPair."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from fdetect_jax.data.source import Source
from fdetect_jax.data.sources import MIXTURE
from fdetect_jax.faces.crop import CropRecipe, face_area, face_crop, stretched
from fdetect_jax.types import Example, ForgedPair


class Located(Source, Protocol):
    """A source that knows the origins of its crops without reading them."""

    @property
    def origins(self) -> np.ndarray:
        """(N, 3) int32 per crop: the identity, the number of its video, and the frame in it."""
        ...


def without_fakes(data: Any) -> str:
    """The reason why ``config.data`` holds no dataset fakes, or ""."""
    parts = data.parts.items() if data.source == MIXTURE else [("", data)]
    for name, part in parts:
        if part.source != "prepared":
            where = f"data.parts.{name}" if name else "data"
            return f"{where}.source is {part.source!r}, and only 'prepared' data have dataset fakes"
    return ""


@dataclass(frozen=True)
class DatasetFakes:
    """A HostForgery: a random fake of the same person, at the frame nearest to the face's.

    For a person without fakes the fake is of any person, drawn by the ``shares`` of the source. The mask is where the
    data set marks an alteration, None if the data set has no mask. Face and fake are cropped with the same margins
    (random in training if the recipe has a range), because a difference in cropping would separate them.
    """

    fakes: Located
    recipe: CropRecipe | None = None
    training: bool = False

    def __call__(self, rng: np.random.Generator, face: Example, donor: Callable[[], Example]) -> ForgedPair:
        """face: with ``identity`` and ``frame``."""
        own = self._videos.get(int(face["identity"]))
        chosen = int(rng.integers(len(own))) if own else int(np.searchsorted(self._ends, rng.random(), side="right"))
        crops = (own or self._all)[chosen]
        apart = np.abs(self.fakes.origins[crops, 2] - int(face["frame"]))
        fake = self.fakes[int(crops[np.argmin(apart)])]
        targets = {name: fake[name] for name in ("kind",) if name in fake}
        if "box" in face:
            seed = int(rng.integers(2**63))
            face, fake = (self._cut(one, seed) for one in (face, fake))
        mask = fake.get("altered")
        mask = None if mask is None else mask.astype(np.float32)
        return ForgedPair(face["image"], fake["image"], mask, face.get("mask"), targets)

    def _cut(self, example: Example, seed: int) -> Example:
        """A context crop -> the face crop, with ``altered`` cropped in the same way."""
        margins = [np.random.default_rng(seed) if self.training else None for _ in range(2)]
        cut = face_crop(example, self.recipe, margins[0])
        if "altered" in example:
            cut["altered"], _ = stretched(example["altered"], face_area(example, self.recipe, margins[1]), self.recipe)
        return cut

    @cached_property
    def _videos(self) -> dict[int, list[np.ndarray]]:
        """Identity -> the indices of the crops of each of the person's videos."""
        found: dict[int, list[np.ndarray]] = {}
        for crops in self._all:
            found.setdefault(int(self.fakes.origins[crops[0], 0]), []).append(crops)
        return found

    @cached_property
    def _ends(self) -> np.ndarray:
        """Where the share of each video ends, in (0, 1]."""
        shares = getattr(self.fakes, "shares", None)
        weights = np.array([1.0 if shares is None else shares[crops].mean() for crops in self._all])
        ends = np.cumsum(weights) / weights.sum()
        ends[-1] = 1.0
        return ends

    @cached_property
    def _all(self) -> list[np.ndarray]:
        keys = self.fakes.origins[:, :2]
        order = np.lexsort(keys.T)
        ends = np.flatnonzero(np.any(np.diff(keys[order], axis=0), axis=1)) + 1
        return np.split(order, ends)
