"""Batch normalisation, alone or with the swish after it, in as few passes over the images as its gradient allows."""

import flax.linen as nn
import jax
import jax.numpy as jnp
from jax import lax


@jax.custom_vjp
def normalize_swish(x: jax.Array, mean: jax.Array, scale: jax.Array, bias: jax.Array) -> jax.Array:
    """swish((x − mean) · scale + bias), computed in float32.

    Only ``x`` is kept for the gradient: what autodiff keeps (the sigmoid as well) costs more to write and to read
    again than the sigmoid costs to compute.

    Args:
      x: (..., C). mean, scale, bias: (C,) float32.

    Returns:
      Like ``x``.
    """
    t = (x.astype(jnp.float32) - mean) * scale + bias
    return (t * lax.logistic(t)).astype(x.dtype)


def _forward(x, mean, scale, bias):
    return normalize_swish(x, mean, scale, bias), (x, mean, scale, bias)


def _backward(saved, g):
    x, mean, scale, bias = saved
    x, g = lax.optimization_barrier((x, g))  # else the compiler finds the sigmoid above and keeps it after all
    centred = x.astype(jnp.float32) - mean
    t = centred * scale + bias
    s = lax.logistic(t)
    g = g.astype(jnp.float32) * s * (1 + t * (1 - s))
    over = tuple(range(x.ndim - 1))
    dbias = jnp.sum(g, over)
    return (g * scale).astype(x.dtype), -scale * dbias, jnp.sum(g * centred, over), dbias


normalize_swish.defvjp(_forward, _backward)


class BatchNorm(nn.Module):
    """Flax's BatchNorm over the last axis, with its variables; statistics and arithmetic in float32.

    train: use the batch's statistics and let the running ones decay by ``momentum`` towards them.
    axis_name: mapped axis over which statistics are averaged. swish: apply it as well.
    """

    train: bool
    momentum: float
    epsilon: float
    axis_name: str | None = None
    swish: bool = False

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        shape = x.shape[-1:]
        running_mean = self.variable("batch_stats", "mean", jnp.zeros, shape)
        running_var = self.variable("batch_stats", "var", jnp.ones, shape)
        scale = self.param("scale", nn.initializers.ones, shape)
        bias = self.param("bias", nn.initializers.zeros, shape)
        mean, var = running_mean.value, running_var.value
        if self.train:
            wide, over = x.astype(jnp.float32), tuple(range(x.ndim - 1))
            mean, square = jnp.mean(wide, over), jnp.mean(jnp.square(wide), over)
            if self.axis_name is not None and not self.is_initializing():
                mean, square = lax.pmean((mean, square), self.axis_name)
            var = jnp.maximum(0.0, square - jnp.square(mean))
            if not self.is_initializing():
                keep = self.momentum
                running_mean.value = keep * running_mean.value + (1 - keep) * mean
                running_var.value = keep * running_var.value + (1 - keep) * var
        scale = scale * lax.rsqrt(var + self.epsilon)
        if self.swish:
            return normalize_swish(x, mean, scale, bias)
        return ((x.astype(jnp.float32) - mean) * scale + bias).astype(x.dtype)
