"""Lazy regularisation: values and gradients on the steps that are due, zeros and no movement on the others."""

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from fdetect_jax.gan.lazy import is_due, lazy_select, lazy_value_and_grad

PARAMS = {"a": jnp.array([1.0, -2.0]), "b": jnp.array(3.0)}


def loss(params, scale):
    return scale * (jnp.sum(params["a"] ** 2) + params["b"])


@pytest.mark.parametrize(("interval", "due"), [(1, range(8)), (4, (3, 7)), (16, ())])
def test_due_steps_alone(interval, due):
    lazy = jax.jit(lambda step: lazy_value_and_grad(step, interval, loss, PARAMS, 2.0))
    for i in range(8):
        value, gradient = lazy(i)
        on = float(i in due)
        assert value == pytest.approx(16.0 * on)
        chex.assert_trees_all_close(gradient, {"a": on * 4.0 * PARAMS["a"], "b": jnp.array(on * 2.0)})


def test_what_the_loss_returns_beside():
    def with_aux(params, scale):
        return loss(params, scale), {"mean": params["b"] * 7}

    otherwise = {"mean": jnp.array(-1.0)}
    lazy = jax.jit(lambda step: lazy_value_and_grad(step, 4, with_aux, PARAMS, 2.0, otherwise=otherwise))
    (value, aux), gradient = lazy(2)
    assert (float(value), float(aux["mean"])) == (0.0, -1.0)
    np.testing.assert_array_equal(gradient["a"], 0)
    (value, aux), gradient = lazy(3)
    assert (float(value), float(aux["mean"])) == (16.0, 21.0)
    np.testing.assert_allclose(gradient["a"], 4.0 * PARAMS["a"])


def test_the_loss_is_not_computed_on_other_steps():
    calls = []

    def counted(params):
        jax.debug.callback(lambda: calls.append(1))
        return jnp.sum(params["a"])

    lazy = jax.jit(lambda step: lazy_value_and_grad(step, 4, counted, PARAMS))
    for i in range(8):
        jax.block_until_ready(lazy(i))
    jax.effects_barrier()
    assert len(calls) == 2


def test_adam_stands_still_between_due_steps():
    """Adam with a gradient of zeros still moves along its momentum; with ``lazy_select`` it does not."""
    tx = optax.adam(0.1)

    @jax.jit
    def step(i, params, state):
        _, gradient = lazy_value_and_grad(i, 3, loss, params, 1.0)
        updates, new = tx.update(gradient, state, params)
        moved = optax.apply_updates(params, updates)
        return lazy_select(is_due(i, 3), (moved, new), (params, state))

    params, state = PARAMS, tx.init(PARAMS)
    wanted, wanted_state = PARAMS, tx.init(PARAMS)
    for i in range(7):
        before = params
        params, state = step(i, params, state)
        if i in (2, 5):
            updates, wanted_state = tx.update(jax.grad(loss)(wanted, 1.0), wanted_state)
            wanted = optax.apply_updates(wanted, updates)
            assert float(params["b"]) != float(before["b"])
        else:
            chex.assert_trees_all_equal(params, before)
        chex.assert_trees_all_close(params, wanted, rtol=1e-6)
    assert int(state[0].count) == 2
