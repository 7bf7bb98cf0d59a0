"""EfficientNet and EfficientNet-Lite. In: images. Out: logits, the pooled embedding and every stage's feature map.

Source: EfficientNet (arXiv 1905.11946). Initial weights, drop-connect and BatchNorm as in its TensorFlow
release, which defines the Lite variants too; static padding and parameter names as in L. Melas-Kyriazi's
EfficientNet-PyTorch.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping
from numbers import Real
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import (
    NORMALIZATIONS,
    Conv,
    DepthwiseConv,
    check_number,
    classifier,
    named,
    normalized,
)
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.conv import Padding, same_padding
from fdetect_jax.nn.initial import drawn
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

ACTIVATIONS = ("swish", "relu6")
_MOST_BLOCKS = 300  # B7 has 55; a file that asks for more would keep the program busy for ever


class Stage(NamedTuple):
    """One row of the architecture's table, before scaling of width and depth."""

    repeats: int
    kernel: int
    stride: int
    expand: int
    channels: int


class Block(NamedTuple):
    """One MBConv block, after scaling. stage: counted from 1. drop: drop-connect rate."""

    stage: int
    kernel: int
    stride: int
    expand: int
    inputs: int
    outputs: int
    drop: float


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


@dataclasses.dataclass(frozen=True)
class EfficientNetConfig:
    """Defines an EfficientNet; a wrong value raises UserError naming ``detector.<field>``.

    width, depth: factors on channels and repeats; with fixed_ends they leave the stem, the head and the repeats of the
    first and the last stage as they are. squeeze: whether blocks squeeze and excite. activation: "swish" or "relu6".
    The Lite variants differ in these three. resolution: the variant's input size, pixels.
    dropout: rate, on the embedding. drop_connect: rate of a (hypothetical) block after the last one.
    bn_momentum: decay of the running statistics (1 - PyTorch's momentum). stem, head: channels, unscaled.
    stem_stride: 2, or 1 to keep the input's fine texture. normalization: "imagenet" (mean and deviation of ImageNet),
    "half" (2x - 1), "lite" ((255x - 127) / 128) or "none". static_padding_size: pad every input as one of this size,
    as EfficientNet-PyTorch does; None: SAME for the actual input. remat: the gradient recomputes every block from its
    input instead of storing its activations.
    """

    width: float = 1.0
    depth: float = 1.0
    resolution: int = 224
    dropout: float = 0.2
    drop_connect: float = 0.2
    bn_momentum: float = 0.99
    bn_epsilon: float = 1e-3
    stages: tuple[Stage, ...] = STAGES
    stem: int = 32
    stem_stride: int = 2
    head: int = 1280
    normalization: str = "imagenet"
    static_padding_size: int | None = None
    num_classes: int = 2
    remat: bool = False
    squeeze: bool = True
    activation: str = "swish"
    fixed_ends: bool = False

    def __post_init__(self) -> None:
        for name in ("dropout", "drop_connect", "bn_momentum"):
            check_number(name, getattr(self, name), Real, 0, "a number in [0, 1)", below=1)
        for name in ("width", "depth", "bn_epsilon"):
            check_number(name, getattr(self, name), Real, 1e-12, "a number above 0")
        for name in ("resolution", "stem", "stem_stride", "head", "num_classes"):
            check_number(name, getattr(self, name), int, 1, "a whole number of at least 1")
        if self.static_padding_size is not None:
            check_number(
                "static_padding_size",
                self.static_padding_size,
                int,
                1,
                "a whole number of at least 1, or None",
            )
        for name, allowed in (("normalization", NORMALIZATIONS), ("activation", ACTIVATIONS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted one of {sorted(allowed)}")
        for name in ("squeeze", "fixed_ends"):
            if not isinstance(getattr(self, name), bool):
                raise UserError(f"detector.{name}: found {getattr(self, name)!r}, wanted True or False")
        rows = tuple(tuple(row) for row in self.stages)
        if not rows or any(len(row) != len(Stage._fields) or min(row) < 1 for row in rows):
            raise UserError(f"detector.stages: found {rows}, wanted rows of {Stage._fields}, all at least 1")
        object.__setattr__(self, "stages", tuple(Stage(*row) for row in rows))
        if sum(self.depth * stage.repeats for stage in self.stages) > _MOST_BLOCKS:
            raise UserError(f"detector.depth: found {self.depth!r}, wanted at most {_MOST_BLOCKS} blocks in all stages")

    def channels(self, base: int) -> int:
        """``base`` times width, rounded to a multiple of 8 without losing more than 10 %."""
        wide = base * self.width
        near = max(8, int(wide + 4) // 8 * 8)
        return near + 8 if near < 0.9 * wide else near

    @property
    def ends(self) -> tuple[int, int]:
        """Channels of the stem and of the head."""
        return (self.stem, self.head) if self.fixed_ends else (self.channels(self.stem), self.channels(self.head))

    def blocks(self) -> tuple[Block, ...]:
        """Every block in order; block b of n drops at the rate drop_connect · b / n."""
        repeats = [math.ceil(self.depth * stage.repeats) for stage in self.stages]
        if self.fixed_ends:
            repeats[0], repeats[-1] = self.stages[0].repeats, self.stages[-1].repeats
        total, inputs, blocks = sum(repeats), self.ends[0], []
        for number, (stage, count) in enumerate(zip(self.stages, repeats, strict=True), start=1):
            outputs = self.channels(stage.channels)
            for i in range(count):
                drop = self.drop_connect * len(blocks) / total
                stride = 1 if i else stage.stride
                blocks.append(Block(number, stage.kernel, stride, stage.expand, inputs, outputs, drop))
                inputs = outputs
        return tuple(blocks)

    def paddings(self, size: int) -> tuple[tuple[int, int], ...]:
        """(before, after) of the stem and of each depthwise convolution, along an axis of ``size``."""
        size = self.static_padding_size or size
        pads = []
        for kernel, stride in [
            (3, self.stem_stride),
            *((block.kernel, block.stride) for block in self.blocks()),
        ]:
            pads.append(same_padding(size, kernel, stride))
            size = -(-size // stride)
        return tuple(pads)


# The stem keeps all 64 pixels, because traces of a forgery are in the finest texture. Nothing is expanded before
# the resolution is halved, because wide maps at full size would cost more than everything else.
SMALL64 = EfficientNetConfig(
    resolution=64,
    stages=(
        Stage(1, 3, 2, 1, 24),
        Stage(1, 3, 1, 3, 24),
        Stage(2, 3, 2, 3, 48),
        Stage(3, 3, 2, 4, 112),
    ),
    stem=16,
    stem_stride=1,
    head=384,
    drop_connect=0.1,
    # Training runs are short: the running statistics must adapt within tens of steps.
    bn_momentum=0.9,
    normalization="half",
)

LITE = EfficientNetConfig(normalization="lite", squeeze=False, activation="relu6", fixed_ends=True)
VARIANTS: dict[str, EfficientNetConfig] = {
    "b0": EfficientNetConfig(width=1.0, depth=1.0, resolution=224, dropout=0.2),
    "b1": EfficientNetConfig(width=1.0, depth=1.1, resolution=240, dropout=0.2),
    "b2": EfficientNetConfig(width=1.1, depth=1.2, resolution=260, dropout=0.3),
    "b3": EfficientNetConfig(width=1.2, depth=1.4, resolution=300, dropout=0.3),
    "b4": EfficientNetConfig(width=1.4, depth=1.8, resolution=380, dropout=0.4),
    "b5": EfficientNetConfig(width=1.6, depth=2.2, resolution=456, dropout=0.4),
    "b6": EfficientNetConfig(width=1.8, depth=2.6, resolution=528, dropout=0.5),
    "b7": EfficientNetConfig(width=2.0, depth=3.1, resolution=600, dropout=0.5),
    "small64": SMALL64,
    "lite0": LITE,
    "lite1": dataclasses.replace(LITE, depth=1.1, resolution=240),
    "lite2": dataclasses.replace(LITE, width=1.1, depth=1.2, resolution=260, dropout=0.3),
    "lite3": dataclasses.replace(LITE, width=1.2, depth=1.4, resolution=280, dropout=0.3),
    "lite4": dataclasses.replace(LITE, width=1.4, depth=1.8, resolution=300, dropout=0.3),
}


def build(variant: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "EfficientNet":
    """A variant of ``VARIANTS`` with fields replaced; UserError for a field that is unknown or out of range."""
    return EfficientNet(config_of(variant, overrides), axis_name, dtype)


def config_of(variant: str, overrides: Mapping[str, Any], path: str = "detector") -> EfficientNetConfig:
    """The config of a variant with fields replaced. Raises as ``build`` does; path: of the fields, for messages."""
    fields = {field.name: getattr(VARIANTS[variant], field.name) for field in dataclasses.fields(EfficientNetConfig)}
    return from_fields(EfficientNetConfig, fields | dict(overrides), path)


def drop_connect(x: jax.Array, rate: float, rng: jax.Array) -> jax.Array:
    """Zeroes whole samples of (B, H, W, C) with probability ``rate``; the others grow by 1 / (1 - rate)."""
    keep = 1.0 - rate
    kept = jax.random.bernoulli(rng, keep, (x.shape[0], 1, 1, 1))
    return jnp.where(kept, x / keep, 0)


def normed(
    config: EfficientNetConfig, train: bool, axis_name: str | None, name: str, active: bool = True
) -> Callable[[jax.Array], jax.Array]:
    """BatchNorm with the fields of a config, followed by its activation if it is ``active``."""
    swish = active and config.activation == "swish"
    norm = BatchNorm(train, config.bn_momentum, config.bn_epsilon, axis_name, swish, name=name)
    return (lambda x: nn.relu6(norm(x))) if active and not swish else norm


class MBConv(nn.Module):
    """Expand, depthwise, squeeze and excite (not in Lite), project; plus the input if the shapes allow it."""

    config: EfficientNetConfig
    block: Block
    pads: Padding
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        block, config = self.block, self.config

        def norm(name: str, active: bool = True) -> Callable[[jax.Array], jax.Array]:
            return normed(config, train, self.axis_name, name, active)

        def dense(features: int, name: str) -> nn.Dense:
            init = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
            return nn.Dense(features, kernel_init=drawn(self, init), dtype=self.dtype, name=name)

        wide = block.inputs * block.expand
        h = x
        if block.expand != 1:
            h = norm("bn0")(Conv(wide, dtype=self.dtype, name="expand_conv")(h))
        h = DepthwiseConv(block.kernel, block.stride, self.pads, self.dtype, name="depthwise_conv")(h)
        h = norm("bn1")(h)
        if config.squeeze:
            if not train:  # convolution, norm and swish in one pass, computed once for both uses below
                h = jax.lax.optimization_barrier(h)
            # The squeeze uses the block's input channels, not the expanded ones.
            squeezed = nn.swish(dense(max(1, block.inputs // 4), "se_reduce")(h.mean(axis=(1, 2))))
            h = h * nn.sigmoid(dense(wide, "se_expand")(squeezed))[:, None, None]
        h = norm("bn2", active=False)(Conv(block.outputs, dtype=self.dtype, name="project_conv")(h))
        if block.stride == 1 and block.inputs == block.outputs:
            if train and block.drop > 0:
                h = drop_connect(h, block.drop, self.make_rng("dropout"))
            h = h + x
        return h


def trunk(
    config: EfficientNetConfig, images: jax.Array, train: bool, axis_name: str | None, dtype: jnp.dtype
) -> dict[str, jax.Array]:
    """Stem and blocks; call it in a compact method. Arguments as for ``EfficientNet``.

    Returns:
      "stem", "stage1" … in order -> (B, h, w, C).

    Raises:
      UserError: images of another shape.
    """
    x = normalized(images, config.normalization, dtype)
    pads = tuple(zip(config.paddings(images.shape[1]), config.paddings(images.shape[2]), strict=True))
    stem = Conv(config.ends[0], 3, config.stem_stride, pads[0], dtype, name="conv_stem")
    x = normed(config, train, axis_name, "bn0")(stem(x))
    features = {"stem": x}
    layer = nn.remat(MBConv, static_argnums=(2,)) if config.remat else MBConv
    for i, block in enumerate(config.blocks()):
        x = layer(config, block, pads[i + 1], axis_name, dtype, name=f"blocks_{i}")(x, train)
        features[f"stage{block.stage}"] = x
    return features


def maps(
    config: EfficientNetConfig, images: jax.Array, train: bool, axis_name: str | None, dtype: jnp.dtype
) -> dict[str, jax.Array]:
    """As ``trunk``, with "head" as the last map, which is pooled; call it in a compact method."""
    features = trunk(config, images, train, axis_name, dtype)
    x = Conv(config.ends[1], dtype=dtype, name="conv_head")(list(features.values())[-1])
    return features | {"head": normed(config, train, axis_name, "bn1")(x)}


class EfficientNet(nn.Module):
    """The detector. Parameters, statistics, embedding and logits are float32 for every ``dtype``.

    config: the architecture. axis_name: mapped axis over which BatchNorm averages; None: per device.
    dtype: of convolutions and activations.
    """

    config: EfficientNetConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; any size, but the variant is made for
            ``config.resolution``.
          train: batch statistics ("batch_stats" mutable), dropout and drop-connect (rng "dropout").

        Returns:
          Outputs with logits (B, classes) and heads: embedding (B, C) before dropout, features/stem,
          features/stage1 …, features/head.
        """
        features = maps(self.config, images, train, self.axis_name, self.dtype)
        embedding = features["head"].mean(axis=(1, 2), dtype=jnp.float32)
        h = nn.Dropout(self.config.dropout, deterministic=not train)(embedding)
        logits = classifier(self, self.config.num_classes)(h)
        return Outputs(logits, {"embedding": embedding} | named(features))
