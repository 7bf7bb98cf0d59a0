"""Balls around zero: what is inside stays, what is outside lands on the surface, and random points fill the ball."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.forgery.projection import project, project_l2, project_linf, radius, random_in_ball, row_norm

X = np.random.default_rng(0).standard_normal((6, 2, 5), np.float32)
SCALES = np.array([0.01, 0.1, 0.3, 1, 10, 1e4], np.float32)[:, None, None]


def draw(keys, shape, epsilon, norm):
    return np.asarray(jax.jit(lambda keys: random_in_ball(keys, shape, epsilon, norm))(keys))


def norms(x, norm):
    flat = np.asarray(x).reshape(len(x), -1)
    return np.abs(flat).max(axis=1) if norm == "linf" else np.linalg.norm(flat, axis=1)


def test_inside_is_untouched_and_outside_lands_on_the_surface():
    x = X / norms(X, "l2")[:, None, None] * SCALES
    found = np.asarray(project(x, 0.5, "l2"))
    np.testing.assert_array_equal(found[:3], x[:3])
    np.testing.assert_allclose(found[3:], 0.5 * x[3:] / SCALES[3:], rtol=1e-5)
    np.testing.assert_allclose(norms(found, "l2"), [0.01, 0.1, 0.3, 0.5, 0.5, 0.5], rtol=1e-5)


def test_linf_clips_every_entry():
    x = X * SCALES
    found = np.asarray(project(x, 0.5, "linf"))
    np.testing.assert_array_equal(found, np.clip(x, -0.5, 0.5))
    np.testing.assert_array_equal(found, project_linf(x, 0.5))
    assert norms(found, "linf").max() == 0.5


@pytest.mark.parametrize("project", [project_l2, project_linf])
def test_zero_stays_zero_with_a_finite_gradient(project):
    zero = jnp.zeros((2, 3))
    np.testing.assert_array_equal(project(zero, 0.5), zero)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(project(x, 0.5) @ jnp.arange(3.0))))(zero)
    np.testing.assert_allclose(gradient, np.tile([0.0, 1.0, 2.0], (2, 1)))


def test_gradient_outside_is_tangent():
    x, c = np.array([[3.0, 4.0]]), np.array([1.0, 2.0])
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(project_l2(x, 0.5) @ c)))(x)
    u = x / 5
    np.testing.assert_allclose(gradient, 0.5 / 5 * (c - u * (u @ c)), rtol=1e-5)


def test_norms_run_over_everything_but_the_rows():
    assert row_norm(X).shape == (6, 1, 1)
    np.testing.assert_allclose(row_norm(X)[:, 0, 0], norms(X, "l2"), rtol=1e-6)
    np.testing.assert_allclose(radius(X, "l2"), norms(X, "l2"), rtol=1e-6)
    np.testing.assert_array_equal(radius(-np.abs(X), "linf"), norms(X, "linf"))


@pytest.mark.parametrize("shape", [(3,), (2, 4)])
def test_random_points_are_uniform_in_the_ball(shape):
    epsilon, size = 0.7, int(np.prod(shape))
    x = draw(jax.random.split(jax.random.key(0), 4000), shape, epsilon, "l2")
    assert x.shape == (4000, *shape)
    assert norms(x, "l2").max() <= epsilon * (1 + 1e-6)
    volume = np.sort((norms(x, "l2") / epsilon) ** size)  # uniform in [0, 1] if the points fill the ball evenly
    assert np.abs(volume - (np.arange(4000) + 0.5) / 4000).max() < 0.03  # Kolmogorov–Smirnov, p < 0.002
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.03)
    np.testing.assert_allclose((x**2).mean(axis=0), epsilon**2 / (size + 2), rtol=0.1)


def test_random_points_are_uniform_in_the_cube():
    x = draw(jax.random.split(jax.random.key(0), 4000), (3,), 0.7, "linf")
    values = np.sort(x.ravel())
    assert np.abs(values / 1.4 + 0.5 - (np.arange(12000) + 0.5) / 12000).max() < 0.02


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_a_row_s_point_depends_on_its_key_alone(norm):
    keys = jax.random.split(jax.random.key(1), 5)
    x = draw(keys, (4,), 1.0, norm)
    np.testing.assert_array_equal(draw(keys[2:3], (4,), 1.0, norm)[0], x[2])
    assert len(np.unique(x)) == 20
