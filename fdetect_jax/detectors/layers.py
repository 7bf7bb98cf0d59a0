"""What detectors are built of: layers, the normalisation of images, checks of fields. In: images or maps. Out: maps."""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import UNPADDED, Padding, conv2d, depthwise_conv2d
from fdetect_jax.nn.initial import drawn
from fdetect_jax.types import FEATURES, to_unit

NORMALIZATIONS = {
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "half": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "lite": ((127 / 255,) * 3, (128 / 255,) * 3),
    "none": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "caffe": ((123.68 / 255, 116.779 / 255, 103.939 / 255), (1 / 255,) * 3),  # levels of 0 to 255 less their mean
}
_BGR = ("caffe",)  # the network takes blue first


def check_number(name: str, found: Any, kind: type, least: float, wanted: str, below: float = math.inf) -> None:
    """UserError for a field that is no ``kind``, or not in [least, below)."""
    if isinstance(found, bool) or not isinstance(found, kind) or not least <= found < below:
        raise UserError(f"detector.{name}: found {found!r}, wanted {wanted}")


def check_normalization(found: Any) -> None:
    """UserError for a ``detector.normalization`` that is no key of ``NORMALIZATIONS``."""
    if found not in NORMALIZATIONS:
        raise UserError(f"detector.normalization: found {found!r}, wanted one of {sorted(NORMALIZATIONS)}")


def check_size(size: int, images: jax.Array) -> None:
    """Raises UserError where images (B, H, W, 3) have another side than ``detector.size``."""
    if images.shape[1:3] != (size, size):
        found = f"{images.shape[1]} x {images.shape[2]}"
        raise UserError(f"detector.size: found {size} with images of {found}, wanted their size")


def classifier(module: nn.Module, classes: int) -> nn.Dense:
    """The dense layer "fc" of ``module``, float32, drawn as PyTorch draws one; call it in a compact method."""
    init = nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")
    return nn.Dense(classes, kernel_init=drawn(module, init), name="fc")


def normalized(images: jax.Array, normalization: str, dtype: jnp.dtype) -> jax.Array:
    """Images (B, H, W, 3), uint8 or float in [0, 1] -> ``dtype``, less a mean and divided by a deviation.

    normalization: a key of ``NORMALIZATIONS``; "caffe" also turns RGB into BGR.

    Raises:
      UserError: images of another shape.
    """
    if images.ndim != 4 or images.shape[-1] != 3:
        raise UserError(f"detector images: found shape {images.shape}, wanted (B, H, W, 3)")
    statistics = (jnp.asarray(value, jnp.float32) for value in NORMALIZATIONS[normalization])
    mean, deviation = (per_channel(value, images) for value in statistics)
    x = ((to_unit(images) - mean) / deviation).astype(dtype)
    return x[..., ::-1] if normalization in _BGR else x


def named(features: dict[str, jax.Array]) -> dict[str, jax.Array]:
    """Feature maps as heads of ``Outputs``."""
    return {FEATURES + name: x for name, x in features.items()}


class Layer(nn.Module):
    """A function of a map as a layer without parameters: a heat map can be made of what a layer returns."""

    function: Callable[[jax.Array], jax.Array]

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.function(x)


class Conv(nn.Module):
    """Convolution, kernel (k, k, in, features) drawn by ``init``. bias: add one, drawn by ``bias_init``."""

    features: int
    kernel: int = 1
    stride: int = 1
    pads: Padding | str = UNPADDED
    dtype: jnp.dtype = jnp.float32
    bias: bool = False
    init: nn.initializers.Initializer = nn.initializers.variance_scaling(2.0, "fan_out", "normal")
    dilation: int = 1
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        kernel = self.param("kernel", drawn(self, self.init), shape)
        y = conv2d(x.astype(self.dtype), kernel.astype(self.dtype), self.stride, self.pads, self.dilation)
        if not self.bias:
            return y
        bias = self.param("bias", drawn(self, self.bias_init), (self.features,))
        return y + per_channel(bias, y).astype(self.dtype)


class DepthwiseConv(nn.Module):
    """One k×k kernel per channel, (k, k, 1, C), without bias, initialised from N(0, 2 / k²)."""

    kernel: int
    stride: int
    pads: Padding
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        init = nn.initializers.normal(math.sqrt(2.0) / self.kernel)
        kernel = self.param("kernel", drawn(self, init), (self.kernel, self.kernel, 1, x.shape[-1]))
        return depthwise_conv2d(x.astype(self.dtype), kernel[:, :, 0].astype(self.dtype), self.stride, self.pads)
