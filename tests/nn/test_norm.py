"""BatchNorm, alone and with swish, against Flax's and against what autodiff makes of the plain formula."""

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.nn.norm import BatchNorm, normalize_swish


def normal(seed: int, *shape: int) -> jax.Array:
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("train", [False, True])
@pytest.mark.parametrize("swish", [False, True])
def test_is_flax_batch_norm(train, swish):
    x, g = 3 + 2 * normal(0, 2, 5, 4, 6), normal(1, 2, 5, 4, 6)
    params = {"scale": 1 + normal(2, 6), "bias": normal(3, 6)}
    stats = {"mean": normal(4, 6), "var": jnp.abs(normal(5, 6)) + 0.1}
    ours = BatchNorm(train, 0.9, 1e-3, swish=swish)
    theirs = nn.BatchNorm(not train, momentum=0.9, epsilon=1e-3)

    def run(module, after):
        def forward(params, x):
            y, changed = module.apply({"params": params, "batch_stats": stats}, x, mutable=["batch_stats"])
            return after(y), changed

        y, pullback, changed = jax.vjp(forward, params, x, has_aux=True)
        return y, pullback(g), changed

    found = jax.jit(lambda: run(ours, lambda y: y))()
    wanted = jax.jit(lambda: run(theirs, nn.swish if swish else lambda y: y))()
    chex.assert_trees_all_close(found, wanted, rtol=1e-4, atol=1e-4)


def test_second_derivative():
    """A gradient penalty differentiates the gradient; the rule written by hand must allow it."""
    x, mean, scale, bias = normal(0, 3, 4), normal(1, 4), normal(2, 4), normal(3, 4)

    def penalty(function):
        inner = jax.grad(lambda x, scale: jnp.sum(jnp.sin(function(x, mean, scale, bias))))
        return jax.jit(jax.grad(lambda scale: jnp.sum(inner(x, scale) ** 2)))(scale)

    plain = penalty(lambda x, mean, scale, bias: nn.swish((x - mean[None]) * scale[None] + bias[None]))
    np.testing.assert_allclose(penalty(normalize_swish), plain, atol=1e-4)


def test_half_precision_is_rounded_once():
    x = normal(0, 8, 4).astype(jnp.bfloat16)
    mean, scale, bias = normal(1, 4), normal(2, 4), normal(3, 4)
    y = normalize_swish(x, mean, scale, bias)
    assert y.dtype == jnp.bfloat16
    wanted = nn.swish((x.astype(jnp.float32) - mean[None]) * scale[None] + bias[None])
    np.testing.assert_allclose(y.astype(jnp.float32), wanted, rtol=2**-8)
