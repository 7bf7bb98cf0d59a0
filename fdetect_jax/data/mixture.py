"""Combines several sources by weight. In: sources by name. Out: a Source, and the order to train in."""

import bisect
import math
import sys
import zlib
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate, zip_longest

import grain
import numpy as np

from fdetect_jax.data.source import Source, describe, spread
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.files import digest
from fdetect_jax.types import Example

LONGEST_CYCLE = 10_000


@dataclass(frozen=True)
class Part:
    """One source of a mixture; weight > 0: its share of the training rows, relative to the other weights."""

    name: str
    source: Source
    weight: float


def cycle(weights: dict[str, float]) -> list[int]:
    """The number of rows of each part in one cycle, the shortest cycle with exact proportions.

    Raises:
      UserError: a weight that is not positive, or proportions that need more than ``LONGEST_CYCLE`` rows.
    """
    for name, weight in weights.items():
        if not (0 < weight < math.inf):
            raise UserError(f"{name}.weight: found {weight}, wanted a positive number")
    exact = [Fraction(str(weight)) for weight in weights.values()]
    whole = [int(share * math.lcm(*(share.denominator for share in exact))) for share in exact]
    whole = [count // math.gcd(*whole) for count in whole]
    if sum(whole) > LONGEST_CYCLE:
        raise UserError(
            f"weights: found {weights}, wanted simple proportions: these repeat only after {sum(whole)} rows, "
            f"of at most {LONGEST_CYCLE}"
        )
    return whole


@dataclass(frozen=True)
class Mixture:
    """The parts, concatenated into one source; identities of different parts stay distinct.

    Raises UserError if sizes or recipes differ; a part without a recipe fits any recipe.
    """

    parts: tuple[Part, ...]

    def __post_init__(self) -> None:
        sizes = {part.name: part.source.size for part in self.parts}
        if len(set(sizes.values())) != 1:
            raise UserError(f"data.parts: found crops of {sizes} px, wanted one size")
        recipes = {part.name: part.source.recipe for part in self.parts if part.source.recipe is not None}
        if len(set(recipes.values())) > 1:
            raise UserError(f"data.parts: found recipes {recipes}, wanted one: a detector takes one kind of crop")

    @property
    def size(self) -> int:
        return self.parts[0].source.size

    @property
    def recipe(self) -> CropRecipe | None:
        return next((part.source.recipe for part in self.parts if part.source.recipe is not None), None)

    @property
    def fingerprint(self) -> str:
        """16 hex digits that change with any part, and with the weights."""
        return digest([[part.name, part.source.fingerprint, part.weight] for part in self.parts])

    def __len__(self) -> int:
        return self._ends[-1]

    def __getitem__(self, index: int) -> Example:
        number = self.number(index)
        part, within = self.parts[number], int(index) - self.part_at(index).start
        try:
            example = part.source[within]
        except UserError as error:
            raise UserError(f"face {within} of part {part.name!r}: {describe(error)}") from error
        return example | {"identity": np.int32(int(example["identity"]) * len(self.parts) + number)}

    @property
    def video(self) -> bool:
        return any(part.source.video for part in self.parts)

    @cached_property
    def groups(self) -> np.ndarray:
        """(N,) the groups of the parts, made distinct."""
        numbered = [part.source.groups.astype(np.int64) for part in self.parts]
        return np.concatenate([groups * len(self.parts) + number for number, groups in enumerate(numbered)])

    @cached_property
    def origins(self) -> np.ndarray:
        """As ``dataset_fakes.Located``; only if the parts have ``origins``."""
        numbered = [part.source.origins.copy() for part in self.parts]
        for number, origins in enumerate(numbered):
            origins[:, 0] = origins[:, 0] * len(self.parts) + number
        return np.concatenate(numbered)

    def number(self, index: int) -> int:
        """The number of the part that holds face ``index``. IndexError outside [0, len)."""
        if not 0 <= index < len(self):
            raise IndexError(f"index: found {index}, wanted one in [0, {len(self)})")
        return bisect.bisect_right(self._ends, index)

    def part_at(self, index: int) -> range:
        """The indices of the part that holds face ``index``."""
        return self._span(self.number(index))

    def order(self, seed: int) -> grain.MapDataset:
        """Endless indices to train on: each part is shuffled again on every pass; parts are mixed by their weights."""
        orders = []
        for number, part in enumerate(self.parts):
            span = self._span(number)
            own = zlib.crc32(f"{seed}/{part.name}".encode())  # so that a new part leaves the others' order unchanged
            orders.append(grain.MapDataset.range(span.start, span.stop).seed(own).shuffle().repeat(None))
        turns = _Turns(cycle({part.name: part.weight for part in self.parts}))
        return grain.MapDataset.select_from_datasets(orders, turns).seed(seed)

    def evenly(self, count: int, seed: int = 0) -> list[int]:
        """``count`` indices, the same number of each part as far as it has faces, drawn over the part's groups."""
        chosen = [
            [self._span(number).start + i for i in spread(part.source.groups, count, seed)]
            for number, part in enumerate(self.parts)
        ]
        return [i for turn in zip_longest(*chosen) for i in turn if i is not None][:count]

    def _span(self, number: int) -> range:
        return range(self._ends[number] - len(self.parts[number].source), self._ends[number])

    @cached_property
    def _ends(self) -> list[int]:
        return list(accumulate(len(part.source) for part in self.parts))


class _Turns(grain.transforms.DatasetSelectionMap):
    """Position -> (part, position in the part): ``counts`` rows of each part in every cycle, spread evenly."""

    def __init__(self, counts: list[int]):
        self._counts = counts
        places = sorted(
            ((rank + 0.5) / count, part, rank) for part, count in enumerate(counts) for rank in range(count)
        )
        self._table = [(part, rank) for _, part, rank in places]

    def __len__(self) -> int:
        return sys.maxsize

    def __getitem__(self, position: int) -> tuple[int, int]:
        times, place = divmod(position, len(self._table))
        part, rank = self._table[place]
        return part, times * self._counts[part] + rank
