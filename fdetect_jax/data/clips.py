"""Clips of faces: T crops of one person in order of time, as one example. In: a source of faces. Out: one of clips.

An example of a clip has ``frames``, a list of T examples, and ``identity``.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from fdetect_jax.data.source import Source
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.types import Example


@dataclass(frozen=True)
class Clips:
    """Splits the crops of each group of ``faces`` (one person of a video, or one person's photographs) into ``frames``.

    The last clip of a group is filled up by repeating its last crop.
    """

    faces: Source
    frames: int

    @property
    def size(self) -> int:
        return self.faces.size

    @property
    def recipe(self) -> CropRecipe | None:
        return self.faces.recipe

    @property
    def fingerprint(self) -> str:
        """Changes with the faces and with the number of frames."""
        return f"{self.faces.fingerprint}x{self.frames}"

    @property
    def groups(self) -> np.ndarray:
        return self.faces.groups[self._pieces[:, 0]]

    @property
    def video(self) -> bool:
        return True

    @property
    def origins(self) -> np.ndarray:
        """The origin of each clip's first face; only if the source of faces has ``origins``."""
        return self.faces.origins[self._pieces[:, 0]]

    def __len__(self) -> int:
        return len(self._pieces)

    def __getitem__(self, index: int) -> Example:
        frames = [self.faces[int(one)] for one in self._pieces[index]]
        return frames[0] | {"frames": frames}

    @cached_property
    def _pieces(self) -> np.ndarray:
        """(clips, frames) indices of the faces."""
        groups = self.faces.groups
        order = np.argsort(groups, kind="stable")
        found = []
        for own in np.split(order, np.flatnonzero(np.diff(groups[order])) + 1):
            for start in range(0, len(own), self.frames):
                piece = own[start : start + self.frames]
                found.append(np.pad(piece, (0, self.frames - len(piece)), mode="edge"))
        return np.stack(found)
