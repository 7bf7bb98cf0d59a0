"""Every detector of the zoo goes through the whole life of a run: training, resuming, four devices, export, scores."""

import json
import os
import shutil

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import DATA

from configs import zoo
from fdetect_jax import parallel, weights
from fdetect_jax.config import check
from fdetect_jax.detectors import DETECTORS
from fdetect_jax.experiments.runs import runs_of
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.train.loop import train_and_evaluate
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history

# What draws at random in training differs between devices, and is turned off.
STILL = {
    "efficientnet": {"dropout": 0.0, "drop_connect": 0.0},
    "meso4": {"dropout": 0.0},
    "mesoinception4": {"dropout": 0.0},
    "capsule_v1": {"dropout": 0.0, "noise": 0.0},
    "capsule_v2": {"dropout": 0.0, "noise": 0.0},
    "multiresolution": {"trunk_overrides": {"dropout": 0.0, "drop_connect": 0.0}},
}


# Those with most of their own: random layers, masks, stages, two networks. FDETECT_ZOO=all runs every one.
FAMILIES = ("capsule_v2", "classnseg", "deepfd", "fingerprints")
RUN = tuple(zoo.PRESETS) if os.environ.get("FDETECT_ZOO") == "all" else FAMILIES


def small(name, folder):
    """The config of one run of the zoo: swaps alone, four steps."""
    config = zoo.get_config()
    config.update(data={**DATA, "size": 64}, steps=4, batch_size=4, log_every=1, checkpoint_every=2)
    config.evaluation.update(batch_size=4, limit=4, skip=("sbi", "fwa", "composite", "resample"))
    config.evaluation.forgeries = {}
    config.forgery.mix = {"swap": 1.0}
    # Adam divides a gradient by its own size: one that is zero but for rounding would move a parameter by a whole step.
    config.optimizer.update(name="sgd", learning_rate=0.01)
    config.detector.sync_batch_stats = config.losses.contrastive.across = True
    preset = zoo.PRESETS[name]
    network = preset.get("detector", {})
    overrides = {**network.get("overrides", {}), **STILL.get(name, {})}
    config.variants = {name: {**preset, "detector": {**network, "overrides": overrides}}}
    config.rows = (name,)
    return runs_of(config, folder)[0].config


def losses(config, devices, count):
    """The loss of the first steps on so many devices."""
    task, own = make_task(config), parallel.Devices(devices)
    state, batches, step = own.first_state(task.init, 0, task.start), task.batches(own), own.compile_step(task.step)
    found = []
    for _ in range(count):
        state, metrics = step(state, parallel.put_batch(next(batches), own.mesh), {})
        found.append(float(metrics["loss/total"]))
    return found


@pytest.mark.parametrize("name", RUN)
def test_the_life_of_a_detector(name, tmp_path):
    config = small(name, tmp_path)
    check(config)
    task = make_task(config)
    chex.clear_trace_counter()
    task.step = chex.assert_max_traces(task.step, n=1)
    one = jax.devices()[:1]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    report = train_and_evaluate(config, whole, task, one)
    assert 0 <= report["tests"]["swap"]["auc"] <= 1
    assert report["figures"]["parameters"] > 1000
    assert report["figures"]["rows_per_second"] > 0

    shutil.copytree(whole, resumed)  # as it was after step 2
    shutil.rmtree(resumed / "checkpoints" / "4")
    for file in ("report.json", "report.html", "detector.safetensors"):
        (resumed / file).unlink()
    assert train_and_evaluate(config, resumed, task, one)["tests"] == report["tests"]
    ours, again = (weights.read(folder / "detector.safetensors")[1] for folder in (whole, resumed))
    chex.assert_trees_all_equal(ours, again)

    wanted = [row["loss/total"] for row in read_history(whole)[:2]]
    np.testing.assert_allclose(losses(config, 4, 2), wanted, rtol=1e-3)

    images = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), np.uint8)
    scorer = Scorer(whole, recipe="aligned64", batch_size=4)
    margins, shown = scorer.margins(images), scorer.attention(images)
    assert (len(shown), shown.ndim) == (3, 3)
    assert shown.min() >= 0
    assert shown.max() <= 1
    half = Scorer(whole, recipe="aligned64", batch_size=4, dtype=jnp.bfloat16).margins(images)
    assert np.isfinite(half).all()
    np.testing.assert_allclose(half, margins, atol=0.05 * (1 + np.abs(margins).max()))
    assert json.loads((whole / "report.json").read_text())["tests"] == report["tests"]


def test_every_kind_of_detector_has_a_place_in_the_zoo():
    """But plain trunks, of which each family has one in a preset, and detectors that are made of a trained one."""
    config = zoo.get_config()
    shown = {one.get("detector", {}).get("name", config.detector.name) for one in zoo.PRESETS.values()}
    trunks = {name for name in DETECTORS if name.startswith(("efficientnet_", "resnet", "vgg"))}
    made = {"experts"} | {name for name, one in DETECTORS.items() if one.wraps}
    made.add("deepfd_coupled")  # a second trunk beside DeepFD's
    assert set(DETECTORS) - trunks - made == shown - trunks
