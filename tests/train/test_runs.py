"""Whole runs of the shipped detector configs, shrunk, on a pair of random weights."""

import json
import shutil
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from small import moved, run, small_adv, small_baseline

from fdetect_jax import parallel
from fdetect_jax.gan import inversion, stylegan2
from fdetect_jax.train.loop import NonFiniteError
from fdetect_jax.train.trainers import make_task


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("pair")
    tiny.save_pair(folder)
    return str(folder)


@pytest.fixture(scope="module")
def ended_once(pair, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ended")
    run(small_baseline(pair), folder)
    return folder


@pytest.fixture
def ended(ended_once, tmp_path) -> Path:
    """The workdir of a baseline that ran to its end."""
    return shutil.copytree(ended_once, tmp_path / "ended")


def test_evaluation_alone_repeats_the_figures(ended, pair):
    config, first = small_baseline(pair), json.loads((ended / "report.json").read_text())
    config.evaluate_only = True
    assert run(config, ended)["tests"] == first["tests"]


def test_evaluation_alone_wants_a_checkpoint(pair, tmp_path):
    config = small_baseline(pair)
    config.evaluate_only = True
    with pytest.raises(ValueError, match="evaluate_only: found no checkpoint"):
        run(config, tmp_path)


def test_another_config_in_the_same_workdir_is_refused_by_field(ended, pair):
    config = small_baseline(pair)
    config.optimizer.sam.rho = 0.1
    with pytest.raises(ValueError, match=r"optimizer\.sam\.rho: found 0\.1"):
        run(config, ended)


def test_a_loss_that_is_not_finite_names_step_term_and_checkpoint(pair, tmp_path):
    config = small_baseline(pair)
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NonFiniteError, match=r"step \d+: loss/\S+ is (nan|inf); last good checkpoint: (none yet|.*\d)"):
        run(config, tmp_path)


def test_alternating_objectives_keep_a_state_each_and_share_the_schedule(pair):
    config = small_adv(pair)
    config.objective.update(mode="alternating", turn="step")
    task = make_task(config)
    task.rate = lambda step: jnp.where(step < 1, 0.0, 0.1)
    step = parallel.compile_step(task.step, parallel.make_mesh(1))
    batch = next(task.batches())
    seen = [task.init(0)]
    for _ in range(2):
        seen.append(step(jax.tree.map(jnp.copy, seen[-1]), batch, task.frozen)[0])
    seen = jax.device_get([(state.opt_state, state.variables["params"]) for state in seen])

    def of(turn: int, states) -> list:
        return jax.tree.map(lambda x: x[turn], states)

    for index, turn in enumerate((0, 1)):
        (before, _), (after, _) = seen[index : index + 2]
        assert moved(of(turn, before), of(turn, after))
        assert not moved(of(1 - turn, before), of(1 - turn, after))
    # The first step has rate 0 and the second has not, though it is the first of its own objective.
    assert not moved(seen[0][1], seen[1][1])
    assert moved(seen[1][1], seen[2][1])


def test_an_epoch_s_turn_that_never_ends_is_refused(pair):
    config = small_adv(pair)
    config.objective.update(mode="alternating", turn="epoch")
    config.steps = 4
    with pytest.raises(ValueError, match=r"objective\.turn: found 'epoch', 4 steps of the 4"):
        make_task(config)


def test_one_device_and_four_devices_agree(pair, monkeypatch):
    # Smooth stand-ins for G's kinks: an offset that falls on a kink gets one of two gradients, as rounding decides,
    # and rounding differs between a batch of four and four batches of one.
    monkeypatch.setattr(stylegan2, "lrelu", lambda x: 0.6 * x + 0.4 * jnp.sqrt(x * x + 0.01))
    monkeypatch.setattr(inversion, "from_signed", lambda x: 0.5 + 0.5 * jnp.tanh(x))
    config = small_adv(pair)
    config.detector.sync_batch_stats = True
    config.forgery.attack.random_start = True
    config.objective.lam = 1.0  # the contrastive term pairs the faces of one device with each other
    # Adam divides a gradient by its own size: one that is zero but for rounding would move a parameter by a whole step.
    config.optimizer.update(name="sgd", learning_rate=0.05)
    task = make_task(config)
    batch = next(task.batches())
    found = []
    for devices in (1, 4):
        mesh = parallel.make_mesh(devices)
        step = parallel.compile_step(task.step, mesh)
        state, frozen = parallel.put(task.init(0), mesh), parallel.put(task.frozen, mesh)
        history = []
        for _ in range(2):
            state, metrics = step(state, parallel.put_batch(batch, mesh), frozen)
            history.append(jax.device_get(metrics))
        assert step._cache_size() == 1
        found.append((jax.device_get(state.variables), history))
    (one, history_one), (four, history_four) = found
    assert history_one[0]["delta_norm"] > 1
    for a, b in zip(history_one, history_four, strict=True):
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(four), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_half_of_the_fakes_may_be_made_on_the_host(pair):
    config = small_adv(pair)
    config.forgery.half = "sbi"
    task = make_task(config)
    batch, state = next(task.batches()), task.init(0)
    mesh = parallel.make_mesh(1)

    def fakes(frozen, batch):
        return task._fakes(jax.random.key(0), state, batch, frozen)[0]

    both = parallel.compile_eval(fakes, mesh)(task.frozen["forgery"], batch)
    alone = {name: batch[name] for name in ("image", "identity")}
    attacked = parallel.compile_eval(fakes, mesh)(task.frozen["forgery"], alone)
    np.testing.assert_allclose(both[::2], batch["forged"][::2] / 255, atol=1e-6)
    np.testing.assert_allclose(both[1::2], attacked[1::2], atol=1e-4)
    assert moved(both[::2], attacked[::2])
