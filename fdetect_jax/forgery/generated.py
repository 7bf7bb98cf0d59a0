"""A generator's own samples: random faces G(map(z)), which show nobody in particular. No inversion, no attack."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax import assets
from fdetect_jax.fields import between
from fdetect_jax.forgery.base import Forged, Scene, Setup
from fdetect_jax.forgery.latent import as_rendered, check_inverter, fit, when
from fdetect_jax.gan import inversion
from fdetect_jax.gan.stylegan2 import Generator, from_signed, truncate
from fdetect_jax.nn.keys import purposes
from fdetect_jax.types import score

GENERATOR = ("inverter", "dtype", "truncation")  # fields of the config


@dataclasses.dataclass(frozen=True)
class Generated:
    """Fakes as GAN detectors are commonly trained on: random faces of a generator, of whatever resolution it has.

    truncation: in [0, 1], how far a latent may lie from the mean; 1 leaves it as it is. The faces of the batch say
    only how many fakes are made, and of which size.
    """

    generator: Generator
    truncation: float = 1.0
    frozen: Any = None
    counterpart: bool = False

    def forge(self, keys: jax.Array, scene: Scene) -> Forged:
        variables, g = scene.frozen, self.generator
        z = jax.vmap(lambda key: jax.random.normal(key, (g.config.z_dim,)))(purposes(keys, "random face"))
        w = g.apply(variables, z, method=Generator.map)
        w = truncate(w, variables["buffers"]["mapping"]["w_avg"], self.truncation)
        found = from_signed(g.apply(variables, w, method=Generator.synthesize))
        made, real = fit(found, scene.images.shape[1]), as_rendered(scene.images, found.shape[1])
        metrics = when(scene.logged, lambda: {"p_fake/generated": jnp.mean(score(scene.classify(made)))})
        return Forged(made, real, metrics=metrics)


def make_generated(setup: Setup) -> Generated:
    """Built from the fields ``inverter`` (whose generator alone is read), ``dtype`` and ``truncation``."""
    options = setup.options
    generator, frozen = inversion.load_generator(assets.inverter(options["inverter"]), jnp.dtype(options["dtype"]))
    return Generated(generator, float(options["truncation"]), frozen)


def check_generated(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError; names the field that cannot be used."""
    check_inverter(options, path)
    between(options, "truncation", 0, 1, path)
