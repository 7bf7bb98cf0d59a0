"""Capsule-Forensics, versions 1 and 2. In: images. Out: Outputs.

Source: Nguyen et al. 2019, ICASSP (arXiv 1810.11215, version 1) and arXiv 1910.12467 (version 2), in the form of the
authors' code. The first three blocks of VGG-19 feed several primary capsules: two convolutions, mean and deviation of
every channel, two more convolutions over the channels. Dynamic routing combines them into one capsule for each class.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors import vgg
from fdetect_jax.detectors.layers import Conv, Layer, check_number, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import conv2d
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

TRUNK, LAST = "vgg19", "pool3"
CHANNELS = (64, 16)  # of the two convolutions over the image, for each capsule
PLACES, DATA = 8, 4  # values of a primary capsule, and of a class' capsule
_HIDDEN = 8  # channels between the two convolutions over the channels
_MOMENTUM, _EPSILON = 0.9, 1e-5  # of BatchNorm, PyTorch's
_INIT = nn.initializers.normal(0.02)
_PADS = ((1, 1), (1, 1))


@dataclasses.dataclass(frozen=True)
class CapsuleConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    capsules: primary ones. iterations: of the routing. noise: deviation of what is added to the routing's weights while
    training. dropout: share of the capsules' predictions that are zero while training, in [0, 1); the others keep
    their values, as in the authors' code. softmaxed: the head "capsules", of which the term ``capsule`` takes the
    cross-entropy, holds softmax over the classes. Version 1's code so applies softmax twice, version 2's once. width:
    of the trunk, see ``vgg.VGGConfig``.
    """

    capsules: int = 10
    iterations: int = 2
    noise: float = 0.01
    dropout: float = 0.05
    softmaxed: bool = False
    width: float = 1.0
    num_classes: int = 2

    def __post_init__(self) -> None:
        for name, least in (("capsules", 1), ("iterations", 1), ("num_classes", 2)):
            check_number(name, getattr(self, name), int, least, f"a whole number of at least {least}")
        check_number("noise", self.noise, Real, 0, "a number of at least 0")
        check_number("dropout", self.dropout, Real, 0, "a number in [0, 1)", below=1)
        vgg.check_width(self.width)


VERSIONS: dict[str, dict[str, Any]] = {  # the fields that differ
    "capsule_v1": {"capsules": 3, "dropout": 0.0, "softmaxed": True},
    "capsule_v2": {},
}


def build(version: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "CapsuleForensics":
    """A version of ``VERSIONS`` with fields replaced; UserError for a field that is unknown or out of range."""
    fields = {field.name: field.default for field in dataclasses.fields(CapsuleConfig)} | VERSIONS[version]
    return CapsuleForensics(from_fields(CapsuleConfig, fields | dict(overrides), "detector"), axis_name, dtype)


def squash(x: jax.Array, axis: int) -> jax.Array:
    """Vectors along ``axis``, scaled to the length n² / (1 + n²), n the length they had."""
    squared = jnp.sum(jnp.square(x), axis=axis, keepdims=True)
    return x * jnp.sqrt(squared + 1e-12) / (1 + squared)  # the gradient of a root at zero is infinite


def statistics(x: jax.Array) -> jax.Array:
    """(B, h, w, C) -> (B, C, 2) float32: mean and deviation over the positions, the latter unbiased."""
    x = x.astype(jnp.float32)
    mean = x.mean(axis=(1, 2), keepdims=True)
    squares = jnp.sum(jnp.square(x - mean), axis=(1, 2)) / (x.shape[1] * x.shape[2] - 1)
    varies = squares > 0  # a channel that ReLU made zero everywhere has no gradient
    deviation = jnp.where(varies, jnp.sqrt(jnp.where(varies, squares, 1.0)), 0.0)
    return jnp.stack([mean[:, 0, 0], deviation], axis=-1)


def route(x: jax.Array, weights: jax.Array, iterations: int, kept: jax.Array | None = None) -> jax.Array:
    """Dynamic routing as the authors' code has it.

    A coupling is a softmax over the primary capsules. It has a logit for every value of a class' capsule, to which each
    iteration but the last adds prediction times output, value by value and not as a dot product.

    Args:
      x: (B, 8, N), the primary capsules. weights: (C, N, 4, 8), which make a prediction for each class of each capsule.
      kept: (B, C, N, 4), factors of the predictions; None: all 1.

    Returns:
      (B, 4, C), the classes' capsules.
    """
    predictions = jnp.einsum("cnoi,bin->bcno", weights, x)
    predictions = predictions if kept is None else predictions * kept
    logits = jnp.zeros_like(predictions)
    for turn in range(iterations):
        outputs = squash(jnp.sum(nn.softmax(logits, axis=2) * predictions, axis=2, keepdims=True), axis=3)
        if turn < iterations - 1:
            logits = logits + predictions * outputs
    return outputs[:, :, 0].transpose(0, 2, 1)


class PerCapsule(nn.Module):
    """A 3x3 convolution of each capsule's own channels. The capsules lie side by side on the last axis."""

    capsules: int
    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, h, w, N·C) -> (B, h, w, N·features); kernel (N, 3, 3, C, features)."""
        inputs = x.shape[-1] // self.capsules
        kernel = self.param("kernel", drawn(self, _INIT), (self.capsules, 3, 3, inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.capsules * self.features,))
        parts = jnp.split(x.astype(self.dtype), self.capsules, axis=-1)
        kernels = kernel.astype(self.dtype)
        # One after another: a grouped convolution is several times slower on a CPU.
        y = jnp.concatenate([conv2d(part, one, 1, _PADS) for part, one in zip(parts, kernels, strict=True)], axis=-1)
        return y + per_channel(bias, y).astype(self.dtype)


class AlongChannels(nn.Module):
    """A convolution over the channels of each capsule, which is as long as its input, or half as long with stride 2."""

    features: int
    taps: int
    stride: int = 1

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """(B, L, N, c) float32 -> (B, ⌈L / stride⌉, N·features); kernel (N, taps, c, features)."""
        length, capsules, inputs = x.shape[1:]
        kernel = self.param("kernel", drawn(self, _INIT), (capsules, self.taps, inputs, self.features))
        bias = self.param("bias", nn.initializers.zeros, (capsules * self.features,))
        padded = jnp.pad(x, ((0, 0), (self.taps // 2, self.taps // 2), (0, 0), (0, 0)))
        windows = jnp.stack([padded[:, tap : tap + length : self.stride] for tap in range(self.taps)], axis=2)
        y = jnp.einsum("blknc,nkco->blno", windows, kernel)
        y = y.reshape(*y.shape[:2], -1)
        return y + per_channel(bias, y)


class PrimaryCapsules(nn.Module):
    """The capsules under the routing; those of all numbers are computed together."""

    capsules: int
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """(B, h, w, C) -> (B, 8, N) float32, squashed over the N capsules, and their map (B, h, w, N·16)."""

        def norm(x: jax.Array, number: int) -> jax.Array:
            return BatchNorm(train, _MOMENTUM, _EPSILON, self.axis_name, name=f"bn{number}")(x)

        n = self.capsules
        first = Conv(n * CHANNELS[0], 3, pads=_PADS, dtype=self.dtype, bias=True, init=_INIT, name="conv0")
        x = nn.relu(norm(first(x), 0))
        maps = Layer(nn.relu)(norm(PerCapsule(n, CHANNELS[1], self.dtype, name="conv1")(x), 1))
        x = statistics(maps).reshape(x.shape[0], n, CHANNELS[1], 2).transpose(0, 2, 1, 3)
        x = norm(AlongChannels(_HIDDEN, 5, 2, name="conv2")(x), 2)
        x = norm(AlongChannels(1, 3, name="conv3")(x.reshape(*x.shape[:2], n, _HIDDEN)), 3)
        return squash(x, axis=-1), maps


class Routing(nn.Module):
    """From primary capsules to those of the classes."""

    config: CapsuleConfig

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, 8, N) -> (B, 4, C) float32. train: noise, one draw for the batch, and dropout (rng "dropout")."""
        config = self.config
        shape = (config.num_classes, config.capsules, DATA, PLACES)
        weights, kept = self.param("kernel", drawn(self, nn.initializers.normal(1.0)), shape), None
        if train and config.noise:
            weights = weights + config.noise * jax.random.normal(self.make_rng("dropout"), shape)
        if train and config.dropout:
            key = self.make_rng("dropout")
            kept = jax.random.bernoulli(key, 1 - config.dropout, (x.shape[0], *shape[:3])).astype(x.dtype)
        return route(x, weights, config.iterations, kept)


class CapsuleForensics(nn.Module):
    """The detector; statistics, capsules, routing, embedding and logits are float32.

    The authors do not train the trunk: ``objective.trainable=('capsules/*', 'fc/*')``. They draw BatchNorm's scales
    from N(1, 0.02²); here these start at 1.
    """

    config: CapsuleConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; made for 128 px (version 1) or 300 px (version 2), and
            at least 16 px high or wide, so that the last map has two positions.
          train: batch statistics ("batch_stats" mutable), noise and dropout of the routing (rng "dropout").

        Returns:
          Outputs with logits (B, classes), logarithms of the classes' scores: the mean of softmax over the 4 values
          of the classes' capsules; and the heads embedding (B, 8·N), the primary capsules; capsules (B, 4, classes),
          the classes' capsules or, if ``softmaxed``, their softmax; features/pool1 … pool3 and features/primary.

        Raises:
          UserError: images that are too small.
        """
        config = self.config
        features = vgg.trunk(TRUNK, normalized(images, "imagenet", self.dtype), LAST, config.width, self.dtype)
        x = features[LAST]
        if x.shape[1] * x.shape[2] < 2:
            raise UserError(f"detector images: found {images.shape[1]} x {images.shape[2]}, wanted 16 px of a side")
        capsules = PrimaryCapsules(config.capsules, self.axis_name, self.dtype, name="capsules")
        primary, features["primary"] = capsules(x, train)
        z = Routing(config, name="fc")(primary, train)
        logits = jax.nn.logsumexp(nn.log_softmax(z, axis=-1), axis=1) - jnp.log(float(DATA))
        heads = {
            "embedding": primary.reshape(z.shape[0], -1),
            "capsules": nn.softmax(z, axis=-1) if config.softmaxed else z,
        }
        shown = {name: x for name, x in features.items() if not name.startswith("relu")}
        return Outputs(logits, heads | named(shown))
