"""Forgeries in a generator's latent space: the reconstruction G(E(x)), and the latent adversary of Algorithm 1."""

import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.struct
import jax
import jax.numpy as jnp
import optax

from fdetect_jax.errors import UserError
from fdetect_jax.forgery.base import Classify, Forged
from fdetect_jax.forgery.pgd import Attack, ascend, trajectory
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


@flax.struct.dataclass
class AttackPath:
    """An attack step by step, from its start to the fake that it ends in.

    image: (steps + 1, B, S, S, 3) in [0, 1]. radius: (steps + 1, B), size of the offset.
    """

    image: jax.Array
    radius: jax.Array


class _Climb(NamedTuple):
    """An attack that is about to begin: from ``origin`` (B, …), a latent, up ``objective`` of the offset."""

    origin: jax.Array
    render: Callable[[jax.Array], jax.Array]
    objective: Callable[[jax.Array], jax.Array]
    keys: jax.Array


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
                raise UserError(f"forgery.{name}: found {getattr(self, name)!r}, wanted one of {allowed}")

    def forge(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> Forged:
        climb = self._climb(keys, classify, images, frozen)
        delta = ascend(climb.objective, climb.keys, climb.origin.shape[1:], self.attack)
        length = radius(delta, self.attack.norm)
        on_surface = (length >= self.attack.epsilon * (1 - 1e-4)).astype(jnp.float32)
        return Forged(climb.render(climb.origin + delta), climb.render(climb.origin), length, on_surface)

    def path(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> AttackPath:
        """The way to what ``forge`` makes of the same arguments, step by step."""
        climb = self._climb(keys, classify, images, frozen)
        deltas = trajectory(climb.objective, climb.keys, climb.origin.shape[1:], self.attack)
        length = jax.vmap(lambda delta: radius(delta, self.attack.norm))(deltas)
        return AttackPath(jax.lax.map(lambda delta: climb.render(climb.origin + delta), deltas), length)

    def _climb(self, keys: jax.Array, classify: Classify, images: jax.Array, frozen: Any) -> _Climb:
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

        return _Climb(origin, render, loss_of_fake, keys)


def _split(keys: jax.Array) -> tuple[jax.Array, jax.Array]:
    pairs = jax.vmap(jax.random.split)(keys)
    return pairs[:, 0], pairs[:, 1]
