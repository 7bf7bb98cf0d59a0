"""FakeSpotter: how many neurons of each layer of another detector are active, and a classifier of these counts.

In: images. Out: Outputs. Source: Wang et al. 2020 (arXiv 1909.06122), which has no public code. Its "mean neuron
coverage": the threshold of a layer is the mean output of its neurons over a data set, and a face is described by the
number of neurons of each layer above it. Not stated there, and chosen here: counts are divided by the number of neurons
and standardised; the hidden layers of the classifier; and what a neuron of a convolution is (``neuron``).
"""

import dataclasses
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import check_number
from fdetect_jax.detectors.probe import FITTED, MakeTrunk, ProbeConfig, Standard, embedding_of, shown
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import Outputs, feature_maps

NEURONS = ("unit", "channel")
CLASSIFIERS = ("network", "svm")
HIDDEN = (64, 64, 32, 16)


@dataclasses.dataclass(frozen=True)
class FakeSpotterConfig(ProbeConfig):
    """As ``ProbeConfig``. The layers that are counted are the trunk's feature maps and its embedding.

    neuron: of a feature map, "unit", every value of it, or "channel", the mean of every channel. classifier: "network",
    five dense layers (the published version), or "svm", a linear one (the first version). hidden: units of the first
    four of the five.
    """

    neuron: str = "unit"
    classifier: str = "network"
    hidden: tuple[int, int, int, int] = HIDDEN

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, allowed in (("neuron", NEURONS), ("classifier", CLASSIFIERS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted one of {sorted(allowed)}")
        for units in self.hidden:
            check_number("hidden", units, int, 1, "whole numbers of at least 1")


def build(make: MakeTrunk, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "FakeSpotter":
    """As ``probe.build``."""
    config = from_fields(FakeSpotterConfig, dict(overrides), "detector")
    return FakeSpotter(config, make(config.trunk, config.trunk_overrides, axis_name, dtype))


def layers(outputs: Outputs) -> dict[str, jax.Array]:
    """The layers that are counted, in the order they are made: feature maps (B, h, w, C) and the embedding (B, D)."""
    return feature_maps(outputs) | {"embedding": embedding_of(outputs)}


def layer_means(outputs: Outputs) -> jax.Array:
    """The mean output of each layer's neurons, (B, L) float32. Its mean over faces is the layers' thresholds.

    Maps have as many values in every channel, so that both readings of a neuron have these thresholds.
    """
    return jnp.stack([x.reshape(len(x), -1).mean(axis=-1, dtype=jnp.float32) for x in layers(outputs).values()], -1)


def coverage(outputs: Outputs, thresholds: jax.Array, neuron: str) -> jax.Array:
    """The share of each layer's neurons whose output is above the layer's threshold, under several sets of thresholds.

    A share has no gradient. Here its gradient is that of the mean output, divided by the threshold's size: what
    makes neurons more active on average covers more of them.

    Args:
      thresholds: (T, L), see ``layer_means``. neuron: one of ``NEURONS``.

    Returns:
      (B, T, L) float32 in [0, 1].
    """
    found = []
    for x, limits in zip(layers(outputs).values(), thresholds.T, strict=True):
        x = x.astype(jnp.float32)
        if neuron == "channel":
            x = x.mean(axis=tuple(range(1, x.ndim - 1)))
        x = x.reshape(len(x), -1)
        counts = jnp.stack([jnp.mean(x > limit, axis=-1, dtype=jnp.float32) for limit in limits], axis=-1)
        slope = x.mean(axis=-1)[:, None] / (jnp.abs(limits) + 1e-6)[None]
        found.append(counts + (slope - jax.lax.stop_gradient(slope)))
    return jnp.stack(found, axis=-1)


class Classifier(nn.Module):
    """Standardised counts (B, L) -> logits (B, classes): five dense layers, each but the last followed by ReLU."""

    hidden: tuple[int, ...]
    num_classes: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        for number, units in enumerate(self.hidden):
            init = drawn(self, nn.initializers.he_normal())
            x = nn.relu(nn.Dense(units, kernel_init=init, name=f"fc{number}")(x))
        init = drawn(self, nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
        return nn.Dense(self.num_classes, kernel_init=init, name=f"fc{len(self.hidden)}")(x)


class FakeSpotter(nn.Module):
    """The detector. heads: embedding (B, L), the counts; the trunk's attention and features/…."""

    config: FakeSpotterConfig
    trunk: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        config, found = self.config, self.trunk(images, train)
        thresholds = self.variable(FITTED, "thresholds", jnp.zeros, (len(layers(found)),)).value
        counts = coverage(found, thresholds[None], config.neuron)[:, 0]
        x = Standard(name="standard")(counts)
        hidden = config.hidden if config.classifier == "network" else ()
        logits = Classifier(hidden, config.num_classes, name="classifier")(x)
        return Outputs(logits, {"embedding": counts} | shown(found))
