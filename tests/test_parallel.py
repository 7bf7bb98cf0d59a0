"""One device or four: the same step, the same draws, and batches that have to divide."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import parallel

pytestmark = pytest.mark.skipif(jax.device_count() < 4, reason="needs 4 devices: tests/conftest.py makes them of a CPU")
COUNTS = (1, 2, 4)
RNG = np.random.default_rng(0)
BATCH = {"x": RNG.standard_normal((8, 3)).astype(np.float32), "y": RNG.standard_normal(8).astype(np.float32)}
RATE, RIDGE = 0.1, 0.01


def step(state, batch, frozen):
    """Gradient descent on a regression, whose data are moved by a draw per row."""
    key = jax.random.fold_in(state["rng"], state["step"])
    x = batch["x"] + 0.1 * parallel.normal_rows(key, batch["x"].shape[0], 3)

    def loss(w):
        return jnp.mean((x @ w - batch["y"]) ** 2) + frozen["ridge"] * jnp.sum(w**2)

    value, gradient = jax.value_and_grad(loss)(state["w"])
    state = state | {"w": state["w"] - RATE * parallel.mean(gradient), "step": state["step"] + 1}
    return state, {"loss": value, "devices": jnp.asarray(jax.lax.psum(1, parallel.AXIS))}


def run(devices, steps=3):
    mesh = parallel.make_mesh(devices)
    compiled = parallel.compile_step(step, mesh)
    state = {"w": np.ones(3, np.float32), "step": np.int32(0), "rng": jax.random.key(7)}
    state, frozen = parallel.put(state, mesh), parallel.put({"ridge": np.float32(RIDGE)}, mesh)
    batch = parallel.put_batch(BATCH, mesh)
    losses = []
    for _ in range(steps):
        state, metrics = compiled(state, batch, frozen)
        losses.append(float(metrics["loss"]))
        assert int(metrics["devices"]) == devices
    return np.asarray(state["w"]), losses


def by_hand(steps=3):
    w, losses = np.ones(3), []
    for i in range(steps):
        key = jax.random.fold_in(jax.random.key(7), i)
        noise = [jax.random.normal(jax.random.fold_in(key, row), (3,)) for row in range(8)]
        x = BATCH["x"] + 0.1 * np.stack(noise)
        error = x @ w - BATCH["y"]
        losses.append(np.mean(error**2) + RIDGE * np.sum(w**2))
        w = w - RATE * (2 * x.T @ error / 8 + 2 * RIDGE * w)
    return w, losses


@pytest.mark.parametrize("devices", COUNTS)
def test_a_step_on_any_number_of_devices(devices):
    (w, losses), (wanted, wanted_losses) = run(devices), by_hand()
    np.testing.assert_allclose(w, wanted, rtol=1e-4)
    np.testing.assert_allclose(losses, wanted_losses, rtol=1e-4)


def test_the_state_is_donated_and_stays_everywhere():
    mesh = parallel.make_mesh(4)
    compiled = parallel.compile_step(lambda state, batch, frozen: (state + 1.0, {}), mesh)
    before = parallel.put(np.zeros(5, np.float32), mesh)
    after, _ = compiled(before, parallel.put_batch(BATCH, mesh), {})
    assert before.is_deleted()
    assert after.sharding == parallel.replicated(mesh)
    assert len(after.addressable_shards) == 4
    for shard in after.addressable_shards:
        np.testing.assert_array_equal(shard.data, 1)


def test_draws_do_not_depend_on_the_number_of_devices():
    rng = jax.random.key(3)

    def draw(variables, batch):
        count = batch["y"].shape[0]
        keys = parallel.row_keys(rng, count)
        return parallel.rows(count), jax.random.key_data(keys), parallel.normal_rows(rng, count, 2, 3)

    found = []
    for devices in COUNTS:
        mesh = parallel.make_mesh(devices)
        found.append([np.asarray(x) for x in parallel.compile_rows(draw, mesh)({}, parallel.put_batch(BATCH, mesh))])
    for rows, keys, normal in found:
        np.testing.assert_array_equal(rows, np.arange(8))
        np.testing.assert_array_equal(keys, found[0][1])
        np.testing.assert_array_equal(normal, found[0][2])
    assert found[0][2].shape == (8, 2, 3)
    assert len(np.unique(found[0][2])) == 48


def test_evaluation_keeps_the_order_of_rows():
    mesh = parallel.make_mesh(4)
    evaluate = parallel.compile_rows(lambda w, batch: {"p": batch["x"] @ w}, mesh)
    w = np.arange(3, dtype=np.float32)
    found = evaluate(parallel.put(w, mesh), parallel.put_batch(BATCH, mesh))
    np.testing.assert_allclose(found["p"], BATCH["x"] @ w, rtol=1e-5, atol=1e-6)


def test_put_batch_splits_the_rows():
    mesh = parallel.make_mesh(4)
    x = parallel.put_batch(BATCH, mesh)["x"]
    assert [shard.data.shape for shard in x.addressable_shards] == [(2, 3)] * 4
    np.testing.assert_array_equal(x, BATCH["x"])


def test_rows_that_do_not_divide():
    with pytest.raises(ValueError, match="batch_size: found 6 rows for 4 devices, wanted a multiple of 4"):
        parallel.put_batch({"x": np.zeros((6, 2))}, parallel.make_mesh(4))


def test_a_mesh_has_all_devices_by_default():
    assert parallel.make_mesh().size == jax.device_count()
    assert parallel.make_mesh(2).size == 2
    assert parallel.make_mesh(2).axis_names == (parallel.AXIS,)
