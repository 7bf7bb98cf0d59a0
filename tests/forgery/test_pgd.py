"""Projected gradient ascent against closed forms: linear and quadratic objectives, both norms, both gradients."""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.forgery.pgd import Attack, ascend, trajectory
from fdetect_jax.forgery.projection import radius, random_in_ball

KEYS = jax.random.split(jax.random.key(0), 3)
G = np.random.default_rng(0).standard_normal((3, 2, 4)).astype(np.float32)
UNIT = G / np.linalg.norm(G.reshape(3, -1), axis=1)[:, None, None]


def linear(delta):
    return jnp.sum(G * delta, axis=(1, 2))


def run(attack, objective=linear, keys=KEYS, shape=(2, 4)):
    return np.asarray(jax.jit(lambda keys: ascend(objective, keys, shape, attack))(keys))


@pytest.mark.parametrize("random_start", [True, False])
def test_linear_objective_ends_where_the_gradient_leaves_the_ball(random_start):
    delta = run(Attack(epsilon=0.5, steps=60, random_start=random_start))
    np.testing.assert_allclose(delta, 0.5 * UNIT, atol=1e-3)


def test_every_step_has_the_length_of_the_step_size():
    delta = run(Attack(epsilon=4.0, steps=3, step_size=0.1, random_start=False))
    np.testing.assert_allclose(delta, 0.3 * UNIT, rtol=1e-5)


def test_raw_gradient_is_the_formula_of_the_paper():
    delta = run(Attack(epsilon=100.0, steps=3, step_size=0.1, gradient="raw", random_start=False))
    np.testing.assert_allclose(delta, 0.3 * G, rtol=1e-5)


def test_a_normalised_step_ignores_the_scale_of_the_objective():
    attack = Attack(epsilon=4.0, steps=3, step_size=0.1, random_start=False)
    np.testing.assert_allclose(run(attack, lambda d: 1e-3 * linear(d)), run(attack), rtol=1e-4)


def test_default_step_size():
    assert Attack().eta == pytest.approx(4 / math.sqrt(10))
    assert Attack(epsilon=1.0, steps=25).eta == pytest.approx(0.2)
    assert Attack(step_size=0.3).eta == 0.3
    one = run(Attack(epsilon=1.0, steps=4, random_start=False))  # 4 steps of ½ reach the surface
    np.testing.assert_allclose(one, UNIT, rtol=1e-5)


def test_interior_maximum_of_a_quadratic():
    """δ ← δ + η·(c − δ)·a is a contraction by 1 − ηa; from zero, c − δ shrinks by that each step."""
    c, a = 0.2 * UNIT, 2.0
    attack = Attack(epsilon=1.0, steps=7, step_size=0.1, gradient="raw", random_start=False)
    delta = run(attack, lambda d: -0.5 * a * jnp.sum((d - c) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(delta, c * (1 - 0.8**7), rtol=1e-4, atol=1e-6)


def test_maximum_outside_of_the_ball():
    c = 3 * UNIT
    delta = run(Attack(epsilon=0.5, steps=40, random_start=True), lambda d: -jnp.sum((d - c) ** 2, axis=(1, 2)))
    np.testing.assert_allclose(delta, 0.5 * UNIT, atol=5e-3)


def test_linf_takes_signs():
    attack = Attack(epsilon=0.5, steps=3, step_size=0.1, norm="linf", random_start=False)
    np.testing.assert_allclose(run(attack), 0.3 * np.sign(G), rtol=1e-5)
    np.testing.assert_allclose(run(dataclasses.replace(attack, steps=9)), 0.5 * np.sign(G), rtol=1e-5)
    raw = dataclasses.replace(attack, gradient="raw")
    np.testing.assert_allclose(run(raw), np.clip(0.3 * G, -0.5, 0.5), rtol=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
def test_random_start_is_projected_and_differs(norm):
    attack = Attack(epsilon=0.5, steps=1, step_size=1e-6, norm=norm)
    delta = run(attack).reshape(3, -1)
    size = np.abs(delta).max(axis=1) if norm == "linf" else np.linalg.norm(delta, axis=1)
    assert size.max() <= 0.5 * (1 + 1e-6)
    assert size.min() > 0.1
    assert len(np.unique(delta)) == 24


def test_a_flat_objective_moves_nothing():
    delta = run(Attack(random_start=False), lambda d: 0.0 * jnp.sum(d, axis=(1, 2)))
    np.testing.assert_array_equal(delta, 0)


def bumpy(delta):
    return jnp.sum(jnp.sin(3 * G * delta) + 0.3 * jnp.cos(5 * delta), axis=(1, 2))


def test_rows_are_independent():
    attack = Attack(epsilon=1.0, steps=5)
    whole = run(attack, bumpy)

    @jax.jit
    def alone(i):
        objective = lambda delta: bumpy(jnp.zeros((3, 2, 4)).at[i].set(delta[0]))[i][None]  # noqa: E731
        return ascend(objective, KEYS[i][None], (2, 4), attack)[0]

    for i in range(3):
        np.testing.assert_allclose(alone(i), whole[i], atol=1e-5)


@pytest.mark.parametrize("norm", ["l2", "linf"])
@pytest.mark.parametrize("random_start", [True, False])
def test_the_trajectory_leads_from_the_start_to_the_result(norm, random_start):
    attack = Attack(epsilon=0.5, steps=6, norm=norm, random_start=random_start)
    path = np.asarray(jax.jit(lambda keys: trajectory(bumpy, keys, (2, 4), attack))(KEYS))
    assert path.shape == (7, 3, 2, 4)
    start = random_in_ball(KEYS, (2, 4), 0.5, norm) if random_start else np.zeros((3, 2, 4))
    np.testing.assert_allclose(path[0], start, atol=1e-6)
    np.testing.assert_allclose(path[-1], run(attack, bumpy), atol=1e-5)
    sizes = np.stack([radius(offset, norm) for offset in path])
    assert sizes.max() <= 0.5 * (1 + 1e-6)
    for i in (1, 3):  # the way there is that of fewer steps of the same size
        shorter = dataclasses.replace(attack, steps=i, step_size=attack.eta)
        np.testing.assert_allclose(path[i], run(shorter, bumpy), atol=1e-5)


@pytest.mark.parametrize("way", [ascend, trajectory])
def test_the_result_carries_no_gradient(way):
    attack = Attack(gradient="raw", steps=2)
    gradient = jax.jit(jax.grad(lambda scale: jnp.sum(way(lambda d: scale * linear(d), KEYS, (2, 4), attack))))(1.0)
    assert gradient == 0.0


@pytest.mark.parametrize(
    ("field", "value"),
    [("epsilon", 0.0), ("epsilon", -1.0), ("steps", 0), ("step_size", -0.1), ("norm", "l1"), ("gradient", "sign")],
)
def test_wrong_fields_are_named(field, value):
    with pytest.raises(ValueError, match=rf"^{field}: found {value!r}"):
        Attack(**{field: value})
