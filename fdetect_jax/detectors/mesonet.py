"""Meso-4 and MesoInception-4. In: images. Out: Outputs.

Source: Afchar et al. 2018 (arXiv 1809.00888) and the authors' code. Small convolutions, each followed by ReLU, then
BatchNorm, then max-pooling; one unit says P(real).
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from numbers import Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import Conv, check_number, check_size, named
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

SIZE = 256  # pixels of a side, of the authors' networks
_INCEPTION = ((1, 4, 4, 2), (2, 4, 4, 2))  # channels of the four branches of each of the first two layers
_PLAIN = ((8, 3), (8, 5))  # channels and kernel of the same layers of Meso-4
_LATER = ((16, 5), (16, 5))
_POOLS = (2, 2, 2, 4)
_HIDDEN, _SLOPE = 16, 0.1
_REDUCED = 32  # pixels of a side for one position of the last map


@dataclasses.dataclass(frozen=True)
class MesoNetConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    size: pixels of a side of its images, a multiple of 32: the first dense layer has weights for every position.
    dropout: before both dense layers, in [0, 1). num_classes: 2, the authors' one unit; or more, one unit each.
    bn_momentum, bn_epsilon: of BatchNorm; the defaults are Keras'.
    """

    size: int = SIZE
    dropout: float = 0.5
    num_classes: int = 2
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3

    def __post_init__(self) -> None:
        check_number("size", self.size, int, _REDUCED, f"a multiple of {_REDUCED}")
        if self.size % _REDUCED:
            raise UserError(f"detector.size: found {self.size}, wanted a multiple of {_REDUCED}")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")
        for name in ("dropout", "bn_momentum"):
            check_number(name, getattr(self, name), Real, 0, "a number in [0, 1)", below=1)
        check_number("bn_epsilon", self.bn_epsilon, Real, 1e-12, "a number above 0")


def build(inception: bool, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "MesoNet":
    """Meso-4, or MesoInception-4. UserError for a field that is unknown or out of range."""
    return MesoNet(inception, from_fields(MesoNetConfig, dict(overrides), "detector"), axis_name, dtype)


def _conv(features: int, kernel: int, dilation: int, dtype: jnp.dtype, name: str) -> Callable[[jax.Array], jax.Array]:
    """A convolution with bias and ReLU; as large as its input. dilation: pixels between two taps."""
    init = nn.initializers.glorot_uniform()
    conv = Conv(features, kernel, pads="SAME", dtype=dtype, bias=True, init=init, dilation=dilation, name=name)
    return lambda x: nn.relu(conv(x))


class Inception(nn.Module):
    """Four branches on one input, joined along their channels: 1x1; 1x1, then 3x3 with a dilation of 1, 2 and 3."""

    channels: Sequence[int]
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        found = []
        for dilation, features in enumerate(self.channels):
            y = _conv(features, 1, 1, self.dtype, f"point{dilation}")(x)
            found.append(_conv(features, 3, dilation, self.dtype, f"wide{dilation}")(y) if dilation else y)
        return jnp.concatenate(found, axis=-1)


class MesoNet(nn.Module):
    """The detector; logits, embedding and the dense layers are float32."""

    inception: bool
    config: MesoNetConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, S, S, 3) RGB, uint8 or float in [0, 1], S the config's size.
          train: batch statistics ("batch_stats" mutable) and dropout (rng "dropout").

        Returns:
          Outputs with logits (B, classes), of the authors' one unit z: (z, 0); and the heads embedding (B, 16) and
          features/….
        """
        config = self.config
        check_size(config.size, images)
        x = images.astype(self.dtype) / (255 if images.dtype == jnp.uint8 else 1)
        features = {}
        for number, pool in enumerate(_POOLS):
            x = self._layer(number)(x)
            norm = BatchNorm(train, config.bn_momentum, config.bn_epsilon, self.axis_name, name=f"bn{number}")
            features[f"stage{number}"] = x = norm(x)
            x = nn.max_pool(x, (pool, pool), (pool, pool), "SAME")
        x = nn.Dropout(config.dropout, deterministic=not train)(x.reshape(x.shape[0], -1).astype(jnp.float32))
        init = nn.initializers.glorot_uniform()
        embedding = nn.leaky_relu(nn.Dense(_HIDDEN, kernel_init=drawn(self, init), name="hidden")(x), _SLOPE)
        x = nn.Dropout(config.dropout, deterministic=not train)(embedding)
        units = 1 if config.num_classes == 2 else config.num_classes
        logits = nn.Dense(units, kernel_init=drawn(self, init), name="fc")(x)
        if units == 1:
            logits = jnp.concatenate([logits, jnp.zeros_like(logits)], axis=-1)
        return Outputs(logits, {"embedding": embedding} | named(features))

    def _layer(self, number: int) -> Callable[[jax.Array], jax.Array]:
        if number < len(_PLAIN) and self.inception:
            return Inception(_INCEPTION[number], self.dtype, name=f"conv{number}")
        features, kernel = (*_PLAIN, *_LATER)[number]
        return _conv(features, kernel, 1, self.dtype, f"conv{number}")
