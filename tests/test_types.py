"""What travels between rooms: ranges, the label convention, and containers that JAX can walk."""

import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.types import FAKE, REAL, Batch, Outputs, TrainState, score, to_unit


def test_labels():
    assert (REAL, FAKE) == (0, 1)


def test_score_is_the_probability_of_fake():
    logits = jnp.log(jnp.array([[1.0, 3.0], [4.0, 1.0]]))
    np.testing.assert_allclose(score(logits), [0.75, 0.2], rtol=1e-6)


def test_to_unit():
    bytes_ = jnp.array([[0, 51, 255]], jnp.uint8)
    unit = to_unit(bytes_)
    assert unit.dtype == jnp.float32
    np.testing.assert_allclose(unit, [[0.0, 0.2, 1.0]], rtol=1e-6)
    np.testing.assert_array_equal(to_unit(unit), unit)


def test_containers_are_pytrees():
    rows = Batch(jnp.zeros((2, 4, 4, 3)), jnp.zeros(2), jnp.zeros(2), jnp.ones(2), jnp.arange(2))
    assert len(jax.tree.leaves(rows)) == 5
    assert jax.jit(lambda batch: batch.replace(weight=0 * batch.weight))(rows).weight.sum() == 0
    assert len(jax.tree.leaves(Outputs(jnp.zeros((2, 2))))) == 1
    state = TrainState(jnp.int32(3), {"params": {}}, (), jax.random.key(0))
    assert int(jax.jit(lambda state: state.step + 1)(state)) == 4
