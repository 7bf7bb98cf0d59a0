"""Every forgery, on the host or the device, by name. A new one is a file here and a line in ``FORGERIES``."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from ml_collections import ConfigDict

from fdetect_jax.data.sources import make_source
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.fields import known
from fdetect_jax.forgery.base import DeviceForgery, Forged, Forgery, Scene, Setup
from fdetect_jax.forgery.composite import composite
from fdetect_jax.forgery.composite import stages as composite_stages
from fdetect_jax.forgery.dataset_fakes import DatasetFakes, without_fakes
from fdetect_jax.forgery.fwa import WarpArtefacts
from fdetect_jax.forgery.generated import GENERATOR, check_generated, make_generated
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
    "Entry",
    "Forged",
    "Forgery",
    "Mix",
    "Scene",
    "Setup",
    "check_mix",
    "deal",
    "entries_of",
    "find_entry",
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
    "generated": Forgery(
        "A generator's own samples",
        "entire synthesis",
        make_generated,
        "device",
        options=GENERATOR,
        check=check_generated,
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


@dataclasses.dataclass(frozen=True)
class Entry:
    """A forgery as a config holds it: a registered one, or one of its own name, which names a registered one.

    name: in the config. forgery: the registered name. spec: the registry entry; under an own name with the title and
    the test of that name. options: the fields of the forgery itself. path: where they lie in the config.
    """

    name: str
    forgery: str
    spec: Forgery
    options: dict[str, Any]
    path: str

    def check(self) -> None:
        """Raises UserError, which names the field, for fields that the forgery cannot use."""
        known(self.options, self.spec.options, self.path)
        self.spec.check(self.options, self.path)

    def tested_like(self, other: "Entry") -> bool:
        """Whether both make the same fakes in a test, where a warm-up plays no part."""
        own, others = ({k: v for k, v in one.options.items() if k != "warmup"} for one in (self, other))
        return self.forgery == other.forgery and own == others


def find_entry(name: str, fields: Mapping[str, Any], where: str = "forgery") -> Entry:
    """The forgery of an entry of a config's ``forgery`` or ``evaluation.forgeries``.

    Args:
      name: of the entry: a registered forgery, or any other name. fields: its fields. Under another name ``forgery``
        names the registered one, and ``title``, if given, is shown in place of that one's title. where: the path of
        the entries.

    Raises:
      UserError: no such forgery is registered, or a registered name that is to stand for another forgery.
    """
    fields = fields.to_dict() if isinstance(fields, ConfigDict) else dict(fields)
    registered, path = fields.pop("forgery", None), f"{where}.{name}"
    field = "forgery.mix" if where == "forgery" and registered is None else f"{path}.forgery"
    spec = find_forgery(name if registered is None else registered, field)
    if name in FORGERIES and registered not in (None, name):
        raise UserError(f"{field}: found {registered!r}, wanted none, as {name!r} is itself a registered forgery")
    if registered in (None, name):
        return Entry(name, name, spec, fields, path)
    title = fields.pop("title", spec.title)
    return Entry(name, registered, dataclasses.replace(spec, title=title, tests={"image": (name, title)}), fields, path)


def weights_of(options: Mapping[str, Any]) -> dict[str, float]:
    """The entries of a config's ``forgery.mix`` with their weights, without those of weight 0."""
    return {name: float(weight) for name, weight in options["mix"].items() if weight}


def entries_of(options: Mapping[str, Any]) -> dict[str, Entry]:
    """The forgeries of a config's ``forgery`` that have a weight, in the order of the mix. Raises UserError."""
    return {name: find_entry(name, options.get(name, {})) for name in weights_of(options)}


def check_mix(options: Mapping[str, Any], data: Any) -> None:
    """Checks a config's ``forgery``: ``mix`` (entry -> weight), and the fields of each entry under its name.

    Raises:
      UserError: names the field.
    """
    for name, weight in options["mix"].items():
        entry = find_entry(name, options.get(name, {}))
        if not isinstance(weight, int | float) or not weight >= 0:
            raise UserError(f"forgery.mix.{name}: found {weight!r}, wanted a weight of 0 or more")
        if weight and (reason := entry.spec.allows(data)):
            raise UserError(f"forgery.mix.{name}: found {weight!r}, wanted 0: {reason}")
        if weight:
            entry.check()
    if not weights_of(options):
        raise UserError(f"forgery.mix: found no weight above 0, wanted one for some of {sorted(FORGERIES)}")


def make_forgery(
    name: str, options: Mapping[str, Any], data: Any, split: str, recipe: CropRecipe | None, training: bool
) -> HostForgery | DeviceForgery:
    """Builds one forgery.

    Args:
      name, options: of an entry, see ``find_entry``. data, split: where to find the fakes of a data set.
      recipe: how the faces are cropped. training: whether the forgery draws margins and augments.

    Raises:
      UserError: names the field that cannot be used.
    """

    def fakes() -> Any:
        context = recipe is not None and recipe.training_margins is not None
        return make_source(data, split, context=context, label=FAKE)

    entry = find_entry(name, options)
    return entry.spec.make(Setup(entry.options, recipe, training, fakes))


def make_mix(options: Mapping[str, Any], data: Any, split: str, recipe: CropRecipe | None, training: bool) -> Mix:
    """Builds the forgeries of a config's ``forgery``. Arguments and errors as for ``make_forgery``."""
    specs = {name: entry.spec for name, entry in entries_of(options).items()}
    made = {name: make_forgery(name, options.get(name, {}), data, split, recipe, training) for name in specs}
    return Mix(weights_of(options), specs, made)


def needs_context(options: Mapping[str, Any]) -> bool:
    """Whether any forgery of a config's ``forgery`` takes context crops."""
    return any(entry.spec.crop == "context" for entry in entries_of(options).values())
