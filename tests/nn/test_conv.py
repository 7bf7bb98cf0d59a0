"""Convolutions and resampling against XLA's own and against the definition written out in NumPy."""

from functools import partial

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from jax.sharding import AxisType
from jax.sharding import PartitionSpec as P

from fdetect_jax.nn import conv
from fdetect_jax.nn.conv import DIMENSIONS, conv2d, depthwise_conv2d, same_padding
from fdetect_jax.nn.resample import conv2d_down, conv2d_up, fir, upsample2d


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


@partial(jax.jit, static_argnums=0)
def values_and_gradients(functions, g, *arguments):
    """(value, gradients against ``g``) of each function. One program: op by op, each would be compiled by itself."""

    def of(function):
        value, vjp = jax.vjp(function, *arguments)
        return value, vjp(g)

    return [of(function) for function in functions]


def grouped(x, kernel, stride, pads):
    return lax.conv_general_dilated(
        x,
        kernel[:, :, None],
        (stride, stride),
        pads,
        dimension_numbers=DIMENSIONS,
        feature_group_count=x.shape[-1],
        precision="highest",
    )


@pytest.mark.parametrize(
    ("size", "kernel", "stride", "wanted"),
    [
        (380, 3, 2, (0, 1)),
        (95, 5, 2, (2, 2)),
        (24, 5, 2, (1, 2)),
        (190, 3, 2, (0, 1)),
        (7, 3, 1, (1, 1)),
        (8, 1, 2, (0, 0)),
    ],
)
def test_same_padding(size, kernel, stride, wanted):
    assert same_padding(size, kernel, stride) == wanted


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [3, 5])
@pytest.mark.parametrize("size", [(8, 8), (9, 7), (5, 10)])
@pytest.mark.parametrize("padding", ["same", "uneven", "none"])
def test_depthwise_is_grouped_convolution(k, stride, size, padding):
    pads = {
        "same": tuple(same_padding(n, k, stride) for n in size),
        "uneven": ((0, 2), (2, 1)),
        "none": ((0, 0), (0, 0)),
    }[padding]
    x, kernel = normal(0, 2, *size, 3), normal(1, k, k, 3)
    g = normal(2, 2, *((n + sum(pad) - k) // stride + 1 for n, pad in zip(size, pads, strict=True)), 3)
    both = (lambda x, w: grouped(x, w, stride, pads), lambda x, w: depthwise_conv2d(x, w, stride, pads))
    (wanted, wanted_gradients), (found, found_gradients) = values_and_gradients(both, g, x, kernel)
    np.testing.assert_allclose(found, wanted, atol=1e-5)
    chex.assert_trees_all_close(found_gradients, wanted_gradients, rtol=1e-7, atol=1e-4)


def test_both_kernel_gradients_agree():
    """Only one of them runs on this machine's kind of device; the other must not rot."""
    x, g = normal(0, 3, 9, 8, 4), normal(1, 3, 5, 4, 4)
    arguments = dict(k=3, stride=2, pads=((1, 1), (0, 1)))
    both = (conv._kernel_gradient_by_rows, conv._kernel_gradient_at_once)
    rows, whole = jax.jit(lambda x, g: [gradient(x, g, **arguments) for gradient in both])(x, g)
    np.testing.assert_allclose(rows, whole, atol=1e-5)


def test_depthwise_second_derivative():
    """A gradient penalty differentiates the gradient; the rule written by hand must allow it."""
    x, kernel, pads = normal(0, 1, 6, 6, 2), normal(1, 3, 3, 2), ((1, 1), (1, 1))

    @partial(jax.jit, static_argnums=0)
    def penalty(convolve, x, kernel):
        inner = jax.grad(lambda x, w: jnp.sum(jnp.sin(convolve(x, w, 2, pads))))
        return jax.grad(lambda w: jnp.sum(inner(x, w) ** 2))(kernel)

    found, wanted = (penalty(convolve, x, kernel) for convolve in (depthwise_conv2d, grouped))
    np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_depthwise_gradient_over_a_mesh():
    """The rule written by hand runs inside shard_map, as the training step calls it."""
    mesh = jax.make_mesh((1,), ("data",), axis_types=(AxisType.Auto,))
    x, kernel, pads = normal(0, 2, 8, 8, 3), normal(1, 3, 3, 3), ((0, 1), (0, 1))

    def gradient(kernel, x):
        return jax.grad(lambda kernel: jnp.sin(depthwise_conv2d(x, kernel, 2, pads)).mean())(kernel)

    specs = (P(), P("data"))
    sharded = jax.shard_map(gradient, mesh=mesh, in_specs=specs, out_specs=P(), check_vma=False)
    np.testing.assert_allclose(jax.jit(sharded)(kernel, x), jax.jit(gradient)(kernel, x), atol=1e-6)


def test_depthwise_half_precision_keeps_dtypes():
    x, kernel = (jnp.asarray(a, jnp.bfloat16) for a in (normal(0, 2, 6, 6, 4), normal(1, 3, 3, 4)))

    @jax.jit
    def value_and_gradients(x, kernel):
        y, vjp = jax.vjp(lambda x, w: depthwise_conv2d(x, w, 1, ((1, 1), (1, 1))), x, kernel)
        return y, *vjp(y)

    y, *gradients = value_and_gradients(x, kernel)
    assert [a.dtype for a in (y, *gradients)] == [jnp.bfloat16] * 3
    wanted = jax.jit(grouped, static_argnums=(2, 3))(
        x.astype(jnp.float32), kernel.astype(jnp.float32), 1, ((1, 1), (1, 1))
    )
    # One rounding, at the end: half a unit in the last of 8 bits.
    np.testing.assert_allclose(y.astype(jnp.float32), wanted, rtol=2**-8)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((2, 0), (1, 1))])
def test_point_convolution_is_convolution(stride, padding):
    x, kernel = normal(0, 2, 5, 6, 3), normal(1, 1, 1, 3, 4)
    wanted = lax.conv_general_dilated(x, kernel, (stride, stride), padding, dimension_numbers=DIMENSIONS)
    np.testing.assert_allclose(conv2d(x, kernel, stride, padding), wanted, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [1, 3])
@pytest.mark.parametrize("padding", ["SAME", "VALID", ((0, 1), (2, 0))])
def test_kernel_per_sample_is_a_loop(k, stride, padding):
    x, kernel = normal(0, 3, 7, 6, 4), normal(1, 3, k, k, 4, 5)

    def loop(x, kernel):
        rows = [
            lax.conv_general_dilated(x[i : i + 1], kernel[i], (stride, stride), padding, dimension_numbers=DIMENSIONS)
            for i in range(len(x))
        ]
        return jnp.concatenate(rows)

    g = normal(2, *jax.eval_shape(loop, x, kernel).shape)
    both = (loop, lambda x, w: conv2d(x, w, stride, padding))
    (wanted, wanted_gradients), (found, found_gradients) = values_and_gradients(both, g, x, kernel)
    np.testing.assert_allclose(found, wanted, atol=1e-4)
    chex.assert_trees_all_close(found_gradients, wanted_gradients, rtol=1e-7, atol=1e-4)


def upfirdn(x, up, down, pad, gain):
    """The definition: zeros between samples, padding, the 4x4 filter, gain, every ``down``-th sample."""
    b, h, w, c = x.shape
    y = np.zeros((b, h * up, w * up, c))
    y[:, ::up, ::up] = x
    y = np.pad(y, ((0, 0), pad, pad, (0, 0)))
    f = np.outer([1, 3, 3, 1], [1, 3, 3, 1]) / 64
    high, wide = y.shape[1] - 3, y.shape[2] - 3
    z = sum(f[i, j] * y[:, i : i + high, j : j + wide] for i in range(4) for j in range(4))
    return gain * z[:, ::down, ::down]


def cross_correlate(x, kernel, stride):
    """Valid convolution by its definition. x: (B, H, W, I). kernel: (k, k, I, O)."""
    k = len(kernel)
    high, wide = (x.shape[1] - k) // stride + 1, (x.shape[2] - k) // stride + 1
    y = np.zeros((len(x), high, wide, kernel.shape[-1]))
    for i in range(high):
        for j in range(wide):
            window = x[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


@pytest.mark.parametrize(("pad", "gain"), [((2, 1), 1.0), ((1, 1), 4.0), ((2, 2), 1.0)])
def test_fir(pad, gain):
    x = np.asarray(normal(0, 2, 6, 5, 3))
    np.testing.assert_allclose(
        jax.jit(fir, static_argnums=(1, 2))(x, pad, gain), upfirdn(x, 1, 1, pad, gain), atol=1e-5
    )


def test_upsample():
    x = np.asarray(normal(0, 2, 4, 5, 3))
    np.testing.assert_allclose(jax.jit(upsample2d)(x), upfirdn(x, 2, 1, (2, 1), 4.0), atol=1e-5)


@pytest.mark.parametrize("per_sample", [False, True])
def test_convolution_up(per_sample):
    x, kernel = np.asarray(normal(0, 2, 4, 5, 3)), np.asarray(normal(1, 2, 3, 3, 3, 4))
    kernel = kernel if per_sample else kernel[0]
    spread = np.zeros((2, 9, 11, 4))
    for n in range(2):
        weight = kernel[n] if per_sample else kernel
        for i in range(4):
            for j in range(5):
                spread[n, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += x[n, i, j] @ weight
    np.testing.assert_allclose(jax.jit(conv2d_up)(x, kernel), upfirdn(spread, 1, 1, (1, 1), 4.0), atol=1e-4)


@pytest.mark.parametrize(("k", "pad"), [(3, (2, 2)), (1, (1, 1))])
def test_convolution_down(k, pad):
    x, kernel = np.asarray(normal(0, 2, 6, 8, 3)), np.asarray(normal(1, k, k, 3, 4))
    found = jax.jit(conv2d_down)(x, kernel)
    assert found.shape == (2, 3, 4, 4)
    np.testing.assert_allclose(found, cross_correlate(upfirdn(x, 1, 1, pad, 1.0), kernel, 2), atol=1e-4)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("k", [1, 3])
def test_kernels_per_sample_one_after_another(monkeypatch, k, stride):
    """Where the patches would be too many; the same numbers and gradients."""
    x, kernel = normal(0, 2, 9, 8, 3), normal(1, 2, k, k, 3, 5)

    def value(x, kernel):
        return jnp.sum(jnp.sin(conv2d(x, kernel, stride)))

    wanted = jax.jit(jax.value_and_grad(value, (0, 1)))(x, kernel)
    monkeypatch.setattr(conv, "_MANY", 0)
    found = jax.jit(jax.value_and_grad(value, (0, 1)))(x, kernel)
    assert "concatenate" not in str(jax.make_jaxpr(value)(x, kernel))
    assert "scan" in str(jax.make_jaxpr(value)(x, kernel))
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-5)
