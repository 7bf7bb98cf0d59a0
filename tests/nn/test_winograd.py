"""Winograd's convolutions equal direct ones, forwards and backwards, and are taken where they pay."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from fdetect_jax.nn import winograd
from fdetect_jax.nn.conv import DIMENSIONS, conv2d


def drawn(*shape):
    return np.random.default_rng(len(shape)).standard_normal(shape).astype(np.float32)


def directly(x, kernel):
    """In float64, tap by tap."""
    x = np.pad(x.astype(np.float64), ((0, 0), (1, 1), (1, 1), (0, 0)))
    high, wide = x.shape[1] - 2, x.shape[2] - 2
    taps = [(a, b) for a in range(3) for b in range(3)]
    return sum(x[:, a : a + high, b : b + wide] @ kernel[a, b].astype(np.float64) for a, b in taps)


@pytest.mark.parametrize("size", [(1, 1), (4, 8), (5, 3), (18, 7), (23, 24)])
def test_every_size_equals_the_sum_over_taps(size):
    x, kernel = drawn(2, *size, 16), drawn(3, 3, 16, 8)
    found, wanted = winograd.convolve(x, kernel), directly(x, kernel)
    np.testing.assert_allclose(found, wanted, atol=5e-5 * np.abs(wanted).max())


def test_wide_convolutions_and_their_gradients_are_those_of_xla():
    x, kernel = drawn(1, 33, 34, 128), drawn(3, 3, 128, 130) / 30
    assert winograd.pays(x, kernel)

    def value(convolve, x, kernel):
        return jnp.sum(jnp.sin(convolve(x, kernel)))

    def of_xla(x, kernel):
        return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=DIMENSIONS)

    assert np.ptp(conv2d(x, kernel) - of_xla(x, kernel)) > 0 or jax.default_backend() != "cpu"  # another way of summing
    found, wanted = (jax.grad(value, argnums=(1, 2))(one, x, kernel) for one in (conv2d, of_xla))
    for mine, theirs in zip(found, wanted, strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-3 * np.abs(theirs).max())


@pytest.mark.parametrize(
    ("x", "kernel", "dtype"),
    [
        ((1, 32, 32, 127), (3, 3, 127, 128), np.float32),
        ((1, 31, 32, 128), (3, 3, 128, 128), np.float32),
        ((1, 32, 32, 128), (5, 5, 128, 128), np.float32),
        ((1, 32, 32, 128), (3, 3, 128, 128), jnp.bfloat16),
    ],
)
def test_small_large_kernels_and_half_precision_stay_direct(x, kernel, dtype):
    assert not winograd.pays(np.zeros(x, dtype), np.zeros(kernel, dtype))
