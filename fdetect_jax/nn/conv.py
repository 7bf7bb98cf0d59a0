"""Convolutions in the forms that run fast: NHWC images in, NHWC images out.

XLA's grouped convolution (depthwise, or one kernel per sample) is several times slower than the same sum written as
shifted products or as one batched matrix product, and its gradient slower still, so both are written out here.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Padding = tuple[tuple[int, int], tuple[int, int]]


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME for one axis: (before, after), the odd pixel at the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv2d(x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding | str = "SAME") -> jax.Array:
    """Cross-correlates images with one kernel, or each image with its own.

    Args:
      x: (B, H, W, I).
      kernel: (k, l, I, O), or (B, k, l, I, O) for one kernel per sample.
      stride: of both axes.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)).

    Returns:
      (B, H', W', O).
    """
    if kernel.ndim == 4:
        return lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
    k, l = kernel.shape[1:3]
    pads = padding
    if isinstance(padding, str):
        sizes = zip(x.shape[1:3], (k, l), strict=True)
        pads = tuple(same_padding(n, m, stride) if padding == "SAME" else (0, 0) for n, m in sizes)
    patches = jnp.concatenate(_shifts(x, k, l, stride, pads), axis=-1)
    return jnp.einsum("bhwi,bio->bhwo", patches, kernel.reshape(kernel.shape[0], -1, kernel.shape[-1]))


def _shifts(x: jax.Array, k: int, l: int, stride: int, pads: Padding) -> list[jax.Array]:
    """The k·l shifted (and strided) views of ``x`` that a k×l kernel meets, row by row."""
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    high, wide = (x.shape[1] - k) // stride + 1, (x.shape[2] - l) // stride + 1
    return [
        lax.slice(
            x,
            (0, a, b, 0),
            (x.shape[0], a + (high - 1) * stride + 1, b + (wide - 1) * stride + 1, x.shape[3]),
            (1, stride, stride, 1),
        )
        for a in range(k)
        for b in range(l)
    ]


@partial(jax.custom_vjp, nondiff_argnums=(2, 3))
def depthwise_conv2d(x: jax.Array, kernel: jax.Array, stride: int, pads: Padding) -> jax.Array:
    """Each channel with its own kernel, as k·k shifted products.

    Args:
      x: (B, H, W, C). kernel: (k, k, C). stride: of both axes. pads: ((top, bottom), (left, right)).

    Returns:
      (B, H', W', C).
    """
    k = kernel.shape[0]
    taps = kernel.reshape(k * k, -1)
    return sum(tap * shift for tap, shift in zip(taps, _shifts(x, k, k, stride, pads), strict=True))


def _depthwise_forward(x, kernel, stride, pads):
    return depthwise_conv2d(x, kernel, stride, pads), (x, kernel)


def _depthwise_backward(stride, pads, saved, g):
    x, kernel = saved
    k = kernel.shape[0]
    shifts = _shifts(x, k, k, stride, pads)
    dkernel = jnp.stack([jnp.sum(shift * g, axis=(0, 1, 2)) for shift in shifts]).reshape(kernel.shape)
    # The gradient of the input is a correlation of the (dilated) gradient with the flipped kernel.
    sizes = zip(pads, x.shape[1:3], g.shape[1:3], strict=True)
    spread = [(k - 1 - lo, n - (m - 1) * stride - 1 + lo, stride - 1) for (lo, _), n, m in sizes]
    g = lax.pad(g, jnp.zeros((), g.dtype), ((0, 0, 0), *spread, (0, 0, 0)))
    dx = depthwise_conv2d(g, kernel[::-1, ::-1], 1, ((0, 0), (0, 0)))
    return dx, dkernel.astype(kernel.dtype)


depthwise_conv2d.defvjp(_depthwise_forward, _depthwise_backward)
