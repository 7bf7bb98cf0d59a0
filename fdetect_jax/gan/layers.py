"""Equalised layers and activations, shared by G, D and the encoders. Source: StyleGAN (arXiv 1812.04948)."""

import math

import flax.linen as nn
import jax

from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.conv import conv2d
from fdetect_jax.nn.resample import conv2d_down


def lrelu(x: jax.Array, gain: float = math.sqrt(2.0)) -> jax.Array:
    """Leaky ReLU of slope 0.2, times a gain that preserves the variance."""
    return nn.leaky_relu(x, 0.2) * gain


class EqualDense(nn.Module):
    """Dense layer with equalised learning rate: weights ~ N(0, 1) / lr_mul, scaled by lr_mul / sqrt(fan_in)."""

    features: int
    lr_mul: float = 1.0
    bias_init: float = 0.0

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        fan_in = x.shape[-1]
        weight = self.param("weight", nn.initializers.normal(1.0 / self.lr_mul), (fan_in, self.features))
        bias = self.param("bias", nn.initializers.constant(self.bias_init / self.lr_mul), (self.features,))
        x = x @ (weight * (self.lr_mul / math.sqrt(fan_in)))
        return x + per_channel(bias * self.lr_mul, x)


class EqualConv(nn.Module):
    """Convolution with equalised learning rate, optionally with filtered downsampling by 2, with or without bias."""

    features: int
    kernel: int = 3
    down: bool = False
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = (self.kernel, self.kernel, x.shape[-1], self.features)
        weight = self.param("weight", nn.initializers.normal(1.0), shape) / math.sqrt(math.prod(shape[:3]))
        weight = weight.astype(x.dtype)
        x = conv2d_down(x, weight) if self.down else conv2d(x, weight)
        if self.use_bias:
            bias = self.param("bias", nn.initializers.zeros, (self.features,))
            x = x + per_channel(bias, x).astype(x.dtype)
        return x
