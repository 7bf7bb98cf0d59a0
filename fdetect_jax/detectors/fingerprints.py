"""Explicit GAN fingerprints: what an autoencoder leaves of a face, compared with the fingerprint of each generator.

In: images. Out: Outputs. Source: Yu, Davis and Fritz, "Attributing Fake Images to GANs" (ICCV 2019, arXiv 1811.08180),
section 3.4, and the authors' code (directory ``classifier_visNet``).

The fingerprint of an image x is F = x − R(x). The fingerprint M of each class is a parameter as large as the image, and
the logit of a class is the correlation of F and M.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.attribution import LEAST, EqualConv, EqualDense, Trunk, TrunkConfig
from fdetect_jax.detectors.layers import check_size, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.stddev import minibatch_stddev
from fdetect_jax.types import Outputs

CORRELATIONS = ("inner", "normalized")
FINGERPRINTS = "fingerprints"  # the parameter (S, S, 3, K) that a report draws, and the head (B, S, S, 3)
_CELLS = 4  # of each side, in which the embedding adds up what fingerprints have in common
_GROUP = 4  # rows whose deviation the critic sees
_TINY = 1e-12  # keeps the derivative of a norm finite at 0


@dataclasses.dataclass(frozen=True)
class FingerprintsConfig(TrunkConfig):
    """Defines the detector; fields of ``TrunkConfig``, and:

    correlation: "inner", the inner product of F and M as in the authors' code, M scaled by the root of its size; or
    "normalized" as in the paper, both without their mean and at unit length, so that logits lie in [-1, 1].
    critic: whether it has the discriminator that the authors train R against; needed by the term ``critic``.
    """

    correlation: str = "inner"
    critic: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.correlation not in CORRELATIONS:
            raise UserError(f"detector.correlation: found {self.correlation!r}, wanted one of {CORRELATIONS}")


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "Fingerprints":
    """UserError for a field that is unknown or out of range. axis_name: not used, for it has no BatchNorm."""
    return Fingerprints(from_fields(FingerprintsConfig, dict(overrides), "detector"), dtype)


class Autoencoder(nn.Module):
    """R: images (B, S, S, 3) in [-1, 1] -> the maps on the way, and the same images, float32 in (-1, 1)."""

    config: TrunkConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        maps, x = Trunk(self.config, self.dtype, name="encoder")(x)
        for number in range(2):
            x = EqualConv(self.config.channels(LEAST), self.dtype, name=f"latent{number}")(x)
        side = LEAST
        while side <= self.config.size:
            if side > LEAST:
                x = doubled(x)
            for number in range(2):
                x = EqualConv(self.config.channels(side), self.dtype, name=f"up{side}_{number}")(x)
            maps[f"up{side}"] = x
            side *= 2
        return maps, jnp.tanh(EqualConv(3, self.dtype, active=False, name="rgb")(x).astype(jnp.float32))


def doubled(x: jax.Array) -> jax.Array:
    """Every pixel four times: (B, H, W, C) -> (B, 2H, 2W, C)."""
    b, h, w, c = x.shape
    return jnp.broadcast_to(x[:, :, None, :, None], (b, h, 2, w, 2, c)).reshape(b, 2 * h, 2 * w, c)


class Critic(nn.Module):
    """The discriminator D: images (B, S, S, 3) in [-1, 1] -> (B,) float32, higher for real ones."""

    config: TrunkConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        _, x = Trunk(self.config, self.dtype, name="trunk")(x)
        x = minibatch_stddev(x, math.gcd(_GROUP, x.shape[0]))
        x = EqualConv(self.config.channels(LEAST), self.dtype, name=f"conv{LEAST}_0")(x)
        x = EqualDense(self.config.channels(LEAST // 2), name="hidden")(x.reshape(x.shape[0], -1))
        return EqualDense(1, gain=1.0, name="fc")(x)[:, 0]


@jax.custom_vjp
def reversed_gradient(x: jax.Array) -> jax.Array:
    """``x``, whose gradient is negated: one loss trains D, which minimises it, and R, which maximises it."""
    return x


reversed_gradient.defvjp(lambda x: (x, None), lambda _, gradient: (-gradient,))


class Fingerprints(nn.Module):
    """The detector; class 0 is real, the others are generators. Fingerprints, logits and heads are float32."""

    config: FingerprintsConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, S, S, 3) RGB, uint8 or float in [0, 1], S the config's size.
          train: draws the mixtures of the critic's penalty (rng "dropout"); they are halves otherwise.

        Returns:
          Outputs with logits (B, K) and the heads fingerprints (B, S, S, 3), x − R(x) of images in [-1, 1];
          reconstruction (B, S, S, 3) in [0, 1]; embedding (B, 16 K), what F and each M have in common in each of 4 x 4
          cells, whose sums are the logits; features/…; with a critic also critic/real, critic/reconstruction and
          critic/slope, (B,) each: D(x), D(R(x)) and the norm of D's gradient between the two.
        """
        config = self.config
        check_size(config.size, images)
        x = normalized(images, "half", jnp.float32)
        maps, rebuilt = Autoencoder(config, self.dtype, name="autoencoder")(x)
        residual = x - rebuilt
        shape = (config.size, config.size, 3, config.num_classes)
        models = self.param(FINGERPRINTS, drawn(self, nn.initializers.normal(1.0)), shape)
        common = correlated(residual, models, config.correlation)
        heads = {
            "embedding": common.reshape(common.shape[0], -1),
            "reconstruction": (rebuilt + 1) / 2,
            FINGERPRINTS: residual,
        }
        if config.critic:
            heads |= self._criticised(x, rebuilt, train)
        return Outputs(jnp.sum(common, axis=(1, 2)), heads | named(maps))

    def _criticised(self, x: jax.Array, rebuilt: jax.Array, train: bool) -> dict[str, jax.Array]:
        critic = Critic(self.config, self.dtype, name="critic")
        real, made = critic(x), critic(reversed_gradient(rebuilt))
        shape = (x.shape[0], 1, 1, 1)
        share = jax.random.uniform(self.make_rng("dropout"), shape) if train else jnp.full(shape, 0.5)
        mixed = x + share * (jax.lax.stop_gradient(rebuilt) - x)
        network, variables = critic.unbind()
        slopes = jax.grad(lambda images: jnp.sum(network.apply(variables, images)))(mixed)
        slope = jnp.sqrt(jnp.sum(jnp.square(slopes), axis=(1, 2, 3)) + _TINY)
        return {"critic/real": real, "critic/reconstruction": made, "critic/slope": slope}


def correlated(residual: jax.Array, models: jax.Array, correlation: str) -> jax.Array:
    """What image and model fingerprints have in common, cell by cell; its sum over cells is their correlation.

    residual: (B, S, S, 3). models: (S, S, 3, K). correlation: one of ``CORRELATIONS``. Returns (B, 4, 4, K).
    """
    if correlation == "normalized":
        residual, models = _unit(residual, (1, 2, 3)), _unit(models, (0, 1, 2))
    else:
        models = models / math.sqrt(math.prod(models.shape[:3]))
    cell = models.shape[0] // _CELLS
    residual = residual.reshape(-1, _CELLS, cell, _CELLS, cell, 3)
    models = models.reshape(_CELLS, cell, _CELLS, cell, 3, -1)
    return jnp.einsum("bisjtc,isjtck->bijk", residual, models)


def _unit(x: jax.Array, axes: tuple[int, ...]) -> jax.Array:
    x = x - jnp.mean(x, axis=axes, keepdims=True)
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=axes, keepdims=True) + _TINY)
