"""Objectives of a GAN against their closed forms."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.gan.objectives import discriminator_loss, generator_loss, lazy_adam, path_lengths, r1_penalty

RNG = np.random.default_rng(0)


def test_non_saturating_losses():
    fake, real = jnp.log(jnp.array([1.0, 3.0])), jnp.log(jnp.array([1.0, 4.0, 1.0]))
    # softplus(log a) = log(1 + a)
    assert generator_loss(fake) == pytest.approx((math.log(2) + math.log(4 / 3)) / 2, rel=1e-6)
    wanted = (math.log(2) + math.log(4)) / 2 + (2 * math.log(2) + math.log(5 / 4)) / 3
    assert discriminator_loss(fake, real) == pytest.approx(wanted, rel=1e-6)


def test_generator_gradient_does_not_vanish_where_fakes_are_found_out():
    assert jax.grad(lambda x: generator_loss(x[None]))(-20.0) == pytest.approx(-1.0, rel=1e-5)


def test_r1_of_a_linear_discriminator():
    a = RNG.standard_normal((4, 4, 3), np.float32)
    real = RNG.standard_normal((5, 4, 4, 3), np.float32)
    penalty = r1_penalty(lambda x: jnp.sum(a[None] * x, axis=(1, 2, 3)) + 7.0, real)
    assert penalty == pytest.approx(np.sum(a**2), rel=1e-5)


def test_r1_of_a_quadratic_discriminator():
    real = RNG.standard_normal((5, 4, 4, 3), np.float32)
    penalty = r1_penalty(lambda x: 1.5 * jnp.sum(x**2, axis=(1, 2, 3)), real)
    assert penalty == pytest.approx(np.mean(np.sum((3 * real) ** 2, axis=(1, 2, 3))), rel=1e-5)


def test_path_lengths_of_a_linear_synthesizer():
    matrix = RNG.standard_normal((6, 8, 4, 2, 3), np.float32)  # num_ws, w_dim -> image
    ws, noise = RNG.standard_normal((5, 6, 8), np.float32), RNG.standard_normal((5, 4, 2, 3), np.float32)
    found = path_lengths(lambda ws: jnp.einsum("bld,ldhwc->bhwc", ws, matrix), ws, noise)
    jacobian = np.einsum("ldhwc,bhwc->bld", matrix, noise / math.sqrt(4 * 2))
    np.testing.assert_allclose(found, np.sqrt(np.sum(jacobian**2, axis=2).mean(axis=1)), rtol=1e-5)


def test_lazy_adam():
    found = lazy_adam(0.002, 16)
    assert found["learning_rate"] == pytest.approx(0.002 * 16 / 17)
    assert found["b1"] == 0.0
    assert found["b2"] == pytest.approx(0.99 ** (16 / 17))
    assert found["eps"] == 1e-8
    assert lazy_adam(0.002, 4)["learning_rate"] == pytest.approx(0.0016)
    assert lazy_adam(0.002, 0) == {"learning_rate": 0.002, "b1": 0.0, "b2": 0.99, "eps": 1e-8}
