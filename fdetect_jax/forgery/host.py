"""Forgeries made on the host, by name: the crops' recipe and whether to train -> HostForgery.

A new one is a file in this room and a line here.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.data.pipeline import ForgedPair, HostForgery
from fdetect_jax.data.sources import make_source
from fdetect_jax.forgery.dataset_fakes import Given
from fdetect_jax.forgery.fwa import WarpArtefacts
from fdetect_jax.forgery.sbi import SelfBlend
from fdetect_jax.forgery.swap import blended_swap
from fdetect_jax.media.crop import CropRecipe, face_crop
from fdetect_jax.types import FAKE, Example

HOST_FORGERIES: dict[str, Callable[[CropRecipe | None, bool], HostForgery]] = {
    "swap": lambda recipe, training: blended_swap,
    "sbi": SelfBlend,
    "fwa": WarpArtefacts,
}
CONTEXT = frozenset(
    {"sbi", "fwa"}
)  # those that want a context crop where the recipe has one (``media.crop.context_crop``)
GIVEN = "given"  # the fakes of the data themselves
MIXED = "mixed"  # several of the above, by ``forgery.kinds``


@dataclass(frozen=True)
class Mixed:
    """``(rng, face, donor) -> ForgedPair`` by one of ``kinds``, drawn anew for each face.

    Of context crops, those that want a tight one get it, by margins drawn at random when training.
    """

    kinds: tuple[str, ...]
    recipe: CropRecipe | None
    training: bool

    def __call__(self, rng: np.random.Generator, face: Example, donor: Callable[[], Example]) -> ForgedPair:
        kind = self.kinds[rng.integers(len(self.kinds))]
        forge = HOST_FORGERIES[kind](self.recipe, self.training)
        if kind in CONTEXT or "box" not in face:
            return forge(rng, face, donor)
        margins = rng if self.training else None
        return forge(rng, face_crop(face, self.recipe, margins), lambda: face_crop(donor(), self.recipe, margins))


def host_kinds(options: ConfigDict) -> tuple[str, ...]:
    """What a config's ``forgery`` has made on the host: of the device's own kinds, those of every second face."""
    if options.kind == MIXED:
        return tuple(options.kinds)
    kind = options.get("half", "") or options.kind
    return (kind,) if kind in (*HOST_FORGERIES, GIVEN) else ()


def wants_context(options: ConfigDict) -> bool:
    """Whether the forgeries of a config's ``forgery`` want context crops where the recipe has them."""
    return bool(CONTEXT & set(host_kinds(options)))


def make_host_forgery(
    options: ConfigDict, data: ConfigDict, split: str, recipe: CropRecipe | None, training: bool
) -> HostForgery | None:
    """options: a config's ``forgery``. data, split: where ``make_source`` finds the faces. None where all fakes are
    made on the device.

    Raises:
      ValueError: "given", and the data hold no fakes.
    """
    kinds = host_kinds(options)
    if options.kind == MIXED:
        return Mixed(kinds, recipe, training)
    if GIVEN in kinds:
        return Given(make_source(data, split, label=FAKE))
    return HOST_FORGERIES[kinds[0]](recipe, training) if kinds else None
