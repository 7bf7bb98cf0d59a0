"""Forgeries in a generator's latent space: the reconstruction G(E(x)), and the latent adversary of Algorithm 1."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax

from fdetect_jax.forgery.base import Classify, Forged
from fdetect_jax.forgery.pgd import Attack, ascend
from fdetect_jax.forgery.projection import radius
from fdetect_jax.gan.inversion import Inverter
from fdetect_jax.types import FAKE, REAL

SPACES = ("w", "w+", "z")
RENDERS = ("full", "fit")


def fit(image: jax.Array, size: int) -> jax.Array:
    """Resizes (B, R, R, 3) to the detector's side, antialiased; the identity where it fits."""
    if image.shape[1] == size:
        return image
    return jax.image.resize(image, (image.shape[0], size, size, 3), "linear", antialias=True)


@dataclasses.dataclass(frozen=True)
class Reconstruction:
    """G(E(x)), with HyperInverter's offsets where the pair has H. No attack."""

    inverter: Inverter
    frozen: Any = None

    def forge(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> Forged:
        made = fit(self.inverter.invert(frozen, images).image, images.shape[1])
        nothing = jnp.zeros(images.shape[0])
        return Forged(made, made, nothing, nothing)


@dataclasses.dataclass(frozen=True)
class LatentAdversary:
    """Moves the latent of a face up the detector's loss of the label *fake*, so that the rendered fake passes for real.

    space: "w" moves one vector with Δθ held fixed, "w+" one per layer, "z" starts from a random face of G.
    render: "full" renders at G's resolution, as the paper; "fit" at the next above the detector's, which costs less.
    """

    inverter: Inverter
    attack: Attack
    space: str = "w"
    render: str = "full"
    frozen: Any = None

    def __post_init__(self):
        for name, allowed in (("space", SPACES), ("render", RENDERS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"forgery.{name}: found {getattr(self, name)!r}, wanted one of {allowed}")

    def forge(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> Forged:
        size, g = images.shape[1], self.inverter.generator.config
        start, keys = _split(keys)
        if self.space == "z":
            origin = jax.vmap(lambda key: jax.random.normal(key, (g.z_dim,)))(start)
            offsets = None
        else:
            found = self.inverter.invert(frozen, images)
            origin, offsets = found.w, found.offsets
            if self.space == "w+":
                origin = jnp.broadcast_to(origin[:, None], (origin.shape[0], g.num_ws, g.w_dim))

        resolution = g.resolution_for(size) if self.render == "fit" else None

        def render(latent: jax.Array) -> jax.Array:
            w = self.inverter.map(frozen, latent) if self.space == "z" else latent
            return fit(self.inverter.render(frozen, w, offsets, resolution), size)

        def loss_of_fake(delta: jax.Array) -> jax.Array:
            logits = classify(render(origin + delta)).astype(jnp.float32)
            if self.attack.gradient == "normalized":
                # The loss grows with this margin alone, so its normalised gradient is the same; but where the detector
                # is sure, the loss's own gradient, (1 - p) times this one, is rounded to zero.
                return logits[:, REAL] - logits[:, FAKE]
            return optax.softmax_cross_entropy_with_integer_labels(logits, jnp.full(logits.shape[0], FAKE))

        delta = ascend(loss_of_fake, keys, origin.shape[1:], self.attack)
        length = radius(delta, self.attack.norm)
        on_surface = (length >= self.attack.epsilon * (1 - 1e-4)).astype(jnp.float32)
        return Forged(render(origin + delta), render(origin), length, on_surface)


def _split(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    pairs = jax.vmap(jax.random.split)(keys)
    return pairs[:, 0], pairs[:, 1]
