"""Resampling with the [1, 3, 3, 1] filter of StyleGAN2, phase by phase, so that no inserted zero is multiplied.

Source: StyleGAN2 (arXiv 1912.04958), upfirdn with the paddings of its resampling layers.
"""

import jax
import jax.numpy as jnp
from jax import lax

from fdetect_jax.nn.conv import conv2d

TAPS = (0.125, 0.375, 0.375, 0.125)


def fir(x: jax.Array, pad: tuple[int, int], gain: float = 1.0) -> jax.Array:
    """Filters both spatial axes of (B, H, W, C) with [1, 3, 3, 1] / 8 after zero padding; ``gain`` is the total."""
    # With the barriers the zeros are added once, and the rows are filtered once.
    x = lax.optimization_barrier(jnp.pad(x, ((0, 0), pad, pad, (0, 0))))
    for axis in (1, 2):
        n = x.shape[axis] - 3
        x = sum(tap * gain**0.5 * lax.slice_in_dim(x, i, i + n, axis=axis) for i, tap in enumerate(TAPS))
        x = lax.optimization_barrier(x) if axis == 1 else x
    return x


def upsample2d(x: jax.Array) -> jax.Array:
    """(B, H, W, C) -> (B, 2H, 2W, C), the filter of the RGB skip."""
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = (1, 1)
        p, n = jnp.pad(x, pads), x.shape[axis]
        before, here, after = (lax.slice_in_dim(p, i, i + n, axis=axis) for i in range(3))
        y = jnp.stack([0.25 * before + 0.75 * here, 0.75 * here + 0.25 * after], axis=axis + 1)
        x = y.reshape(*x.shape[:axis], 2 * n, *x.shape[axis + 1 :])
    return x


def conv2d_up(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Transposed 3x3 convolution of stride 2, then the filter: (B, H, W, I) -> (B, 2H, 2W, O).

    Args:
      x: (B, H, W, I).
      kernel: (3, 3, I, O) or (B, 3, 3, I, O), in the orientation of ``conv_transpose2d`` (not flipped):
        out[2i + k] += x[i] · kernel[k].

    Returns:
      (B, 2H, 2W, O).
    """
    return _conv2d_up(x, kernel) if kernel.ndim == 4 else _phases(x, kernel)


def _phases(x: jax.Array, kernel: jax.Array) -> jax.Array:
    b, h, w, _ = x.shape
    # For even and for odd rows or columns of the output: the kernel's taps, and the zeros to add around x. Of the
    # h + 1 odd rows the last is zero.
    taps = (slice(None, None, -2), (1, 1)), (slice(1, 2), (0, 1))
    phases = [[conv2d(x, kernel[..., r, c, :, :], padding=(above, beside)) for c, beside in taps] for r, above in taps]
    columns = [jnp.concatenate(_filtered(even, odd, 2), axis=-1) for even, odd in phases]
    return jnp.stack(_filtered(*columns, 1), axis=2).reshape(b, 2 * h, 2 * w, -1)


def _filtered(even: jax.Array, odd: jax.Array, axis: int) -> tuple[jax.Array, jax.Array]:
    """The even and the odd rows (or columns) after the filter with gain 2, from those before it: n + 1 of each -> n."""
    n = even.shape[axis] - 1
    pads = [(0, 0)] * 4
    pads[axis] = (1, 0)
    e0, e1 = (lax.slice_in_dim(even, i, i + n, axis=axis) for i in range(2))
    o0, o1, o2 = (lax.slice_in_dim(jnp.pad(odd, pads), i, i + n, axis=axis) for i in range(3))
    return tuple(2 * sum(t * x for t, x in zip(TAPS, met, strict=True)) for met in ((o0, e0, o1, e1), (e0, o1, e1, o2)))


_conv2d_up = jax.custom_vjp(_phases)


def _conv2d_up_forward(x, kernel):
    return _conv2d_up(x, kernel), (x, kernel)


def _conv2d_up_backward(saved, g):
    x, kernel = saved
    # One convolution of stride 2 in place of four of the phases: up to 1.9 times faster on a CPU.
    dx = conv2d(fir(g, (2, 2), gain=4.0), kernel.transpose(0, 1, 3, 2), stride=2, padding="VALID")
    return dx, jax.vjp(lambda kernel: _phases(x, kernel), kernel)[1](g)[0]


_conv2d_up.defvjp(_conv2d_up_forward, _conv2d_up_backward)


def conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The filter, then a convolution of stride 2: (B, H, W, I) -> (B, H/2, W/2, O); kernel 3x3 or 1x1."""
    pad = 2 if kernel.shape[-3] == 3 else 1
    return conv2d(fir(x, (pad, pad)), kernel, stride=2, padding="VALID")
