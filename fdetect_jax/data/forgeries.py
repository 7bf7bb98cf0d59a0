"""Forgeries made on the host, by name: a config's ``forgery``, the crops' recipe and whether to train -> HostForgery.

A new one is a file in this room and a line here.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from fdetect_jax.data.fwa import WarpArtefacts
from fdetect_jax.data.given import Given
from fdetect_jax.data.pipeline import HostForgery
from fdetect_jax.data.sbi import SelfBlend
from fdetect_jax.data.sources import make_source
from fdetect_jax.data.swap import blended_swap
from fdetect_jax.media.crop import CropRecipe
from fdetect_jax.types import FAKE

HOST_FORGERIES: dict[str, Callable[[ConfigDict, CropRecipe | None, bool], HostForgery]] = {
    "swap": lambda options, recipe, training: blended_swap,
    "sbi": lambda options, recipe, training: SelfBlend(recipe, training),
    "fwa": lambda options, recipe, training: WarpArtefacts(recipe, training),
}
LOOSE = frozenset({"sbi", "fwa"})  # those that want a loose crop where the recipe has one (``media.crop.loose``)
GIVEN = "given"  # the fakes of the data themselves


def make_host_forgery(
    options: ConfigDict, data: ConfigDict, split: str, recipe: CropRecipe | None, training: bool
) -> HostForgery | None:
    """options: a config's ``forgery``. data, split: where ``make_source`` finds the faces. None where fakes are made on
    the device.

    Raises:
      ValueError: "given", and the data hold no fakes.
    """
    if options.kind == GIVEN:
        return Given(make_source(data, split, label=FAKE))
    return HOST_FORGERIES[options.kind](options, recipe, training) if options.kind in HOST_FORGERIES else None
