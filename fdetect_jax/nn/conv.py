"""Fast forms of convolutions. In: NHWC images. Out: NHWC images.

Slow paths of XLA on CPU are avoided here, and many channels are convolved as ``winograd`` does:

- A grouped convolution (depthwise, or one kernel per sample) is several times slower than the same sum written as
  shifted products or as one batched matrix product.
- Inside a scan or a cond, XLA does not bring a convolution into the layout NHWC/HWIO/NHWC. The gradients that autodiff
  writes have another layout and run 10 to 40 times slower there than the same gradients written in this one.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from fdetect_jax.nn import winograd
from fdetect_jax.nn.axes import per_channel

DIMENSIONS = ("NHWC", "HWIO", "NHWC")
Padding = tuple[tuple[int, int], tuple[int, int]]
UNPADDED: Padding = ((0, 0), (0, 0))
# One kernel per sample: where all patches together have more values than this, the samples are convolved one after
# another. That is up to 2 times faster on a CPU and takes a tenth of the memory. Smaller patches are convolved all at
# once: one after another, a step of the demo's training took 1.3 times as long.
_MANY = 1 << 23
# How many products one turn of the loop adds up in a depthwise kernel's gradient. With 16 or fewer the loop took up to
# 4 times as long.
_TERMS = 20


def same_padding(size: int, kernel: int, stride: int) -> tuple[int, int]:
    """TensorFlow's SAME for one axis: (before, after), the odd pixel at the end."""
    total = max((-(-size // stride) - 1) * stride + kernel - size, 0)
    return total // 2, total - total // 2


def conv2d(
    x: jax.Array, kernel: jax.Array, stride: int = 1, padding: Padding | str = "SAME", dilation: int = 1
) -> jax.Array:
    """Cross-correlates images with one kernel, or each image with its own.

    Args:
      x: (B, H, W, I).
      kernel: (k, l, I, O), or (B, k, l, I, O) for one kernel per sample.
      stride: of both axes.
      padding: "SAME", "VALID" or ((top, bottom), (left, right)).
      dilation: pixels from one tap to the next; above 1 with one kernel for all images.

    Returns:
      (B, H', W', O).
    """
    if kernel.ndim == 4 and kernel.shape[:2] == (1, 1) and stride == 1 and padding in ("SAME", "VALID", UNPADDED):
        return _point(x, kernel[0, 0])
    if kernel.ndim == 4:
        window = tuple((k - 1) * dilation + 1 for k in kernel.shape[:2])
        return _conv2d(x, kernel, stride, _pads(x, window, stride, padding), 1, dilation)
    k, l = kernel.shape[1:3]
    pads = _pads(x, (k, l), stride, padding)
    if k * l * x[0].size > _MANY:
        return lax.map(lambda one: conv2d(one[0][None], one[1], stride, pads)[0], (x, kernel))
    patches = jnp.concatenate(_shifts(x, k, l, stride, pads), axis=-1)
    return jnp.einsum("bhwi,bio->bhwo", patches, kernel.reshape(kernel.shape[0], -1, kernel.shape[-1]))


def transposed_conv2d(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A transposed 3x3 convolution of stride 2 that doubles the size, phase by phase.

    No inserted zero is multiplied: on a CPU 2.5 to 18 times faster than a convolution of the image with zeros between
    its pixels, gradients included. It equals PyTorch's ``conv_transpose2d`` with padding 1 and output padding 1, whose
    kernel is turned by half a turn.

    Args:
      x: (B, H, W, I).
      kernel: (3, 3, I, O).

    Returns:
      (B, 2H, 2W, O): pixel (2i, 2j) is x[i, j] · kernel[1, 1]; odd rows and columns lie between two of x.
    """
    b, h, w, _ = x.shape
    even, odd = (slice(1, 2), (0, 0)), (slice(None, None, 2), (0, 1))  # the kernel's taps, and the zeros around x
    rows = [
        jnp.stack([conv2d(x, kernel[down][:, across], padding=(below, beside)) for across, beside in (even, odd)], 3)
        for down, below in (even, odd)
    ]
    return jnp.stack(rows, axis=2).reshape(b, 2 * h, 2 * w, -1)


def _point(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """A 1x1 convolution as one matrix product: on a CPU 1.5 to 10 times faster than as a convolution."""
    return (x.reshape(-1, x.shape[-1]) @ kernel).reshape(*x.shape[:-1], kernel.shape[-1])


def _pads(x: jax.Array, window: tuple[int, int], stride: int, padding: Padding | str) -> Padding:
    if padding == "VALID":
        return UNPADDED
    if padding == "SAME":
        high, wide = (same_padding(n, k, stride) for n, k in zip(x.shape[1:3], window, strict=True))
        return high, wide
    return padding


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4, 5))
def _conv2d(x: jax.Array, kernel: jax.Array, stride: int, pads: Padding, spread: int, dilation: int) -> jax.Array:
    """The convolution with ``spread − 1`` zeros between pixels and ``dilation − 1`` between the kernel's taps."""

    def convolve(x: jax.Array, kernel: jax.Array, pads: Padding) -> jax.Array:
        return lax.conv_general_dilated(
            x, kernel, (stride, stride), pads, (spread, spread), (dilation, dilation), dimension_numbers=DIMENSIONS
        )

    def with_a_row_below(x: jax.Array, kernel: jax.Array) -> jax.Array:
        high = (x.shape[1] - (kernel.shape[0] - 1) * dilation - 1) // stride + 1
        return convolve(x, kernel, ((0, 1), (0, 0)))[:, :high]

    if pads == UNPADDED and spread == 1 and kernel.shape[:2] != (1, 1):
        # Without padding XLA on a CPU takes 1.4 to 2 times as long.
        return lax.platform_dependent(x, kernel, cpu=with_a_row_below, default=partial(convolve, pads=pads))
    if pads == ((1, 1), (1, 1)) and stride == spread == dilation == 1 and winograd.pays(x, kernel):
        return lax.platform_dependent(x, kernel, cpu=winograd.convolve, default=partial(convolve, pads=pads))
    return convolve(x, kernel, pads)


def _conv2d_forward(x, kernel, stride, pads, spread, dilation):
    return _conv2d(x, kernel, stride, pads, spread, dilation), (x, kernel)


def _conv2d_backward(stride, pads, spread, dilation, saved, g):
    x, kernel = saved
    # Both gradients are convolutions: of g with the flipped kernel, and of x with g as the kernel.
    to_x, to_kernel = [], []
    for (lo, _), n, m, k in zip(pads, x.shape[1:3], g.shape[1:3], kernel.shape[:2], strict=True):
        n, m, k = (n - 1) * spread + 1, (m - 1) * stride + 1, (k - 1) * dilation + 1
        to_x.append((k - 1 - lo, n - m + lo))
        to_kernel.append((lo, k + m - 1 - n - lo))
    flipped = kernel[::-1, ::-1].transpose(0, 1, 3, 2)
    dx = _conv2d(g, flipped, spread, tuple(to_x), stride, dilation)
    images, windows = x.transpose(3, 1, 2, 0), g.transpose(1, 2, 0, 3)
    dkernel = _conv2d(images, windows, dilation, tuple(to_kernel), spread, stride)
    return dx, dkernel.transpose(1, 2, 0, 3)


_conv2d.defvjp(_conv2d_forward, _conv2d_backward)


def _shifts(x: jax.Array, k: int, l: int, stride: int, pads: Padding) -> list[jax.Array]:
    """The k·l shifted (and strided) views of ``x``, one per tap of a k×l kernel, row by row."""
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
    """Convolves each channel with its own kernel, as k·k shifted products, summed in float32.

    Args:
      x: (B, H, W, C). kernel: (k, k, C). stride: of both axes. pads: ((top, bottom), (left, right)).

    Returns:
      (B, H', W', C), of the dtype of ``x``.
    """
    k = kernel.shape[0]
    taps = kernel.astype(jnp.float32).reshape(k * k, -1)
    shifts = _shifts(x, k, k, stride, pads)
    return sum(per_channel(tap, x) * shift for tap, shift in zip(taps, shifts, strict=True)).astype(x.dtype)


def _depthwise_forward(x, kernel, stride, pads):
    # With the barrier the result is computed once; without it, XLA computes it again for each reader.
    return lax.optimization_barrier(depthwise_conv2d(x, kernel, stride, pads)), (x, kernel)


def _depthwise_backward(stride, pads, saved, g):
    x, kernel = saved
    dkernel = _kernel_gradient(x, g, kernel.shape[0], stride, pads).astype(kernel.dtype)
    dx = lax.optimization_barrier(_input_gradient(g, kernel, stride, pads, x.shape).astype(x.dtype))
    return dx, dkernel


@partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _kernel_gradient(x: jax.Array, g: jax.Array, k: int, stride: int, pads: Padding) -> jax.Array:
    """The gradient of ``depthwise_conv2d`` with respect to its kernel, (k, k, C) float32; bilinear in x and g."""
    by_rows, at_once = (
        partial(gradient, k=k, stride=stride, pads=pads)
        for gradient in (_kernel_gradient_by_rows, _kernel_gradient_at_once)
    )
    # On a CPU, one reduction per tap over the whole batch costs up to 20 times a loop that keeps rows in cache.
    return lax.platform_dependent(x, g, cpu=by_rows, default=at_once)


def _kernel_gradient_forward(x, g, k, stride, pads):
    return _kernel_gradient(x, g, k, stride, pads), (x, g)


def _kernel_gradient_backward(k, stride, pads, saved, taps):
    x, g = saved
    dx = _input_gradient(g, taps, stride, pads, x.shape).astype(x.dtype)
    return dx, depthwise_conv2d(x, taps, stride, pads).astype(g.dtype)


_kernel_gradient.defvjp(_kernel_gradient_forward, _kernel_gradient_backward)


def _kernel_gradient_at_once(x: jax.Array, g: jax.Array, k: int, stride: int, pads: Padding) -> jax.Array:
    g = g.astype(jnp.float32)
    taps = [jnp.sum(shift * g, axis=(0, 1, 2)) for shift in _shifts(x, k, k, stride, pads)]
    return jnp.stack(taps).reshape(k, k, -1)


def _kernel_gradient_by_rows(x: jax.Array, g: jax.Array, k: int, stride: int, pads: Padding) -> jax.Array:
    """As ``_kernel_gradient_at_once``, a few rows at a time.

    The sums over neighbouring pixels are written as plain additions: XLA's own reduction over pixels works on one
    channel at a time.
    """
    batch, high, wide, channels = g.shape
    groups = -(-wide // _TERMS)
    width = -(-wide // groups)
    rows = min(high, -(-_TERMS // width))
    turns = -(-high // rows)
    g = jnp.pad(g, ((0, 0), (0, turns * rows - high), (0, groups * width - wide), (0, 0)))
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    lacking = (max(0, (m - 1) * stride + k - n) for m, n in zip(g.shape[1:3], x.shape[1:3], strict=True))
    x = jnp.pad(x, ((0, 0), *((0, n) for n in lacking), (0, 0)))
    met_rows, reach = (rows - 1) * stride + k, (groups - 1) * width

    def add(i: jax.Array, sums: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        met = lax.dynamic_slice_in_dim(x, i * rows * stride, met_rows, axis=1)
        row = lax.dynamic_slice_in_dim(g, i * rows, rows, axis=1)
        # Without the barrier XLA reads the pixel from memory again for every addend.
        met, row = (half.astype(jnp.float32) for half in lax.optimization_barrier((met, row)))
        return tuple(
            sums[b]
            + sum(
                met[:, r * stride : r * stride + k, q * stride + b : (q + reach) * stride + b + 1 : width * stride]
                * row[:, r : r + 1, q : q + reach + 1 : width]
                for r in range(rows)
                for q in range(width)
            )
            for b in range(k)
        )

    zeros = jnp.zeros((batch, k, groups, channels), jnp.float32)
    return jnp.stack([taps.sum(axis=(0, 2)) for taps in lax.fori_loop(0, turns, add, (zeros,) * k)], axis=1)


def _input_gradient(g: jax.Array, kernel: jax.Array, stride: int, pads: Padding, shape: tuple) -> jax.Array:
    """The transposed convolution, one phase of the stride at a time, so that no inserted zero is multiplied."""
    k = kernel.shape[0]
    taps = kernel.astype(jnp.float32)
    reach = -(-k // stride) - 1
    high, wide = (-(-(n + sum(pad)) // stride) for n, pad in zip(shape[1:3], pads, strict=True))
    g = jnp.pad(g, ((0, 0), (reach, high - g.shape[1]), (reach, wide - g.shape[2]), (0, 0)))
    g = g.astype(jnp.float32)

    def phase(r: int, c: int) -> jax.Array:
        met = [
            per_channel(taps[a, b], g) * g[:, reach - a // stride :, reach - b // stride :][:, :high, :wide]
            for a in range(r, k, stride)
            for b in range(c, k, stride)
        ]
        return sum(met, jnp.zeros((shape[0], high, wide, shape[3]), jnp.float32))

    rows = [jnp.stack([phase(r, c) for c in range(stride)], axis=3) for r in range(stride)]
    dx = jnp.stack(rows, axis=2).reshape(shape[0], high * stride, wide * stride, shape[3])
    (top, _), (left, _) = pads
    return dx[:, top : top + shape[1], left : left + shape[2]]


depthwise_conv2d.defvjp(_depthwise_forward, _depthwise_backward)
