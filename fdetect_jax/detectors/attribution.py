"""The attribution network of GAN fingerprints: which generator made a face. In: images. Out: Outputs.

Source: Yu, Davis and Fritz, "Attributing Fake Images to GANs" (ICCV 2019, arXiv 1811.08180), and the authors' code
(directory ``classifier``). Every layer has an equalised learning rate: its weights are stored as N(0, 1) and scaled
when they are used. The layers here serve ``fingerprints`` too.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import check_number, check_size, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import UNPADDED, conv2d, depthwise_conv2d
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import Outputs

MODES = ("postpool", "predownscale")
LEAST = 4  # pixels of a side, at which the trunk ends
GAIN = math.sqrt(2.0)
_SLOPE = 0.2
_BINOMIAL = (1, 4, 6, 4, 1)


@dataclasses.dataclass(frozen=True)
class TrunkConfig:
    """The size of a network; a wrong value raises UserError naming ``detector.<field>``.

    size: pixels of a side of its images, a power of two from 8 on. fmap_base, fmap_max: a layer at side s has
    min(2 · fmap_base / s, fmap_max) channels; the authors' 128 px network has 1024 and 512. num_classes: 2, or one for
    real faces and one for each generator.
    """

    size: int = 128
    fmap_base: int = 1024
    fmap_max: int = 512
    num_classes: int = 2

    def __post_init__(self) -> None:
        powers = "a power of two of at least 8"
        check_number("size", self.size, int, 2 * LEAST, powers)
        if self.size & (self.size - 1):
            raise UserError(f"detector.size: found {self.size}, wanted {powers}")
        wide = f"a whole number of at least half of size, {self.size // 2}"
        check_number("fmap_base", self.fmap_base, int, self.size // 2, wide)
        check_number("fmap_max", self.fmap_max, int, 1, "a whole number of at least 1")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")

    def channels(self, side: int) -> int:
        """Of the first convolution at ``side`` pixels; the second one has those of half the side."""
        return min(2 * self.fmap_base // side, self.fmap_max)


@dataclasses.dataclass(frozen=True)
class AttributionConfig(TrunkConfig):
    """Defines the attribution network; fields of ``TrunkConfig``, and those of the paper's analysis.

    mode, switch: "postpool" convolves at sides above ``switch`` and only averages from there to 4 px, so that a
    decision rests on small patches; "predownscale" blurs and halves the image down to ``switch`` and convolves from
    there on, so that a decision rests on low frequencies. "postpool" with 4 is the whole network.
    """

    mode: str = "postpool"
    switch: int = LEAST

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.mode not in MODES:
            raise UserError(f"detector.mode: found {self.mode!r}, wanted one of {', '.join(MODES)}")
        sides = [2**power for power in range(2, self.size.bit_length())]
        if self.switch not in sides:
            raise UserError(f"detector.switch: found {self.switch!r}, wanted one of {sides}")


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "Attribution":
    """UserError for a field that is unknown or out of range. axis_name: not used, for it has no BatchNorm."""
    return Attribution(from_fields(AttributionConfig, dict(overrides), "detector"), dtype)


class EqualConv(nn.Module):
    """Convolution with bias, as large as its input, whose borders it reflects; weights are scaled by gain / √fan_in.

    active: followed by leaky ReLU of slope 0.2.
    """

    features: int
    dtype: jnp.dtype
    active: bool = True
    kernel: int = 3

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape, edge = (self.kernel, self.kernel, x.shape[-1], self.features), self.kernel // 2
        weight = self.param("weight", drawn(self, nn.initializers.normal(1.0)), shape)
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        x = jnp.pad(x.astype(self.dtype), ((0, 0), (edge, edge), (edge, edge), (0, 0)), "reflect")
        x = conv2d(x, (weight * (GAIN / math.sqrt(math.prod(shape[:3])))).astype(self.dtype), padding=UNPADDED)
        x = x + per_channel(bias, x).astype(self.dtype)
        return nn.leaky_relu(x, _SLOPE) if self.active else x


class EqualDense(nn.Module):
    """Dense layer in float32, weights scaled by gain / √fan_in; with gain √2 it is followed by leaky ReLU."""

    features: int
    gain: float = GAIN

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (x.shape[-1], self.features)
        weight = self.param("weight", drawn(self, nn.initializers.normal(1.0)), shape)
        x = x.astype(jnp.float32) @ (weight * (self.gain / math.sqrt(shape[0])))
        x = x + per_channel(self.param("bias", nn.initializers.zeros, (self.features,)), x)
        return nn.leaky_relu(x, _SLOPE) if self.gain == GAIN else x


class Trunk(nn.Module):
    """Images (B, S, S, 3) in [-1, 1] -> the maps of every side down to 8 before they are halved, and the last at 4.

    Per side two convolutions, then the average of 2 x 2; or the halving alone, by ``AttributionConfig``'s mode.
    """

    config: TrunkConfig
    dtype: jnp.dtype
    mode: str = "postpool"
    switch: int = LEAST

    @nn.compact
    def __call__(self, x: jax.Array) -> tuple[dict[str, jax.Array], jax.Array]:
        maps, side = {}, self.config.size
        while side > LEAST:
            if side > self.switch if self.mode == "postpool" else side <= self.switch:
                x = EqualConv(self.config.channels(side), self.dtype, name=f"conv{side}_0")(x)
                x = EqualConv(self.config.channels(side // 2), self.dtype, name=f"conv{side}_1")(x)
                maps[f"side{side}"] = x
            x = blurred_half(x) if self.mode == "predownscale" and side > self.switch else halved(x)
            side //= 2
        return maps, x


def halved(x: jax.Array) -> jax.Array:
    """The mean of 2 x 2 pixels: (B, H, W, C) -> (B, H/2, W/2, C)."""
    return nn.avg_pool(x, (2, 2), (2, 2))


def blurred_half(x: jax.Array) -> jax.Array:
    """A 5 x 5 binomial blur with reflected borders, every second pixel: (B, H, W, C) -> (B, H/2, W/2, C)."""
    taps = jnp.asarray(_BINOMIAL, jnp.float32) / sum(_BINOMIAL)
    kernel = jnp.repeat(jnp.outer(taps, taps)[..., None], x.shape[-1], axis=2).astype(x.dtype)
    x = jnp.pad(x, ((0, 0), (2, 2), (2, 2), (0, 0)), "reflect")
    return depthwise_conv2d(x, kernel, 2, UNPADDED)


class Attribution(nn.Module):
    """The detector; class 0 is real, the others are generators. Dense layers, logits and embedding are float32."""

    config: AttributionConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, S, S, 3) RGB, uint8 or float in [0, 1], S the config's size.
          train: changes nothing.

        Returns:
          Outputs with logits (B, classes) and the heads embedding (B, D), D = ``channels(4)`` or the number of classes
          if that is larger, and features/….
        """
        config = self.config
        check_size(config.size, images)
        x = normalized(images, "half", self.dtype)
        maps, x = Trunk(config, self.dtype, config.mode, config.switch, name="trunk")(x)
        maps[f"side{LEAST}"] = x = EqualConv(config.channels(LEAST), self.dtype, name=f"conv{LEAST}_0")(x)
        width = max(config.channels(LEAST), config.num_classes)
        embedding = EqualDense(width, name="hidden")(x.reshape(x.shape[0], -1))
        logits = EqualDense(config.num_classes, gain=1.0, name="fc")(embedding)
        return Outputs(logits, {"embedding": embedding} | named(maps))
