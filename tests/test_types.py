"""What travels between rooms: ranges, the label convention, and containers that JAX can walk."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.types import (
    FAKE,
    KINDS,
    REAL,
    UNKNOWN,
    Batch,
    Outputs,
    TrainState,
    feature_maps,
    kind_number,
    margin,
    score,
    to_unit,
)


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


def test_p_fake_of_many_classes_is_the_sum_over_the_fakes():
    logits = jnp.log(jnp.array([[1.0, 3.0, 4.0], [4.0, 0.5, 0.5]]))
    np.testing.assert_allclose(score(logits), [7 / 8, 1 / 5], rtol=1e-6)
    np.testing.assert_allclose(margin(logits), np.log([7, 1 / 4]), rtol=1e-5)


def test_margins_order_what_p_fake_no_longer_tells_apart():
    logits = jnp.array([[-11.0, 11.0], [-13.0, 13.0]])
    assert (score(logits) == 1).all()
    np.testing.assert_allclose(margin(logits), [22, 26], rtol=1e-6)


def test_margins_are_in_single_precision():
    assert margin(jnp.array([[0.0, 1.0]], jnp.bfloat16)).dtype == jnp.float32


def test_kinds_have_numbers():
    assert [kind_number(kind) for kind in KINDS] == [0, 1, 2, 3, 4, 5]
    assert kind_number("unknown") == UNKNOWN == -1
    with pytest.raises(ValueError, match="not in tuple"):
        kind_number("paste")


def test_feature_maps_are_the_heads_named_so():
    heads = {"embedding": 0, "features/stem": 1, "features/last": 2}
    assert list(feature_maps(Outputs(jnp.zeros((1, 2)), heads)).items()) == [("stem", 1), ("last", 2)]


def test_containers_are_pytrees():
    rows = Batch(jnp.zeros((2, 4, 4, 3)), jnp.zeros(2), jnp.ones(2), {"pair": jnp.arange(2), "kind": jnp.ones(2)})
    assert len(jax.tree.leaves(rows)) == 5
    assert jax.jit(lambda batch: batch.replace(weight=0 * batch.weight))(rows).weight.sum() == 0
    assert len(jax.tree.leaves(Outputs(jnp.zeros((2, 2))))) == 1
    assert len(jax.tree.leaves(Outputs(jnp.zeros((2, 2)), {"embedding": jnp.zeros((2, 3))}))) == 2
    state = TrainState(jnp.int32(3), {"params": {}}, (), jax.random.key(0))
    assert int(jax.jit(lambda state: state.step + 1)(state)) == 4
