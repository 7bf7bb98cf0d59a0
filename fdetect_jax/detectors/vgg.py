"""VGG-16 and VGG-19 without BatchNorm: detectors, and a trunk for others. In: images. Out: Outputs, or maps by name.

Source: Simonyan and Zisserman 2015 (arXiv 1409.1556), configurations D and E, in torchvision's form: 3x3 convolutions
with a bias and ReLU, 2x2 max-pooling after each of five blocks, and a classifier of three dense layers.
"""

import dataclasses
from collections.abc import Callable, Mapping
from functools import partial
from numbers import Real
from types import MappingProxyType
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.detectors.layers import Conv, Layer, check_normalization, check_number, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import Outputs

CHANNELS = 64  # of the convolutions of the first block, at width 1
MULTIPLES = (1, 2, 4, 8, 8)  # of these, of each block
REPEATS = {"vgg16": (2, 2, 3, 3, 3), "vgg19": (2, 2, 4, 4, 4)}  # convolutions of each block
CELLS = 7  # of a side of the map that the classifier takes


@dataclasses.dataclass(frozen=True)
class VGGConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    width: multiplies the channels of the first block, which are rounded, and with these all others. hidden: units of
    either dense layer before the last, as torchvision has them; 0: none, and the last takes the mean of the last map.
    dropout: after either of these layers, or with none of them before the last one, in [0, 1).
    normalization: of the input, a key of ``layers.NORMALIZATIONS``.
    """

    width: float = 1.0
    hidden: int = 4096
    dropout: float = 0.5
    num_classes: int = 2
    normalization: str = "imagenet"

    def __post_init__(self) -> None:
        check_width(self.width)
        check_number("hidden", self.hidden, int, 0, "a whole number of at least 0")
        check_number("dropout", self.dropout, Real, 0, "a number in [0, 1)", below=1)
        check_number("num_classes", self.num_classes, int, 1, "a whole number of at least 1")
        check_normalization(self.normalization)


def check_width(width: Any) -> None:
    """UserError for a factor that leaves convolutions without channels."""
    check_number("width", width, Real, 1 / CHANNELS, f"a number of at least 1/{CHANNELS}")


def layers(name: str, last: str = "pool5") -> list[str]:
    """The layers of "vgg16" or "vgg19" in order, up to ``last``: "relu1_1", "relu1_2", "pool1", … "pool5".

    "reluN_M" stands for convolution M of block N with its ReLU. Its parameters lie under ``NAME_convN_M``.

    Raises:
      ValueError: no such layer.
    """
    found = []
    for block, repeats in enumerate(REPEATS[name], start=1):
        found += [f"relu{block}_{number}" for number in range(1, repeats + 1)] + [f"pool{block}"]
    return found[: found.index(last) + 1]


def trunk(
    name: str,
    x: jax.Array,
    last: str = "pool5",
    width: float = 1.0,
    dtype: jnp.dtype = jnp.float32,
    changes: Mapping[str, Callable[[jax.Array], jax.Array]] = MappingProxyType({}),
) -> dict[str, jax.Array]:
    """The convolutional layers; call it in a compact method.

    The parameters of different networks have different names, and those of one network the same ones in every
    detector. So ``detector.weights`` starts any detector with this trunk from a converted VGG, and refuses the other
    network's.

    Args:
      name: a key of ``REPEATS``. x: (B, H, W, 3), normalised as the detector wants them (``layers.normalized`` with
        "imagenet" for torchvision's weights). last: the last layer that is computed, one of ``layers``.
      width: see ``VGGConfig``. dtype: of the computation.
      changes: layer -> what is done to its map before the next layer takes it.

    Returns:
      "relu1_1", "relu1_2", "pool1", … in order -> (B, h, w, C) after ReLU or pooling; an odd row or column at the
      end of a map is not pooled.

    Raises:
      UserError: images so small that pooling leaves nothing.
    """
    wanted = layers(name, last)
    least = 2 ** sum(layer.startswith("pool") for layer in wanted)
    if min(x.shape[1:3]) < least:
        raise UserError(f"detector images: found {x.shape[1]} x {x.shape[2]}, wanted at least {least} x {least}")
    features = {}
    for layer in wanted:
        if layer.startswith("pool"):
            x = Layer(partial(nn.max_pool, window_shape=(2, 2), strides=(2, 2)))(x)
        else:
            place = layer.removeprefix("relu")
            channels = round(CHANNELS * width) * MULTIPLES[int(place[0]) - 1]
            conv = Conv(channels, 3, pads=((1, 1), (1, 1)), dtype=dtype, bias=True, name=f"{name}_conv{place}")
            x = Layer(nn.relu)(conv(x))
        features[layer] = x
        if layer in changes:
            x = changes[layer](x)
    return features


def cells(x: jax.Array, count: int = CELLS) -> jax.Array:
    """(B, h, w, C) -> (B, count, count, C) float32, means of cells that may overlap (PyTorch's adaptive pooling)."""
    high, wide = (jnp.asarray(_shares(n, count)) for n in x.shape[1:3])
    return jnp.einsum("ih,bhwc,jw->bijc", high, x.astype(jnp.float32), wide)


def _shares(n: int, count: int) -> np.ndarray:
    """(count, n): row i has the mean over positions ⌊i·n/count⌋ to ⌈(i + 1)·n/count⌉."""
    shares = np.zeros((count, n), np.float32)
    for i in range(count):
        first, end = i * n // count, -(-(i + 1) * n // count)
        shares[i, first:end] = 1 / (end - first)
    return shares


def classified(
    module: nn.Module, name: str, config: VGGConfig, x: jax.Array, train: bool
) -> tuple[jax.Array, jax.Array]:
    """(logits, embedding), float32, of the last map; call it in a compact method of ``module``."""
    dropout = nn.Dropout(config.dropout, deterministic=not train)
    init = drawn(module, nn.initializers.normal(0.01))
    if config.hidden:
        h = cells(x).reshape(x.shape[0], -1)
        for layer in ("fc6", "fc7"):
            embedding = nn.relu(nn.Dense(config.hidden, kernel_init=init, name=f"{name}_{layer}")(h))
            h = dropout(embedding)
    else:
        embedding = x.mean(axis=(1, 2), dtype=jnp.float32)
        h = dropout(embedding)
    return nn.Dense(config.num_classes, kernel_init=init, name="fc")(h), embedding


def build(name: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "VGG":
    """ "vgg16" or "vgg19". UserError for a field that is unknown or out of range. axis_name: not used."""
    return VGG(name, from_fields(VGGConfig, dict(overrides), "detector"), dtype)


class VGG(nn.Module):
    """The detector; the dense layers, embedding and logits are float32."""

    network: str
    config: VGGConfig
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1], at least 32 px a side; made for 224 px.
          train: dropout (rng "dropout").

        Returns:
          Outputs with logits (B, classes) and heads: embedding (B, D), D the hidden units or else the channels of the
          last map; features/relu1_1, … features/pool5.
        """
        config = self.config
        images = normalized(images, config.normalization, self.dtype)
        features = trunk(self.network, images, "pool5", config.width, self.dtype)
        logits, embedding = classified(self, self.network, config, features["pool5"], train)
        return Outputs(logits, {"embedding": embedding} | named(features))
