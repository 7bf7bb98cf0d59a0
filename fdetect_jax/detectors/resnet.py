"""ResNet-50, -101 and -152, in torchvision's and in TF-slim's form. In: images. Out: Outputs.

He et al. 2016 (arXiv 1512.03385, "v1": BatchNorm follows each convolution, ReLU follows the sum). Both forms stride in
the 3x3 convolution of a unit: torchvision in the first unit of stages 2 to 4, TF-slim in the last of stages 1 to 3.
"""

import dataclasses
from collections.abc import Mapping
from numbers import Real
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import Conv, check_normalization, check_number, classifier, named, normalized
from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.nn.norm import BatchNorm
from fdetect_jax.types import Outputs

CHANNELS = 64  # of the stem, at width 1
EXPANSION = 4  # channels of a unit's output over those of its 3x3 convolution
_MOST_UNITS = 300
_POOL_PADS = {"torchvision": ((1, 1), (1, 1)), "slim": "SAME"}  # of the stem's max-pooling
FORMS = tuple(_POOL_PADS)


class Unit(NamedTuple):
    """One residual unit. stage: from 1 on. inputs, width: channels of its input and of its 3x3 convolution."""

    stage: int
    stride: int
    inputs: int
    width: int

    @property
    def outputs(self) -> int:
        return EXPANSION * self.width


@dataclasses.dataclass(frozen=True)
class ResNetConfig:
    """Defines the network; a wrong value raises UserError naming ``detector.<field>``.

    units: residual units of each stage. width: multiplies the channels of the stem and of the 3x3 convolutions of
    stage 1, which are 64 and double from stage to stage; rounded.
    form: "torchvision" or "slim": where a stage strides, see above, and how the stem's max-pooling is padded.
    pool: whether the stem ends in max-pooling; False for images of 64 px.
    normalization: of the input, a key of ``layers.NORMALIZATIONS``. num_classes: K of the detectors ``resnet*``.
    bn_momentum: the share of the old statistics that BatchNorm keeps; TF-slim's is 0.997.
    """

    units: tuple[int, ...] = (3, 4, 6, 3)
    width: float = 1.0
    form: str = "torchvision"
    pool: bool = True
    normalization: str = "imagenet"
    num_classes: int = 2
    bn_momentum: float = 0.9
    bn_epsilon: float = 1e-5

    def __post_init__(self) -> None:
        units = tuple(self.units)
        whole = all(isinstance(count, int) and not isinstance(count, bool) and count > 0 for count in units)
        if not whole or not units or sum(units) > _MOST_UNITS:
            wanted = f"whole numbers of at least 1, {_MOST_UNITS} in all at most"
            raise UserError(f"detector.units: found {units}, wanted {wanted}")
        object.__setattr__(self, "units", units)
        check_number("width", self.width, Real, 1 / CHANNELS, f"a number of at least 1/{CHANNELS}")
        check_number("num_classes", self.num_classes, int, 2, "a whole number of at least 2")
        check_number("bn_momentum", self.bn_momentum, Real, 0, "a number in [0, 1)", below=1)
        check_number("bn_epsilon", self.bn_epsilon, Real, 1e-12, "a number above 0")
        check_normalization(self.normalization)
        if self.form not in FORMS:
            raise UserError(f"detector.form: found {self.form!r}, wanted one of {sorted(FORMS)}")

    @property
    def channels(self) -> int:
        """Channels of the stem."""
        return round(CHANNELS * self.width)

    def blocks(self) -> tuple[Unit, ...]:
        """Every residual unit in order."""
        made, inputs = [], self.channels
        for number, count in enumerate(self.units):
            for place in range(count):
                if self.form == "torchvision":
                    strides = place == 0 and number > 0
                else:
                    strides = place == count - 1 and number < len(self.units) - 1
                made.append(Unit(number + 1, 2 if strides else 1, inputs, self.channels << number))
                inputs = made[-1].outputs
        return tuple(made)


VARIANTS = {
    "resnet50": ResNetConfig(),
    "resnet101": ResNetConfig((3, 4, 23, 3)),
    "resnet152": ResNetConfig((3, 8, 36, 3)),
}


def build(variant: str, overrides: Mapping[str, Any], axis_name: str | None, dtype: jnp.dtype) -> "ResNet":
    """A variant of ``VARIANTS`` with fields replaced; UserError for a field that is unknown or out of range."""
    return ResNet(config_of(variant, overrides), axis_name, dtype)


def config_of(variant: str, overrides: Mapping[str, Any]) -> ResNetConfig:
    """The config of a variant with fields replaced. Raises as ``build`` does."""
    fields = {field.name: getattr(VARIANTS[variant], field.name) for field in dataclasses.fields(ResNetConfig)}
    return from_fields(ResNetConfig, fields | dict(overrides), "detector")


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution with BatchNorm each, plus the input, brought to the same shape, then ReLU."""

    config: ResNetConfig
    unit: Unit
    axis_name: str | None
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        config, unit, dtype = self.config, self.unit, self.dtype

        def norm(name: str) -> BatchNorm:
            return BatchNorm(train, config.bn_momentum, config.bn_epsilon, self.axis_name, name=name)

        y = nn.relu(norm("bn0")(Conv(unit.width, dtype=dtype, name="conv0")(x)))
        y = nn.relu(norm("bn1")(Conv(unit.width, 3, unit.stride, ((1, 1), (1, 1)), dtype, name="conv1")(y)))
        y = norm("bn2")(Conv(unit.outputs, dtype=dtype, name="conv2")(y))
        x = x[:, :: unit.stride, :: unit.stride]
        if unit.inputs != unit.outputs:
            x = norm("shortcut_bn")(Conv(unit.outputs, dtype=dtype, name="shortcut_conv")(x))
        return nn.relu(y + x)


def trunk(
    config: ResNetConfig, images: jax.Array, train: bool, axis_name: str | None, dtype: jnp.dtype
) -> dict[str, jax.Array]:
    """Stem and residual units; call it in a compact method. Arguments as for ``ResNet``.

    Returns:
      "stem" (before max-pooling), "stage1" … in order -> (B, h, w, C).

    Raises:
      UserError: images of another shape.
    """
    x = normalized(images, config.normalization, dtype)
    x = Conv(config.channels, 7, 2, ((3, 3), (3, 3)), dtype, name="conv_stem")(x)
    x = nn.relu(BatchNorm(train, config.bn_momentum, config.bn_epsilon, axis_name, name="bn_stem")(x))
    features = {"stem": x}
    if config.pool:
        x = nn.max_pool(x, (3, 3), (2, 2), _POOL_PADS[config.form])
    for number, unit in enumerate(config.blocks()):
        x = Bottleneck(config, unit, axis_name, dtype, name=f"blocks_{number}")(x, train)
        features[f"stage{unit.stage}"] = x
    return features


class ResNet(nn.Module):
    """The detector: the mean of the last map, and one dense layer. Embedding and logits are float32.

    axis_name: mapped axis over which BatchNorm averages; None: per device. dtype: of convolutions and activations.
    """

    config: ResNetConfig
    axis_name: str | None = None
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        """Classifies images.

        Args:
          images: (B, H, W, 3) RGB, uint8 or float in [0, 1]; any size, published weights were made at 224 px.
          train: batch statistics ("batch_stats" mutable).

        Returns:
          Outputs with logits (B, K) and heads: embedding (B, C), features/stem, features/stage1 ….
        """
        features = trunk(self.config, images, train, self.axis_name, self.dtype)
        embedding = list(features.values())[-1].mean(axis=(1, 2), dtype=jnp.float32)
        logits = classifier(self, self.config.num_classes)(embedding)
        return Outputs(logits, {"embedding": embedding} | named(features))
