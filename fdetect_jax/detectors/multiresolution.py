"""Multi-resolution detector with attention. In: images. Out: logits, an attention map and the cosines of ArcFace.

An attention branch weights the last map of an EfficientNet before the final convolution, and an earlier map in the
same way; a softmax or an ArcFace head takes both. The paper's ``network1`` uses only the last MBConv stage,
``proposed`` also the stage before it, ``network2`` the stage two before it instead.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors import efficientnet
from fdetect_jax.detectors.efficientnet import VARIANTS, EfficientNetConfig, normed, trunk
from fdetect_jax.detectors.layers import Conv, classifier, named
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.margin import CosineHead
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

# The second map comes from this many stages before the last one.
MAPS: dict[str, int | None] = {"network1": None, "proposed": 1, "network2": 2}
HEADS = ("arcface", "softmax")


@dataclasses.dataclass(frozen=True)
class MultiResolutionConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    trunk: a key of ``efficientnet.VARIANTS``; trunk_overrides: fields of its config that differ.
    maps: a key of ``MAPS``. head: "arcface", logits are ``scale`` times the cosines (the loss adds the margin); or
    "softmax". scale: s > 0. attention: channels of the attention branch's convolutions.
    """

    trunk: str = "b4"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    maps: str = "proposed"
    head: str = "arcface"
    scale: float = 16.0
    attention: int = 128

    def __post_init__(self) -> None:
        for name, allowed in (("trunk", VARIANTS), ("maps", MAPS), ("head", HEADS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted one of {sorted(allowed)}")
        if isinstance(self.scale, bool) or not isinstance(self.scale, Real) or not self.scale > 0:
            raise UserError(f"detector.scale: found {self.scale!r}, wanted a number above 0")
        if isinstance(self.attention, bool) or not isinstance(self.attention, int) or self.attention < 1:
            raise UserError(f"detector.attention: found {self.attention!r}, wanted a whole number of at least 1")
        back, stages = MAPS[self.maps] or 0, len(self.network.stages)
        if stages <= back:
            raise UserError(f"detector.maps: found {self.maps!r} and {stages} stages, wanted more than {back}")

    @property
    def network(self) -> EfficientNetConfig:
        """The trunk's config."""
        return efficientnet.config_of(self.trunk, self.trunk_overrides)


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "MultiResolution":
    """The detector with fields of its config replaced; UserError for a field that is unknown or out of range."""
    return MultiResolution(from_fields(MultiResolutionConfig, overrides, "detector"), axis_name, dtype)


class AttentionBranch(nn.Module):
    """Two 3x3 convolutions with BatchNorm and ReLU, and a 1x1 convolution to one channel with a sigmoid."""

    network: EfficientNetConfig
    channels: int
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """(B, h, w, C) -> (B, h, w, 1) float32 in [0, 1]."""
        network = self.network
        for number in range(2):
            x = Conv(self.channels, 3, pads=((1, 1), (1, 1)), dtype=self.dtype, name=f"conv{number}")(x)
            norm = BatchNorm(train, network.bn_momentum, network.bn_epsilon, self.axis_name, False, name=f"bn{number}")
            x = nn.relu(norm(x))
        return nn.sigmoid(nn.Dense(1, name="point")(x.astype(jnp.float32)))


class MultiResolution(nn.Module):
    """The detector; arguments as for ``EfficientNet``. Embedding, attention, cosines and logits are float32."""

    config: MultiResolutionConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1].
          train: batch statistics ("batch_stats" mutable), dropout and drop-connect (rng "dropout").

        Returns:
          Outputs with logits (B, classes) and heads: embedding (B, D), D = the trunk's head channels per map;
          attention (B, h, w, 1) of the last map's size; features/…; and with the ArcFace head cosines (B, classes).
        """
        config, network = self.config, self.config.network
        features = trunk(network, images, train, self.axis_name, self.dtype)
        stages = [x for name, x in features.items() if name.startswith("stage")]
        branch = AttentionBranch(network, config.attention, self.axis_name, self.dtype, name="attention")
        attention = branch(stages[-1], train)

        def pooled(x: jax.Array, name: str) -> jax.Array:
            where = jax.image.resize(attention, (*x.shape[:3], 1), "linear").astype(x.dtype)
            x = Conv(network.ends[1], dtype=self.dtype, name=f"conv_{name}")(x * where)
            features[name] = normed(network, train, self.axis_name, f"bn_{name}")(x)
            return features[name].mean(axis=(1, 2), dtype=jnp.float32)

        vectors = []
        if (back := MAPS[config.maps]) is not None:
            vectors.append(pooled(stages[-1 - back], "earlier"))
        vectors.append(pooled(stages[-1], "head"))
        embedding = jnp.concatenate(vectors, axis=-1)
        h = nn.Dropout(network.dropout, deterministic=not train)(embedding)
        heads = {"embedding": embedding, "attention": attention}
        if config.head == "arcface":
            cosines = CosineHead(network.num_classes, name="fc")(h)
            return Outputs(config.scale * cosines, heads | {"cosines": cosines} | named(features))
        logits = classifier(self, network.num_classes)(h)
        return Outputs(logits, heads | named(features))
