"""Detectors of face warping artefacts: FWA and DSP-FWA. In: images. Out: Outputs.

FWA (Li and Lyu 2019, arXiv 1811.00656) is a ResNet or VGG-16 in TF-slim's form. DSP-FWA, the authors' later version,
pools the last map of a ResNet-50 in torchvision's form at several scales. Both take BGR levels less their mean. The
authors' class 0 is fake; here class 0 is real, and ``convert.fwa`` exchanges them.
"""

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors import resnet, vgg
from fdetect_jax.detectors.layers import classifier, named
from fdetect_jax.detectors.resnet import ResNetConfig
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.types import Outputs

SLIM = {"form": "slim", "normalization": "caffe", "bn_momentum": 0.997}  # what FWA's ResNets change
_DSP = {"normalization": "caffe"}
TRUNKS = (*resnet.VARIANTS, "vgg16")


@dataclasses.dataclass(frozen=True)
class FWAConfig:
    """Defines FWA; a wrong value raises UserError naming ``detector.<field>``.

    trunk: one of ``TRUNKS``. trunk_overrides: fields of ``ResNetConfig`` or ``VGGConfig`` that differ from the
    authors' network. num_classes: K.
    """

    trunk: str = "resnet50"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_classes: int = 2

    def __post_init__(self) -> None:
        if self.trunk not in TRUNKS:
            raise UserError(f"detector.trunk: found {self.trunk!r}, wanted one of {list(TRUNKS)}")


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> nn.Module:
    """FWA: a ``ResNet`` or ``VGG`` with the authors' fields. UserError for a field that is unknown or out of range."""
    config = from_fields(FWAConfig, dict(overrides), "detector")
    own = {**config.trunk_overrides, "num_classes": config.num_classes}
    if config.trunk == "vgg16":
        return vgg.build("vgg16", {"normalization": "caffe"} | own, axis_name, dtype)
    return resnet.build(config.trunk, SLIM | own, axis_name, dtype)


@dataclasses.dataclass(frozen=True)
class DSPFWAConfig:
    """Defines DSP-FWA; a wrong value raises UserError naming ``detector.<field>``.

    trunk: a key of ``resnet.VARIANTS``; the authors published ResNet-50. trunk_overrides: fields of ``ResNetConfig``
    that differ from torchvision's with this input. levels: cells of a side, of each level of the pyramid.
    num_classes: K.
    """

    trunk: str = "resnet50"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    levels: tuple[int, ...] = (1, 2, 6)
    num_classes: int = 2

    def __post_init__(self) -> None:
        if self.trunk not in resnet.VARIANTS:
            raise UserError(f"detector.trunk: found {self.trunk!r}, wanted one of {sorted(resnet.VARIANTS)}")
        levels = tuple(self.levels)
        if not levels or any(isinstance(n, bool) or not isinstance(n, int) or n < 1 for n in levels):
            raise UserError(f"detector.levels: found {levels}, wanted whole numbers of at least 1")
        object.__setattr__(self, "levels", levels)
        _ = self.network

    @property
    def network(self) -> ResNetConfig:
        """The trunk's config."""
        return resnet.config_of(self.trunk, {**_DSP, **self.trunk_overrides, "num_classes": self.num_classes})


def build_dsp(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "DSPFWA":
    """DSP-FWA. UserError for a field that is unknown or out of range."""
    return DSPFWA(from_fields(DSPFWAConfig, dict(overrides), "detector"), axis_name, dtype)


def pyramid(x: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """(B, h, w, C) -> (B, C · Σ n²): the maxima of n x n cells for each n of ``levels``, by row, column and channel.

    As in the authors' code a cell is ⌈h / n⌉ high and the next one begins ⌊h / n⌋ below.

    Raises:
      UserError: that gives another number of cells than n x n.
    """
    parts = []
    for n in levels:
        sizes = x.shape[1:3]
        window, strides = (tuple(round_(size / n) for size in sizes) for round_ in (math.ceil, math.floor))
        if not min(strides) or any((size - k) // s + 1 != n for size, k, s in zip(sizes, window, strides, strict=True)):
            found = f"{n} and a last map of {sizes[0]} x {sizes[1]}"
            raise UserError(f"detector.levels: found {found}, which does not divide into {n} x {n} cells")
        parts.append(nn.max_pool(x, window, strides).reshape(len(x), -1))
    return jnp.concatenate(parts, axis=-1)


class DSPFWA(nn.Module):
    """DSP-FWA; arguments as for ``ResNet``. Embedding and logits are float32."""

    config: DSPFWAConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; with the default levels of 193 to 224 px a side.
          train: batch statistics ("batch_stats" mutable).

        Returns:
          Outputs with logits (B, K) and heads: embedding (B, C · Σ n²), 83,968 values of the authors' network,
          features/stem, features/stage1 ….

        Raises:
          UserError: the last map does not divide into the cells of a level.
        """
        config = self.config
        features = resnet.trunk(config.network, images, train, self.axis_name, self.dtype)
        embedding = pyramid(list(features.values())[-1], config.levels).astype(jnp.float32)
        return Outputs(classifier(self, config.num_classes)(embedding), {"embedding": embedding} | named(features))
