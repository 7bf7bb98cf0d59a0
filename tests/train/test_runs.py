"""Whole runs of the shipped configs, shrunk: the four trainers, resuming, stopping, refusing."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import small_adv, small_baseline, small_gan, small_inversion

from fdetect_jax import weights
from fdetect_jax.config import check
from fdetect_jax.gan import inversion, stylegan2
from fdetect_jax.train import parallel
from fdetect_jax.train.loop import NonFiniteError, train_and_evaluate
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history

ROOT = Path(__file__).parents[2]


def run(config, workdir) -> dict:
    check(config)
    return train_and_evaluate(config, workdir, make_task(config))


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> str:
    """A pair made by the two trainers, one after the other."""
    folder = tmp_path_factory.mktemp("pair")
    found = run(small_gan(), folder / "gan")
    assert {"psnr/encoder", "ssim/encoder"} <= found["tests"].keys()
    found = run(small_inversion(str(folder / "gan" / "pair")), folder / "inversion")
    assert {"psnr/encoder", "psnr/hyper"} <= found["tests"].keys()
    made = folder / "inversion" / "pair"
    assert (made / "README.md").is_file()
    assert (made / "samples.png").is_file()
    return str(made)


def test_gan_and_inversion_log_their_terms(pair):
    folder = Path(pair).parents[1]
    gan = read_history(folder / "gan")[-1]
    assert {"loss/discriminator", "loss/generator", "loss/r1", "loss/path_length", "loss/reconstruction"} <= gan.keys()
    assert gan["loss/discriminator"] > 0
    assert {"loss/encoder_l2", "loss/hyper_l2"} <= read_history(folder / "inversion")[-1].keys()


def test_adversarial_run_reports_the_attack_and_the_tests(pair, tmp_path):
    found = run(small_adv(pair), tmp_path)
    for name in ("gan_inverted", "adversarial", "swap"):
        assert {"accuracy", "auc", "eer", "ap", "n_real", "n_fake"} == found["tests"][name].keys()
    assert found["tests"]["gan_inverted"]["n_real"] == 6
    history = read_history(tmp_path)
    assert [row["step"] for row in history] == [1, 2, 3, 4, 5, 6]
    for row in history:
        assert row["p_fake/adversary"] < row["p_fake/reconstruction"]
        assert row["delta_norm"] <= 4.0 + 1e-4
    html = (tmp_path / "report.html").read_text()
    assert "http-equiv" not in html
    assert "adversary" in html
    config, _, notes = weights.read(tmp_path / "detector.safetensors", "detector")
    assert config["name"] == "efficientnet_small64"
    assert notes["size"] == "32"


def test_evaluation_alone_repeats_the_figures(pair, tmp_path):
    config = small_baseline(pair)
    first = run(config, tmp_path)
    config.evaluate_only = True
    assert run(config, tmp_path)["tests"] == first["tests"]


def test_evaluation_alone_wants_a_checkpoint(pair, tmp_path):
    config = small_baseline(pair)
    config.evaluate_only = True
    with pytest.raises(ValueError, match="evaluate_only: found no checkpoint"):
        run(config, tmp_path)


def test_another_config_in_the_same_workdir_is_refused_by_field(pair, tmp_path):
    config = small_baseline(pair)
    run(config, tmp_path)
    config.optimizer.sam.rho = 0.1
    with pytest.raises(ValueError, match=r"optimizer\.sam\.rho: found 0\.1"):
        run(config, tmp_path)


def test_a_loss_that_is_not_finite_names_step_term_and_checkpoint(pair, tmp_path):
    config = small_baseline(pair)
    run(config, tmp_path)
    config.steps = 12
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NonFiniteError, match=r"step \d+: loss/.* is (nan|inf); last good checkpoint: .*\d|none yet"):
        run(config, tmp_path / "other")


@pytest.mark.parametrize("turn", ["step", "epoch"])
def test_alternating_objectives_keep_a_state_each(pair, tmp_path, turn):
    config = small_adv(pair)
    config.objective.update(mode="alternating", turn=turn)
    task = make_task(config)
    state = task.init(0)
    step = parallel.compile_step(task.step, parallel.make_mesh(1))
    batch = next(task.batches())
    before = jax.device_get(state.opt_state)
    after = jax.device_get(step(state, batch, task.frozen)[0].opt_state)
    moved = [
        any(
            not np.array_equal(a[i], b[i]) for a, b in zip(jax.tree.leaves(before), jax.tree.leaves(after), strict=True)
        )
        for i in range(2)
    ]
    assert moved == [True, False]


def test_one_device_and_four_devices_agree(pair, monkeypatch):
    # Smooth stand-ins for G's kinks: an offset that falls on a kink gets one of two gradients, as rounding decides,
    # and rounding differs between a batch of four and four batches of one.
    monkeypatch.setattr(stylegan2, "lrelu", lambda x: 0.6 * x + 0.4 * jnp.sqrt(x * x + 0.01))
    monkeypatch.setattr(inversion, "from_signed", lambda x: 0.5 + 0.5 * jnp.tanh(x))
    config = small_adv(pair)
    config.detector.sync_batch_stats = True
    config.forgery.attack.random_start = True
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


@pytest.fixture
def command(pair, tmp_path):
    """Starts the small adversarial run as a user does; the config is a file."""
    file = tmp_path / "small_run.py"
    file.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT / 'tests')!r}]\nfrom small import small_adv\n\n"
        f"def get_config():\n    config = small_adv({pair!r})\n"
        "    config.steps = 12\n"
        "    config.forgery.attack.random_start = True\n"
        "    config.detector.overrides = {**config.detector.overrides, 'dropout': 0.3}\n"
        "    return config\n"
    )
    environment = {**os.environ, "XLA_FLAGS": "", "XDG_CACHE_HOME": str(tmp_path / "cache")}

    def start(workdir: Path) -> subprocess.Popen:
        line = [sys.executable, "-m", "fdetect_jax.main", f"--config={file}", f"--workdir={workdir}"]
        return subprocess.Popen(line, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    return start


def until_step(process: subprocess.Popen, workdir: Path, step: int) -> None:
    """Waits until the log holds ``step``."""
    deadline = time.monotonic() + 240
    while process.poll() is None and time.monotonic() < deadline:
        log = workdir / "metrics.jsonl"
        if log.is_file() and any(row["step"] >= step for row in read_history(workdir)):
            return
        time.sleep(0.005)
    pytest.fail(f"step {step} was not reached: {process.communicate()[0][-2000:]}")


def test_a_killed_run_ends_in_the_same_bits(command, tmp_path):
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    process = command(whole)
    assert process.wait(280) == 0, process.communicate()[0][-2000:]
    process = command(killed)
    until_step(process, killed, 5)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (killed / "report.json").exists(), "the run had ended before it was killed"
    process = command(killed)
    output = process.communicate(timeout=280)[0].decode()
    assert process.returncode == 0, output[-2000:]
    assert "going on from step" in output
    assert (killed / "detector.safetensors").read_bytes() == (whole / "detector.safetensors").read_bytes()

    def log(folder: Path) -> list:
        return [{k: v for k, v in row.items() if k not in ("time", "seconds")} for row in read_history(folder)]

    assert log(killed) == log(whole)
    tests = [json.loads((folder / "report.json").read_text())["tests"] for folder in (whole, killed)]
    assert tests[0] == tests[1]


def test_sigterm_saves_and_says_how_to_go_on(command, tmp_path):
    workdir = tmp_path / "stopped"
    process = command(workdir)
    until_step(process, workdir, 3)
    process.send_signal(signal.SIGTERM)
    output = process.communicate(timeout=60)[0].decode()
    assert process.returncode == 143, output[-2000:]
    assert "the same command goes on from here" in output
    steps = [int(path.name) for path in (workdir / "checkpoints").iterdir() if path.name.isdigit()]
    assert max(steps) >= 3
