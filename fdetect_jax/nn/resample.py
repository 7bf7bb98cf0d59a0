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
    for axis in (1, 2):
        pads = [(0, 0)] * 4
        pads[axis] = pad
        x = jnp.pad(x, pads)
        n = x.shape[axis] - 3
        x = sum(tap * gain**0.5 * lax.slice_in_dim(x, i, i + n, axis=axis) for i, tap in enumerate(TAPS))
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
    b, h, w, _ = x.shape
    o = kernel.shape[-1]
    # For even and for odd rows or columns of the output: the kernel's taps, and the zeros to add around x.
    even, odd = (slice(None, None, -2), (1, 1)), (slice(1, 2), (0, 1))
    rows = []
    for row, above in (even, odd):
        phases = [conv2d(x, kernel[..., row, column, :, :], padding=(above, beside)) for column, beside in (even, odd)]
        rows.append(jnp.stack(phases, axis=3))
    y = jnp.stack(rows, axis=2).reshape(b, 2 * h + 2, 2 * w + 2, o)
    return fir(y[:, : 2 * h + 1, : 2 * w + 1], (1, 1), gain=4.0)


def conv2d_down(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """The filter, then a convolution of stride 2: (B, H, W, I) -> (B, H/2, W/2, O); kernel 3x3 or 1x1."""
    pad = 2 if kernel.shape[-3] == 3 else 1
    return conv2d(fir(x, (pad, pad)), kernel, stride=2, padding="VALID")
