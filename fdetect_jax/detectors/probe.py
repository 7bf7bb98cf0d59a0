"""Classifiers of another detector's embedding: a linear one and nearest neighbours. In: images. Out: Outputs.

Both are fitted to labelled faces by ``fdetect probe`` and need no training of the network. Sources: linear probes,
Alain and Bengio 2016 (arXiv 1610.01644); a bank of labelled embeddings for forgeries, Ojha et al. 2023 (arXiv
2302.10174), where one nearest neighbour decides.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import check_number
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import FEATURES, Outputs

MakeTrunk = Callable[[str, Mapping[str, Any], str | None, jnp.dtype], nn.Module]
FITTED = "fitted"  # the collection of what is fitted and not trained
BANK = "bank"  # the collection of labelled embeddings


@dataclasses.dataclass(frozen=True)
class ProbeConfig:
    """Defines the detector; a wrong value raises UserError naming ``detector.<field>``.

    trunk: a registered detector of faces with an embedding, not itself made of another. trunk_overrides: fields of its
    config that differ. num_classes: 2 or more.
    """

    trunk: str = "efficientnet_small64"
    trunk_overrides: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    num_classes: int = 2

    def __post_init__(self) -> None:
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")


@dataclasses.dataclass(frozen=True)
class NeighboursConfig(ProbeConfig):
    """The same. k: how many neighbours vote. faces: rows of the bank, at least k."""

    k: int = 5
    faces: int = 50

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number("k", self.k, int, 1, "a whole number of at least 1")
        check_number("faces", self.faces, int, self.k, f"a whole number of at least k, {self.k}")


def build(make: MakeTrunk, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "Probe":
    """The linear probe. make: builds the trunk. UserError for a field that is unknown or out of range."""
    config = from_fields(ProbeConfig, dict(overrides), "detector")
    return Probe(config, make(config.trunk, config.trunk_overrides, axis_name, dtype))


def build_neighbours(
    make: MakeTrunk, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype
) -> "Neighbours":
    """As ``build``, of nearest neighbours."""
    config = from_fields(NeighboursConfig, dict(overrides), "detector")
    return Neighbours(config, make(config.trunk, config.trunk_overrides, axis_name, dtype))


def embedding_of(outputs: Outputs) -> jax.Array:
    """The trunk's embedding, (B, D) float32. Raises UserError where it has none."""
    if "embedding" not in outputs.heads:
        raise UserError(f"detector.trunk: found the heads {sorted(outputs.heads)}, wanted one called embedding")
    return outputs.heads["embedding"].astype(jnp.float32)


def shown(outputs: Outputs) -> dict[str, jax.Array]:
    """Those of the trunk's heads that say where it looks: its attention and its feature maps."""
    return {name: x for name, x in outputs.heads.items() if name == "attention" or name.startswith(FEATURES)}


class Standard(nn.Module):
    """(B, D) less a mean and divided by a deviation, channel by channel; both are fitted, and 0 and 1 before."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        mean = self.variable(FITTED, "mean", jnp.zeros, x.shape[-1:])
        scale = self.variable(FITTED, "scale", jnp.ones, x.shape[-1:])
        return (x - mean.value[None]) / scale.value[None]


class Probe(nn.Module):
    """A linear classifier of the standardised embedding. logits: (B, classes), 0 for real; heads: the trunk's embedding
    (B, D), attention and features/…."""

    config: ProbeConfig
    trunk: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        found = self.trunk(images, train)
        embedding = embedding_of(found)
        init = drawn(self, nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform"))
        x = Standard(name="standard")(embedding)
        fakes = nn.Dense(self.config.num_classes - 1, kernel_init=init, name="fc")(x)
        logits = jnp.concatenate([jnp.zeros_like(fakes[:, :1]), fakes], axis=-1)
        return Outputs(logits, {"embedding": embedding} | shown(found))


class Neighbours(nn.Module):
    """Votes of the k nearest standardised embeddings of a bank, see ``votes``. Outputs as those of ``Probe``.

    The collection ``BANK`` holds embedding (faces, D), standardised, and label (faces,), the number of the class.
    """

    config: NeighboursConfig
    trunk: nn.Module

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        config, found = self.config, self.trunk(images, train)
        embedding = embedding_of(found)
        x = Standard(name="standard")(embedding)
        bank = self.variable(BANK, "embedding", jnp.zeros, (config.faces, x.shape[-1])).value
        label = self.variable(BANK, "label", jnp.zeros, (config.faces,)).value
        width = self.variable(FITTED, "width", jnp.ones, ()).value
        share = votes(x, bank, jax.nn.one_hot(label.astype(jnp.int32), config.num_classes), width, config.k)
        return Outputs(jnp.log(config.k * share + 1), {"embedding": embedding} | shown(found))


def votes(x: jax.Array, bank: jax.Array, classes: jax.Array, width: jax.Array, k: int) -> jax.Array:
    """The share of each class among the k nearest rows of a bank, each of the weight exp(-d² / (2 width²)).

    d: Euclidean distance. The logits of ``Neighbours`` are log(k share + 1): with two classes the margin has the sign
    of share - 1/2, as scikit-learn's ``KNeighborsClassifier`` decides with these weights, and stays within log(k + 1).

    Args:
      x: (B, D). bank: (N, D). classes: (N, K), one-hot. width: (), above 0. k: at most N.

    Returns:
      (B, K), of sum 1.
    """
    high = jax.lax.Precision.HIGHEST  # nearly equal squares are subtracted
    products = jnp.matmul(x, bank.T, precision=high)
    square = jnp.sum(x * x, axis=-1)[:, None] + jnp.sum(bank * bank, axis=-1)[None] - 2 * products
    near, place = jax.lax.top_k(-jnp.maximum(square, 0), k)
    # Relative to the nearest: all weights of a far face would be 0.
    weight = jnp.exp((near - near[:, :1]) / (2 * width**2))
    return jnp.einsum("bk,bkc->bc", weight, classes[place]) / weight.sum(axis=-1, keepdims=True)
