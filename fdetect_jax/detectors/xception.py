"""Xception. In: images. Out: logits, the pooled embedding and feature maps.

Source: Chollet 2017 (arXiv 1610.02357), in the form of T. Standley's and R. Cadene's PyTorch ports, whose layers' names
these are; FaceForensics++ (Rössler et al. 2019, arXiv 1901.08971) trains it as its baseline.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import Conv, DepthwiseConv, check_number, classifier, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

SIZE = 299  # pixels of a side, of the networks that were published
_STEM, _ENTRY, _EXIT = (32, 64), (128, 256, 728), (1024, 1536, 2048)  # channels
_MOST_BLOCKS = 100  # a file that asks for more would keep the program busy for ever
_PADS = ((1, 1), (1, 1))


@dataclasses.dataclass(frozen=True)
class XceptionConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    width: factor on all channels, which are rounded to multiples of 8. blocks: in the middle, at the size to which the
    entry reduces the image. stem_stride: of the first convolution; 2, or 1 to keep the finest texture of small images.
    dropout: before the classifier, in [0, 1); FaceForensics++ trains without.
    bn_momentum, bn_epsilon: of BatchNorm; the defaults are PyTorch's.
    """

    width: float = 1.0
    blocks: int = 8
    stem_stride: int = 2
    dropout: float = 0.0
    num_classes: int = 2
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        for name in ("width", "bn_epsilon"):
            check_number(name, getattr(self, name), Real, 1e-12, "a number above 0")
        for name in ("dropout", "bn_momentum"):
            check_number(name, getattr(self, name), Real, 0, "a number in [0, 1)", below=1)
        wanted = f"a whole number from 1 to {_MOST_BLOCKS}"
        check_number("blocks", self.blocks, int, 1, wanted, below=_MOST_BLOCKS + 1)
        check_number("stem_stride", self.stem_stride, int, 1, "1 or 2", below=3)
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")

    def channels(self, base: int) -> int:
        """``base`` times width, rounded to a multiple of 8."""
        return max(8, int(base * self.width + 4) // 8 * 8)

    @property
    def smallest(self) -> int:
        """Pixels of a side of the smallest image: one is left after the two convolutions of the stem."""
        return 5 if self.stem_stride == 1 else 7


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "Xception":
    """The detector with fields of its config replaced; UserError for a field that is unknown or out of range."""
    return Xception(from_fields(XceptionConfig, overrides, "detector"), axis_name, dtype)


class Separable(nn.Module):
    """A 3x3 convolution of each channel (``conv1``), then a 1x1 convolution over channels (``pointwise``)."""

    features: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = DepthwiseConv(3, 1, _PADS, self.dtype, name="conv1")(x)
        return Conv(self.features, dtype=self.dtype, name="pointwise")(x)


class Block(nn.Module):
    """Separable convolutions with ReLU before and BatchNorm after each, max-pooling if strided; plus the input.

    features: channels of each convolution. stride: 1 or 2. relu_first: whether ReLU comes before the first convolution.
    The input passes a strided 1x1 convolution with BatchNorm where the shapes differ.
    """

    config: XceptionConfig
    features: Sequence[int]
    stride: int
    relu_first: bool
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        def norm(name: str) -> BatchNorm:
            return normed(self.config, train, self.axis_name, name)

        y = x
        for number, features in enumerate(self.features):
            y = nn.relu(y) if number or self.relu_first else y
            y = norm(f"bn{number}")(Separable(features, self.dtype, name=f"conv{number}")(y))
        if self.stride > 1:
            y = nn.max_pool(y, (3, 3), (self.stride, self.stride), _PADS)
        if self.stride > 1 or self.features[-1] != x.shape[-1]:
            x = x[:, :: self.stride, :: self.stride]
            x = norm("skip_bn")(Conv(self.features[-1], dtype=self.dtype, name="skip")(x))
        return y + x


def normed(config: XceptionConfig, train: bool, axis_name: str | None, name: str) -> BatchNorm:
    """BatchNorm with the fields of a config."""
    return BatchNorm(train, config.bn_momentum, config.bn_epsilon, axis_name, name=name)


def trunk(
    config: XceptionConfig,
    images: jax.Array,
    train: bool,
    axis_name: str | None,
    dtype: jnp.dtype,
    attend: Callable[[jax.Array], jax.Array] | None = None,
) -> dict[str, jax.Array]:
    """All layers below the pooling; call it in a compact method. Arguments as for ``Xception``.

    attend: changes the map between the first and the second half of the middle blocks.

    Returns:
      "stem", "block1" to "block3", "middle", "exit" and "head" -> (B, h, w, C); "head" is before its ReLU.

    Raises:
      UserError: images of another shape, or too small.
    """
    if min(images.shape[1:3]) < config.smallest:
        found = f"{images.shape[1]} x {images.shape[2]}"
        raise UserError(f"detector images: found {found}, wanted at least {config.smallest} pixels a side")
    x, features, number = normalized(images, "half", dtype), {}, 0

    def block(x: jax.Array, wide: Sequence[int], stride: int) -> jax.Array:
        nonlocal number
        number += 1
        return Block(config, tuple(wide), stride, number > 1, axis_name, dtype, name=f"block{number}")(x, train)

    def norm(number: int) -> BatchNorm:
        return normed(config, train, axis_name, f"bn{number}")

    for place, (base, stride) in enumerate(zip(_STEM, (config.stem_stride, 1), strict=True), start=1):
        x = Conv(config.channels(base), 3, stride, dtype=dtype, name=f"conv{place}")(x)
        x = nn.relu(norm(place)(x))
    features["stem"] = x
    for base in _ENTRY:
        x = block(x, [config.channels(base)] * 2, 2)
        features[f"block{number}"] = x
    middle = config.channels(_ENTRY[-1])
    for place in range(config.blocks):
        if attend is not None and place == config.blocks // 2:
            x = attend(x)
        x = block(x, [middle] * 3, 1)
    features["middle"] = x
    wide, *last = map(config.channels, _EXIT)
    features["exit"] = x = block(x, [middle, wide], 2)
    for place, channels in enumerate(last, start=3):
        x = nn.relu(x) if place > 3 else x
        x = norm(place)(Separable(channels, dtype, name=f"conv{place}")(x))
    return features | {"head": x}


def classified(module: nn.Module, config: XceptionConfig, head: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
    """(logits, embedding), float32, of the map "head"; call it in a compact method of ``module``."""
    embedding = nn.relu(head).mean(axis=(1, 2), dtype=jnp.float32)
    h = nn.Dropout(config.dropout, deterministic=not train)(embedding)
    return classifier(module, config.num_classes)(h), embedding


class Xception(nn.Module):
    """The detector. Parameters, statistics, embedding and logits are float32 for every ``dtype``.

    axis_name: mapped axis over which BatchNorm averages; None: per device. dtype: of convolutions and activations.
    """

    config: XceptionConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; any size, but the published weights are for 299 pixels.
          train: batch statistics ("batch_stats" mutable) and dropout (rng "dropout").

        Returns:
          Outputs with logits (B, classes) and heads: embedding (B, C) before dropout, and the maps of ``trunk``.
        """
        features = trunk(self.config, images, train, self.axis_name, self.dtype)
        logits, embedding = classified(self, self.config, features["head"], train)
        return Outputs(logits, {"embedding": embedding} | named(features))
