"""Batch normalisation, alone or followed by swish, with as few passes over the images as its gradient allows."""

from functools import partial

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax

from fdetect_jax.nn.axes import per_channel
from fdetect_jax.nn.initial import drawn


@jax.custom_vjp
def normalize_swish(x: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """swish((x − mean) · scale + bias), computed in float32.

    Only ``x`` is kept for the gradient. Autodiff would keep the sigmoid too, and to write and read it costs more than
    to compute it again.

    Args:
      x: (..., C). mean, scale, bias: (C,) float32.

    Returns:
      Like ``x``.
    """
    t = _affine(x, mean, scale, bias)
    return (t * lax.logistic(t)).astype(x.dtype)


def _affine(x: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    mean, scale, bias = (per_channel(value, x) for value in (mean, scale, bias))
    return (x.astype(jnp.float32) - mean) * scale + bias


def _forward(x, mean, scale, bias):
    return normalize_swish(x, mean, scale, bias), (x, mean, scale, bias)


def _backward(saved, g):
    x, mean, scale, bias = saved
    g = _through_swish(x, g, mean, scale, bias)
    dbias = jnp.sum(g, _over(x))
    dscale = jnp.sum(g * (x.astype(jnp.float32) - per_channel(mean, x)), _over(x))
    return (g * per_channel(scale, x)).astype(x.dtype), -scale * dbias, dscale, dbias


normalize_swish.defvjp(_forward, _backward)


def _normalize(x: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array, swish: bool) -> jax.Array:
    if swish:
        return normalize_swish(x, mean, scale, bias)
    return _affine(x, mean, scale, bias).astype(x.dtype)


def _over(x: jax.Array) -> tuple[int, ...]:
    return tuple(range(x.ndim - 1))


def _through_swish(x: jax.Array, g: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """``g`` times the derivative of swish at (x − mean) · scale + bias, float32."""
    x, g = lax.optimization_barrier((x, g))  # else XLA reuses the forward pass's sigmoid, and so keeps it in memory
    t = _affine(x, mean, scale, bias)
    s = lax.logistic(t)
    return g.astype(jnp.float32) * s * (1 + t * (1 - s))


@partial(jax.custom_vjp, nondiff_argnums=(3, 4, 5))
def batch_norm(
    x: jax.Array, scale: jax.Array, bias: jax.Array, epsilon: float, axis_name: str | None, swish: bool
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Normalises by the batch statistics, in float32; with ``swish`` as in `normalize_swish`.

    The gradient, which includes that of the statistics, reads the images in three passes: one back through swish, one
    for two sums, one for the result. Autodiff's takes five.

    Args:
      x: (..., C). scale, bias: (C,) float32. axis_name: mapped axis over which statistics are averaged too.

    Returns:
      The result, like ``x``; mean and variance, (C,) float32, as constants: no gradient flows through them.
    """
    return _batch_norm_forward(x, scale, bias, epsilon, axis_name, swish)[0]


def _batch_norm_forward(x, scale, bias, epsilon, axis_name, swish):
    wide = x.astype(jnp.float32)
    mean, square = jnp.mean(wide, _over(x)), jnp.mean(jnp.square(wide), _over(x))
    if axis_name is not None:
        mean, square = lax.pmean((mean, square), axis_name)
    var = jnp.maximum(0.0, square - jnp.square(mean))
    inverse = lax.rsqrt(var + epsilon)
    y = _normalize(x, mean, scale * inverse, bias, swish)
    return (y, mean, var), (x, mean, inverse, scale, bias)


def _batch_norm_backward(epsilon, axis_name, swish, saved, cotangents):
    x, mean, inverse, scale, bias = saved
    g, slope = cotangents[0], scale * inverse
    # With the barrier this is computed once; without it, XLA computes it again for each of its three readers.
    g = lax.optimization_barrier(_through_swish(x, g, mean, slope, bias)) if swish else g.astype(jnp.float32)
    wide = x.astype(jnp.float32)
    dbias = jnp.sum(g, _over(x))
    dscale = (jnp.sum(g * wide, _over(x)) - mean * dbias) * inverse
    count = x.size // x.shape[-1]
    shift, tilt = dbias / count, dscale * inverse / count
    if axis_name is not None:
        shift, tilt = lax.pmean((shift, tilt), axis_name)
    slope, mean, shift, tilt = (per_channel(value, x) for value in (slope, mean, shift, tilt))
    dx = slope * (g - shift - (wide - mean) * tilt)
    return dx.astype(x.dtype), dscale, dbias


batch_norm.defvjp(_batch_norm_forward, _batch_norm_backward)


class BatchNorm(nn.Module):
    """Flax's BatchNorm over the last axis, with its variables; statistics and arithmetic in float32.

    train: use the batch statistics and move the running ones towards them, with decay ``momentum``.
    axis_name: mapped axis over which statistics are averaged. swish: apply swish afterwards. scale_init: of the scale.
    """

    train: bool
    momentum: float
    epsilon: float
    axis_name: str | None = None
    swish: bool = False
    scale_init: nn.initializers.Initializer = nn.initializers.ones

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", drawn(self, self.scale_init), shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        if not self.train:
            slope = scale * lax.rsqrt(running_var.value + self.epsilon)
            return _normalize(x, running_mean.value, slope, bias, self.swish)
        axis_name = None if self.is_initializing() else self.axis_name
        y, mean, var = batch_norm(x, scale, bias, self.epsilon, axis_name, self.swish)
        if not self.is_initializing():
            keep = self.momentum
            running_mean.value = keep * running_mean.value + (1 - keep) * mean
            running_var.value = keep * running_var.value + (1 - keep) * var
        return y
