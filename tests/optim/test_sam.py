"""SAM against its closed form on a quadratic, against PyTorch's SGD with momentum, and with other optimisers."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdetect_jax.optim.sam import perturbation, sam

A = np.array([[3.0, 0.5, 0.0], [0.5, 2.0, -0.3], [0.0, -0.3, 1.0]], np.float32)
W = np.array([1.0, -2.0, 0.5], np.float32)


def split(w):
    """One vector as a tree of two leaves: the norm of SAM runs over all of them."""
    return {"a": w[:1], "b": {"c": w[1:]}}


def join(tree):
    return jnp.concatenate([tree["a"], tree["b"]["c"]])


gradient = jax.jit(jax.grad(lambda tree: 0.5 * join(tree) @ A @ join(tree)))


def steps(tx, count, params=None):
    params = split(jnp.asarray(W)) if params is None else params
    state = tx.init(params)
    for _ in range(count):
        updates, state = tx.update(gradient(params), state, params, grad_fn=gradient)
        params = optax.apply_updates(params, updates)
    return np.asarray(join(params))


def climbed(w, rho):
    g = A @ w
    return w + rho * g / np.linalg.norm(g)


@pytest.mark.parametrize("rho", [0.0, 0.05, 0.7])
def test_one_step_on_a_quadratic(rho):
    np.testing.assert_allclose(steps(sam(optax.sgd(0.1), rho), 1), W - 0.1 * A @ climbed(W, rho), rtol=1e-5)


def test_without_a_radius_no_second_gradient_is_taken():
    tx, (gradient, params) = sam(optax.sgd(0.1), rho=0.0), (jnp.ones(2), jnp.zeros(2))
    updates, _ = tx.update(gradient, tx.init(params), params, grad_fn=lambda _: pytest.fail("taken"))
    np.testing.assert_allclose(updates, -0.1 * gradient)


def test_rho_by_default():
    np.testing.assert_array_equal(steps(sam(optax.sgd(0.1)), 2), steps(sam(optax.sgd(0.1), rho=0.05), 2))


def test_momentum_is_that_of_pytorch():
    """buf ← 0.9·buf + g, w ← w − lr·buf, with weight decay in g, all at the unperturbed w; the rate may change."""
    rates = [0.1, 0.05, 0.02]
    schedule = optax.piecewise_constant_schedule(0.1, {1: 0.5, 2: 0.4})
    base = optax.chain(optax.add_decayed_weights(0.01), optax.sgd(schedule, momentum=0.9))
    w, buffer = W, np.zeros(3)
    for rate in rates:
        g = A @ climbed(w, 0.3) + 0.01 * w
        buffer = 0.9 * buffer + g
        w = w - rate * buffer
    np.testing.assert_allclose(steps(sam(base, 0.3), 3), w, rtol=1e-4)


def test_adaptive_scales_by_the_weights():
    g = A @ W
    perturbed = W + 0.3 * W**2 * g / np.linalg.norm(np.abs(W) * g)
    found = steps(sam(optax.sgd(0.1), 0.3, adaptive=True), 1)
    np.testing.assert_allclose(found, W - 0.1 * A @ perturbed, rtol=1e-5)


@pytest.mark.parametrize("adaptive", [False, True])
def test_a_zero_gradient_is_guarded(adaptive):
    zero = split(jnp.zeros(3))
    chex.assert_trees_all_equal(perturbation(zero, zero, 0.05, adaptive), zero)
    np.testing.assert_array_equal(steps(sam(optax.sgd(0.1), 0.05, adaptive), 2, zero), 0)


def test_the_perturbation_has_one_norm_for_all_leaves():
    offset = perturbation(split(jnp.array([3.0, 4.0, 0.0])), split(jnp.asarray(W)), 0.5)
    np.testing.assert_allclose(join(offset), [0.3, 0.4, 0.0], rtol=1e-6)


def test_perturbed_parameters_are_seen_by_the_gradient_alone():
    seen = []

    def grad_fn(params):
        seen.append(params)
        return split(jnp.zeros(3))

    tx = sam(optax.sgd(0.1, momentum=0.9), 0.3)
    params = split(jnp.asarray(W))
    updates, state = tx.update(gradient(params), tx.init(params), params, grad_fn=grad_fn)
    assert len(seen) == 1
    np.testing.assert_allclose(join(seen[0]), climbed(W, 0.3), rtol=1e-5)
    chex.assert_trees_all_equal(updates, jax.tree.map(jnp.zeros_like, params))
    chex.assert_trees_all_equal(optax.apply_updates(params, updates), split(jnp.asarray(W)))
    chex.assert_trees_all_equal(state, jax.tree.map(jnp.zeros_like, state))


def test_with_adam():
    tx = optax.adam(0.01)
    params = split(jnp.asarray(W))
    state = tx.init(params)
    for _ in range(3):
        updates, state = tx.update(split(A @ climbed(np.asarray(join(params)), 0.3)), state, params)
        params = optax.apply_updates(params, updates)
    np.testing.assert_allclose(steps(sam(optax.adam(0.01), 0.3), 3), join(params), rtol=1e-5)


def test_in_a_chain_and_compiled():
    tx = optax.chain(sam(optax.sgd(0.1), 0.3), optax.scale(0.5))
    params = split(jnp.asarray(W))
    update = jax.jit(lambda params, state: tx.update(gradient(params), state, params, grad_fn=gradient)[0])
    np.testing.assert_allclose(join(update(params, tx.init(params))), -0.05 * A @ climbed(W, 0.3), rtol=1e-5)


def test_params_are_wanted():
    tx = sam(optax.sgd(0.1))
    params = split(jnp.asarray(W))
    with pytest.raises(ValueError, match="sam: found no params"):
        tx.update(gradient(params), tx.init(params), grad_fn=gradient)
