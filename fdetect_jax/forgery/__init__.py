"""Every forgery, on the host or the device, by name. A new one is a file here and a line in ``FORGERIES``."""

from collections.abc import Mapping
from typing import Any

from fdetect_jax.data.sources import make_source
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.fields import known
from fdetect_jax.forgery.base import DeviceForgery, Forged, Forgery, Scene, Setup
from fdetect_jax.forgery.composite import composite
from fdetect_jax.forgery.composite import stages as composite_stages
from fdetect_jax.forgery.dataset_fakes import DatasetFakes, without_fakes
from fdetect_jax.forgery.fwa import WarpArtefacts
from fdetect_jax.forgery.latent import (
    INVERTER,
    check_latent,
    check_reconstruction,
    make_latent,
    make_reconstruction,
)
from fdetect_jax.forgery.mix import Mix, deal
from fdetect_jax.forgery.resample import resampled
from fdetect_jax.forgery.resample import stages as resample_stages
from fdetect_jax.forgery.sbi import SelfBlend
from fdetect_jax.forgery.swap import BlendedSwap, check_swap
from fdetect_jax.types import FAKE, HostForgery

__all__ = [
    "FORGERIES",
    "DeviceForgery",
    "Forged",
    "Forgery",
    "Mix",
    "Scene",
    "Setup",
    "check_mix",
    "check_options",
    "deal",
    "find_forgery",
    "make_forgery",
    "make_mix",
    "needs_context",
    "weights_of",
]

_INVERTED = ("gan_inverted", "GAN-inverted faces")

FORGERIES: dict[str, Forgery] = {
    "latent": Forgery(
        "Latent adversaries",
        "entire synthesis",
        make_latent,
        "device",
        options=(*INVERTER, "space", "render", "warmup", "attack"),
        check=check_latent,
        tests={"reconstruction": _INVERTED, "image": ("adversarial", "Latent adversaries")},
    ),
    "reconstruction": Forgery(
        "GAN-inverted faces",
        "entire synthesis",
        make_reconstruction,
        "device",
        options=INVERTER,
        check=check_reconstruction,
        tests={"image": _INVERTED},
    ),
    "swap": Forgery(
        "Blended swaps",
        "swap",
        lambda setup: BlendedSwap(**setup.options),
        options=("changed", "inner", "gradients"),
        check=check_swap,
        stages=lambda forge, rng, face, donor: forge.stages(rng, face, donor),
    ),
    "sbi": Forgery(
        "Self-blended images",
        "swap",
        lambda setup: SelfBlend(setup.recipe, setup.training),
        crop="context",
        stages=lambda forge, rng, face, donor: forge.stages(rng, face),
    ),
    "fwa": Forgery(
        "Warping artefacts",
        "swap",
        lambda setup: WarpArtefacts(setup.recipe, setup.training),
        crop="context",
        stages=lambda forge, rng, face, donor: forge.stages(rng, face),
    ),
    "given": Forgery(
        "Dataset fakes",
        "unknown",
        lambda setup: DatasetFakes(setup.fakes(), setup.recipe, setup.training),
        crop="context",
        allows=without_fakes,
    ),
    "composite": Forgery(
        "Composites",
        "attribute",
        lambda setup: composite,
        stages=lambda forge, rng, face, donor: composite_stages(rng, face, donor),
    ),
    "resample": Forgery(
        "Traces of enlargement",
        "entire synthesis",
        lambda setup: resampled,
        stages=lambda forge, rng, face, donor: resample_stages(rng, face, donor),
    ),
}


def find_forgery(name: str, field: str = "forgery.mix") -> Forgery:
    """The registered forgery ``name``.

    Raises:
      UserError: no such forgery; names ``field``.
    """
    if name not in FORGERIES:
        raise UserError(f"{field}: found {name!r}, wanted some of {sorted(FORGERIES)}")
    return FORGERIES[name]


def weights_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The forgeries of a config's ``forgery`` with their weights, without those of weight 0."""
    return {name: float(weight) for name, weight in options["mix"].items() if weight}


def check_mix(options: Mapping[str, Any], data: Any) -> None:
    """Checks a config's ``forgery``: ``mix`` (name -> weight), and the fields of each forgery under its name.

    Raises:
      UserError: names the field.
    """
    for name, weight in options["mix"].items():
        spec = find_forgery(name)
        if not isinstance(weight, int | float) or not weight >= 0:
            raise UserError(f"forgery.mix.{name}: found {weight!r}, wanted a weight of 0 or more")
        if weight and (reason := spec.allows(data)):
            raise UserError(f"forgery.mix.{name}: found {weight!r}, wanted 0: {reason}")
        if weight:
            check_options(name, options.get(name, {}), f"forgery.{name}")
    if not weights_of(options):
        raise UserError(f"forgery.mix: found no weight above 0, wanted one for some of {sorted(FORGERIES)}")


def check_options(name: str, options: Mapping[str, Any], path: str) -> None:
    """Checks the fields of one forgery. Raises UserError."""
    spec = find_forgery(name)
    known(options, spec.options, path)
    spec.check(options, path)


def make_forgery(
    name: str, options: Mapping[str, Any], data: Any, split: str, recipe: CropRecipe | None, training: bool
) -> HostForgery | DeviceForgery:
    """Builds one forgery.

    Args:
      name: a key of ``FORGERIES``. options: its fields. data, split: where to find the fakes of a data set.
      recipe: how the faces are cropped. training: whether the forgery draws margins and augments.

    Raises:
      UserError: names the field that cannot be used.
    """

    def fakes() -> Any:
        context = recipe is not None and recipe.training_margins is not None
        return make_source(data, split, context=context, label=FAKE)

    return find_forgery(name).make(Setup(options, recipe, training, fakes))


def make_mix(options: Mapping[str, Any], data: Any, split: str, recipe: CropRecipe | None, training: bool) -> Mix:
    """Builds the forgeries of a config's ``forgery``. Arguments and errors as for ``make_forgery``."""
    weights = weights_of(options)
    specs = {name: find_forgery(name) for name in weights}
    made = {name: make_forgery(name, options.get(name, {}), data, split, recipe, training) for name in weights}
    return Mix(weights, specs, made)


def needs_context(options: Mapping[str, Any]) -> bool:
    """Whether any forgery of a config's ``forgery`` takes context crops."""
    return any(find_forgery(name).crop == "context" for name in weights_of(options))
