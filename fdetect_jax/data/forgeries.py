"""Forgeries made on the host, by name: a config's ``forgery``, the crops' recipe and whether to train -> HostForgery.

A new one is a file in this room and a line here.
"""

from collections.abc import Callable

from ml_collections import ConfigDict

from fdetect_jax.data.pipeline import HostForgery
from fdetect_jax.data.sbi import SelfBlend
from fdetect_jax.data.swap import blended_swap
from fdetect_jax.media.crop import CropRecipe

HOST_FORGERIES: dict[str, Callable[[ConfigDict, CropRecipe | None, bool], HostForgery]] = {
    "swap": lambda options, recipe, training: blended_swap,
    "sbi": lambda options, recipe, training: SelfBlend(recipe, training),
}
LOOSE = frozenset({"sbi"})  # those that want a loose crop where the recipe has one (``media.crop.loose``)
