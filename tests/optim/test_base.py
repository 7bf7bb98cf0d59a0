"""Every registered optimiser against its formula, what weight decay reaches, and the fields that are refused."""

import functools

import chex
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from absl.testing import parameterized
from ml_collections import ConfigDict

from fdetect_jax.detectors import make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.optim.base import OPTIMIZERS, averaged, check_optimizer, decayed, make_optimizer

W = {"kernel": jnp.array([[1.0, -2.0], [0.5, 3.0]]), "bias": jnp.array([0.5, -1.0])}
G = {"kernel": jnp.array([[0.3, 0.1], [-0.2, 0.4]]), "bias": jnp.array([1.0, -0.5])}


def options(optimizer: str, **fields) -> dict:
    plain = {
        "name": optimizer,
        "learning_rate": 0.1,
        "momentum": 0.9,
        "b2": 0.99,
        "weight_decay": 0.0,
        "warmup": 0.0,
        "decay_after": 0.75,
        "staircase": {"every": 0, "factor": 0.1, "times": 3},
        "average": 0.0,
    }
    return plain | {"sam": {"rho": 0.0, "adaptive": False, "batch_stats": "first"}} | fields


def updates(fields: dict, rate: float, count: int = 1) -> list[dict]:
    """The updates of ``count`` steps with one and the same gradient at one and the same point."""
    tx = make_optimizer(fields, rate)
    state, found = tx.init(W), []
    step = jax.jit(lambda state: tx.update(G, state, W, grad_fn=lambda _: G))
    for _ in range(count):
        update, state = step(state)
        found.append(update)
    return found


def scaled(tree, factor):
    return jax.tree.map(lambda x: factor * x, tree)


@functools.cache
def efficientnet() -> dict:
    module = make_detector("efficientnet_small64")
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3)))["params"]


def test_kernels_alone_decay():
    """Over the parameters of a real detector: no scale or bias of a norm, no bias of a dense layer."""
    flat = jax.tree_util.tree_leaves_with_path(decayed(efficientnet()))
    chosen = {path[-1].key for path, wanted in flat if wanted}
    spared = {path[-1].key for path, wanted in flat if not wanted}
    assert (chosen, spared) == ({"kernel"}, {"scale", "bias"})


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_decay_moves_no_norm_and_no_bias(name):
    params = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), efficientnet())
    tx = make_optimizer(options(name, weight_decay=0.1))
    still = jax.tree.map(np.zeros_like, params)
    update, _ = jax.jit(lambda params, still: tx.update(still, tx.init(params), params, grad_fn=None))(params, still)
    for path, moved in jax.tree_util.tree_leaves_with_path(update):
        np.testing.assert_allclose(moved, -0.1 if path[-1].key == "kernel" else 0.0, rtol=1e-6, err_msg=str(path))


def test_sgd_adds_the_decay_to_the_gradient():
    """And so to its momentum, as PyTorch's SGD."""
    first, second = updates(options("sgd", weight_decay=0.2), 0.1, 2)
    decayed_gradient = {"kernel": G["kernel"] + 0.2 * W["kernel"], "bias": G["bias"]}
    chex.assert_trees_all_close(first, scaled(decayed_gradient, -0.1), rtol=1e-6)
    chex.assert_trees_all_close(second, scaled(decayed_gradient, -0.19), rtol=1e-6)


def test_adam_has_the_betas_of_the_config():
    for fields in ({"momentum": 0.9, "b2": 0.99}, {"momentum": 0.5, "b2": 0.9}):
        tx = optax.adam(0.1, b1=fields["momentum"], b2=fields["b2"])
        state = tx.init(W)
        for found in updates(options("adam", **fields), 0.1, 3):
            wanted, state = tx.update(G, state)
            chex.assert_trees_all_close(found, wanted, rtol=1e-6)


def test_adam_l2_adds_the_decay_to_the_gradient():
    gradient = {"kernel": G["kernel"] + 0.2 * W["kernel"], "bias": G["bias"]}
    tx = optax.adam(0.1, b1=0.9, b2=0.99)
    state = tx.init(W)
    for found in updates(options("adam_l2", weight_decay=0.2), 0.1, 2):
        wanted, state = tx.update(gradient, state)
        chex.assert_trees_all_close(found, wanted, rtol=1e-6)


def test_adamw_takes_the_decay_past_the_moments():
    plain = updates(options("adam"), 0.1, 2)
    for found, wanted in zip(updates(options("adamw", weight_decay=0.2), 0.1, 2), plain, strict=True):
        decay = {"kernel": 0.2 * W["kernel"], "bias": jnp.zeros(2)}
        chex.assert_trees_all_close(found, jax.tree.map(lambda u, d: u - 0.1 * d, wanted, decay), rtol=1e-5)


@pytest.mark.parametrize("name", sorted(OPTIMIZERS))
def test_a_rate_outside_is_a_rate_inside(name):
    """The trainer multiplies the updates of a unit rate by its schedule; the decay goes with them."""
    fields = options(name, weight_decay=0.0 if name == "adam" else 0.2)
    for unit, found in zip(updates(fields, 1.0, 3), updates(fields, 0.03, 3), strict=True):
        chex.assert_trees_all_close(found, scaled(unit, 0.03), rtol=1e-5)


class Compiled(chex.TestCase):
    """The contract of every optimiser, with SAM around it, compiled and not."""

    @chex.variants(with_jit=True, without_jit=True)
    @parameterized.parameters(*sorted(OPTIMIZERS))
    def test_a_quadratic_is_descended(self, name):
        fields = options(name, momentum=0.5, weight_decay=0.0 if name == "adam" else 1e-3)
        tx = make_optimizer(fields | {"sam": {"rho": 0.05, "adaptive": False}}, 0.05)
        gradient = jax.grad(lambda w: 0.5 * optax.tree.norm(w) ** 2)

        chex.clear_trace_counter()

        @self.variant
        @chex.assert_max_traces(n=1)
        def step(params, state):
            update, state = tx.update(gradient(params), state, params, grad_fn=gradient)
            return optax.apply_updates(params, update), state

        params, state = W, tx.init(W)
        for _ in range(60):
            params, state = step(params, state)
        assert optax.tree.norm(params) < 0.2 * optax.tree.norm(W)


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"name": "lion"}, r"optimizer\.name: found 'lion', wanted one of \['adam', 'adam_l2', 'adamw', 'sgd'\]"),
        ({"learning_rate": 0.0}, r"optimizer\.learning_rate: found 0\.0"),
        ({"momentum": 1.0}, r"optimizer\.momentum: found 1\.0, wanted a value in \[0, 1\)"),
        ({"b2": 1.0}, r"optimizer\.b2: found 1\.0, wanted a value in \[0, 1\)"),
        ({"warmup": 0.8}, r"optimizer\.warmup: found 0\.8"),
        ({"average": 1.0}, r"optimizer\.average: found 1\.0, wanted a value in \[0, 1\)"),
        ({"decay_after": 1.5}, r"optimizer\.decay_after: found 1\.5"),
        ({"weight_decay": -0.1}, r"optimizer\.weight_decay: found -0\.1"),
        ({"weight_decay": 0.1}, r"optimizer\.weight_decay: found 0\.1, wanted 0 with adam; adamw"),
        ({"sam": {"rho": -1.0, "adaptive": False, "batch_stats": "first"}}, r"optimizer\.sam\.rho: found -1\.0"),
        ({"sam": {"rho": 0.0, "adaptive": "yes", "batch_stats": "first"}}, r"optimizer\.sam\.adaptive: found 'yes'"),
        ({"sam": {"rho": 0.0, "adaptive": True, "batch_stats": "last"}}, r"optimizer\.sam\.batch_stats: found 'last'"),
    ],
)
def test_wrong_fields_are_named(fields, named):
    check_optimizer(ConfigDict({"optimizer": options("adam")}))
    with pytest.raises(UserError, match=f"^{named}"):
        check_optimizer(ConfigDict({"optimizer": options("adam", **fields)}))


def test_a_missing_field_is_named():
    config = ConfigDict({"optimizer": options("adam")})
    del config.optimizer.b2
    with pytest.raises(UserError, match=r"^optimizer\.b2: found no such field"):
        check_optimizer(config)


def test_the_average_of_weights():
    """The closed form: weights of 1 / 10, then those of the decay."""
    values = [np.float32(v) for v in (4.0, 1.0, 7.0)]
    average = {"w": np.float32(2.0)}
    for step, value in enumerate(values):
        average = averaged(average, {"w": value}, 0.15, np.int32(step))
    expected = 2.0
    for step, value in enumerate(values):
        keep = min(0.15, (1 + step) / (10 + step))
        expected = keep * expected + (1 - keep) * value
    assert float(average["w"]) == pytest.approx(expected, rel=1e-6)
