"""Several EfficientNets as one detector, whose margin is the mean of theirs. In: images. Out: Outputs.

They can be trained apart, on what each is to find, and be joined afterwards (``convert.experts``).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.efficientnet import VARIANTS, EfficientNetConfig, config_of, maps
from fdetect_jax.detectors.layers import named
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import FAKE, Outputs, margin

MOST = 16


@dataclasses.dataclass(frozen=True)
class ExpertsConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    trunk: a key of ``efficientnet.VARIANTS``; trunk_overrides: fields of its config that differ, the same for all
    experts. count: how many there are, 1 to 16.
    """

    trunk: str = "lite0"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    count: int = 2

    def __post_init__(self) -> None:
        if self.trunk not in VARIANTS:
            raise UserError(f"detector.trunk: found {self.trunk!r}, wanted one of {sorted(VARIANTS)}")
        if isinstance(self.count, bool) or not isinstance(self.count, int) or not 1 <= self.count <= MOST:
            raise UserError(f"detector.count: found {self.count!r}, wanted a whole number from 1 to {MOST}")
        if not isinstance(self.trunk_overrides, Mapping):
            raise UserError(f"detector.trunk_overrides: found {self.trunk_overrides!r}, wanted fields")
        _ = self.network

    @property
    def network(self) -> EfficientNetConfig:
        """The config of every expert."""
        return config_of(self.trunk, self.trunk_overrides, "detector.trunk_overrides")


def build(overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "Experts":
    """UserError for a field that is unknown or out of range."""
    return Experts(from_fields(ExpertsConfig, dict(overrides), "detector"), axis_name, dtype)


class Expert(nn.Module):
    """An EfficientNet without its classifier: images -> its last map, (B, h, w, C)."""

    config: EfficientNetConfig
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, images: jax.Array, train: bool) -> jax.Array:
        return maps(self.config, images, train, self.axis_name, self.dtype)["head"]


class SideBySide(nn.Module):
    """Maps of one size, joined along their channels: a layer, so that Grad-CAM finds the map of all."""

    @nn.compact
    def __call__(self, found: list[jax.Array]) -> jax.Array:
        return jnp.concatenate(found, axis=-1)


class Experts(nn.Module):
    """The detector. Arguments and outputs as those of ``EfficientNet``; the embedding and features/head hold the
    channels of all experts, one after another."""

    config: ExpertsConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        network = self.config.network
        found = [
            Expert(network, self.axis_name, self.dtype, name=f"expert{number}")(images, train)
            for number in range(self.config.count)
        ]
        features = SideBySide(name="joined")(found)
        embedding = features.mean(axis=(1, 2), dtype=jnp.float32)
        own = nn.Dropout(network.dropout, deterministic=not train)(embedding)
        init = drawn(self, nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
        logits = [
            nn.Dense(network.num_classes, kernel_init=init, name=f"fc{number}")(part)
            for number, part in enumerate(jnp.split(own, self.config.count, axis=-1))
        ]
        return Outputs(averaged(jnp.stack(logits)), {"embedding": embedding} | named({"head": features}))


def averaged(logits: jax.Array) -> jax.Array:
    """(experts, B, classes) -> (B, classes) whose margin is the mean of the experts' margins.

    The real class has 0. The fake classes share the margin as the means of their logits do.
    """
    among = jax.nn.log_softmax(logits[..., FAKE:].mean(axis=0))
    fakes = jax.vmap(margin)(logits).mean(axis=0)[:, None] + among
    return jnp.concatenate([jnp.zeros_like(fakes[:, :1]), fakes], axis=-1)
