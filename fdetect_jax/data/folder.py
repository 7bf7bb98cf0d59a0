"""A folder of photographs as a source of face crops. In: a folder and a recipe. Out: Examples by index."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from fdetect_jax.datasets.crop_store import CropReader
from fdetect_jax.datasets.layouts.base import SPLITS, split_at
from fdetect_jax.datasets.photos import prepare_folder, published_splits, read_people
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES, CropRecipe, face_crop
from fdetect_jax.files import digest
from fdetect_jax.types import Example


@dataclass(frozen=True)
class FaceFolder:
    """The crops of one split of a folder of photographs; random access, cheap to send to a worker process.

    A person is a sub-folder of ``root``; a photograph directly in ``root`` counts as a person. A hash of the person's
    name and ``seed`` decides the split: no person is in two splits, and adding people does not move others. If ``root``
    holds only folders named train, val and test, these are the splits, and the persons are the folders in them.

    root, recipe, cache: see ``datasets.photos.prepare_folder``, which runs when the object is made. split: "train",
    "val" or "test". fractions: expected shares of the people in train, val and test, each >= 0, sum 1. context: yield
    context crops (``faces.crop.context_crop``) instead of face crops if the recipe has ``training_margins``.

    Raises UserError for a value out of these ranges, for a split without people, and as ``prepare_folder`` does.
    """

    root: str | Path
    split: str
    recipe: CropRecipe = RECIPES["aligned64"]
    fractions: tuple[float, float, float] = (0.9, 0.05, 0.05)
    seed: int = 0
    cache: str | Path | None = None
    context: bool = False

    def __post_init__(self) -> None:
        if self.split not in SPLITS:
            raise UserError(f"data.split: found {self.split!r}, wanted one of {', '.join(SPLITS)}")
        if len(self.fractions) != 3 or min(self.fractions) < 0 or abs(sum(self.fractions) - 1) > 1e-6:
            raise UserError(f"data.fractions: found {self.fractions}, wanted three numbers >= 0 that sum to 1")
        if not len(self):
            people = len(set(read_people(self._folder)[0].tolist()))
            raise UserError(
                f"data.root: none of the {people} people under {self.root} falls into split {self.split!r}; wanted "
                "more people (90 % train, 5 % validate, 5 % are held out), or folders train, val and test"
            )

    @property
    def size(self) -> int:
        """Side of the crops in pixels."""
        return self.recipe.size

    @property
    def fingerprint(self) -> str:
        """16 hex digits, equal for equal crops in equal order."""
        return digest([self._folder.name, self.split, self.fractions, self.seed, self.context])

    @property
    def video(self) -> bool:
        """False: photographs are scored one by one."""
        return False

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) int32: the person of each crop."""
        return read_people(self._folder)[0][self._rows]

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Example:
        """The crop ``index`` of this split. IndexError past the end; UnreadableRecord for a damaged crop."""
        example = self._reader[int(self._rows[index])]
        if self.context or "box" not in example:
            return example
        return face_crop(example, self.recipe) | {"identity": example["identity"]}

    @cached_property
    def _folder(self) -> Path:
        return prepare_folder(self.root, self.recipe, self.cache)

    @cached_property
    def _rows(self) -> np.ndarray:
        identities, people = read_people(self._folder)
        train, val, _ = self.fractions
        splits = published_splits(people) or [split_at(digest([self.seed, name]), train, val) for name in people]
        return np.flatnonzero((np.array(splits) == self.split)[identities])

    @cached_property
    def _reader(self) -> CropReader:
        return CropReader(self._folder)

    def __getstate__(self) -> dict:
        return {name: value for name, value in self.__dict__.items() if name != "_reader"}
