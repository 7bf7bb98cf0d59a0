"""Whole runs of the shipped detector configs, shrunk, on a pair of random weights."""

import itertools
import json
import shutil
from pathlib import Path

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny
from flax.traverse_util import flatten_dict
from small import compilations, moved, run, small_adv, small_baseline, without_generator

from fdetect_jax import parallel, weights
from fdetect_jax.config import check
from fdetect_jax.detectors import DETECTORS, Detector
from fdetect_jax.errors import UserError
from fdetect_jax.gan import inversion, stylegan2
from fdetect_jax.train import loop
from fdetect_jax.train.loop import NonFiniteError
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history
from fdetect_jax.types import Outputs
from tests.strict import guarded_steps


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> str:
    return str(tiny.save_pair(tmp_path_factory.mktemp("pair")))


@pytest.fixture(scope="module")
def without_hyper(tmp_path_factory) -> str:
    """For what does not depend on H, which takes a quarter of the time that an attack takes to compile."""
    return str(tiny.save_pair(tmp_path_factory.mktemp("without_hyper"), "generator", "encoder"))


def cheap():
    """A baseline whose tests want no inverter."""
    config = without_generator(small_baseline(""))
    config.evaluation.calibrate = False
    return config


@pytest.fixture(scope="module")
def ended_once(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ended")
    run(cheap(), folder)
    return folder


@pytest.fixture
def ended(ended_once, tmp_path) -> Path:
    """The workdir of a baseline that ran to its end."""
    return shutil.copytree(ended_once, tmp_path / "ended")


def test_evaluation_alone_repeats_the_figures(ended):
    config, first = cheap(), json.loads((ended / "report.json").read_text())
    config.evaluate_only = True
    assert run(config, ended)["tests"] == first["tests"]


def test_another_evaluation_of_a_run_has_its_own_folder(ended):
    before = (ended / "report.json").read_bytes()
    config = cheap()
    config.evaluate_only = True
    config.evaluation.update(seed=1, limit=3, skip=("sbi",))
    found = run(config, ended)
    assert list(found["tests"]) == ["swap", "fwa", "composite", "resample"]
    assert found["tests"]["swap"]["n_real"] == 3
    assert (ended / "report.json").read_bytes() == before
    (folder,) = ended.glob("evaluation_*")
    assert {"report.json", "report.html", "detector.safetensors"} <= {path.name for path in folder.iterdir()}
    assert json.loads((folder / "report.json").read_text())["config"]["evaluation"]["seed"] == 1
    config.evaluation.seed = 2
    run(config, ended)
    assert len(list(ended.glob("evaluation_*"))) == 2


def test_a_training_s_field_is_refused_by_name_whatever_is_evaluated(ended):
    config = cheap()
    config.evaluate_only = True
    config.evaluation.seed = 1
    config.augment.flip = 0.25
    with pytest.raises(UserError, match=r"^augment\.flip: found 0\.25, but .* holds a run with 0\.5"):
        run(config, ended)


def test_a_training_that_goes_on_keeps_its_evaluation(ended):
    config = cheap()
    config.evaluation.seed = 1
    with pytest.raises(UserError, match=r"^evaluation\.seed: found 1, but .* holds a run with 0"):
        run(config, ended)


@pytest.mark.parametrize(
    ("file", "wanted"),
    [
        ("_CHECKPOINT_METADATA", r"checkpoints: cannot be read"),
        ("config/metadata", r"checkpoints/6: cannot be read .* without this folder the run goes on from step 4"),
        ("state/_METADATA", r"checkpoints/6: cannot be read"),
        ("data/metadata", "checkpoint: found no position in the data"),
    ],
)
def test_a_damaged_checkpoint_is_named(ended, file, wanted):
    (ended / "checkpoints" / "6" / file).write_text("[1]")
    with pytest.raises(UserError, match=wanted):
        run(cheap(), ended)


def test_a_damaged_report_is_named(ended):
    config = cheap()
    for text, wanted in (
        ("[" * 100_000, "found no JSON"),
        ("[]", "found no step in it"),
        ('{"step": 6}', "found no config"),
    ):
        (ended / "report.json").write_text(text)
        with pytest.raises(UserError, match=rf"report\.json: {wanted}"):
            loop.finished(config, ended, make_task(config))


def test_evaluation_alone_wants_a_checkpoint(tmp_path):
    config = cheap()
    config.evaluate_only = True
    with pytest.raises(UserError, match="evaluate_only: found no checkpoint"):
        run(config, tmp_path)


def test_another_config_in_the_same_workdir_is_refused_by_field(ended):
    config = cheap()
    config.optimizer.sam.rho = 0.1
    with pytest.raises(UserError, match=r"^optimizer\.sam\.rho: found 0\.1"):
        run(config, ended)


class Broken:
    """Faces of which one cannot be read."""

    def __init__(self, faces):
        self.faces = faces

    def __getattr__(self, name):
        return getattr(self.faces, name)

    def __len__(self):
        return len(self.faces)

    def __getitem__(self, index):
        if index == 5:
            raise UserError("face_5.png: cannot be read")
        return self.faces[index]


def test_an_unreadable_face_is_listed_and_the_run_goes_on(tmp_path):
    config = cheap()
    config.data.max_unusable = 0.5
    config.steps = 12
    task = make_task(config)
    task.source = Broken(task.source)
    loop.train_and_evaluate(config, tmp_path, task, progress=False)
    assert len(read_history(tmp_path)) == 12
    found = json.loads((tmp_path / loop.QUARANTINE).read_text())
    (one,) = found["unusable"]
    assert one["reason"] == "data: face 5 of 16: face_5.png: cannot be read"
    assert found["rows"] == 12 * 4 + one["drawn"] >= 12 * 4 + 2


def test_nothing_is_listed_where_all_can_be_read(ended):
    assert not (ended / loop.QUARANTINE).exists()


def test_too_many_unreadable_faces_end_the_run(tmp_path):
    config = cheap()
    config.update(steps=200, checkpoint_every=100, log_every=100)
    task = make_task(config)
    task.source = Broken(task.source)
    with pytest.raises(UserError, match=r"^data\.max_unusable: found \d+ unusable of \d+ faces drawn, wanted 1\.0%"):
        loop.train_and_evaluate(config, tmp_path, task, progress=False)


def test_a_loss_that_is_not_finite_names_step_term_and_checkpoint(tmp_path):
    config = cheap()
    config.optimizer.learning_rate = 1e30
    with pytest.raises(NonFiniteError, match=r"step \d+: loss/\S+ is (nan|inf); last good checkpoint: (none yet|.*\d)"):
        run(config, tmp_path)


def stepped(task, count, devices=1, batches=None):
    """The state before the first step and after each of ``count``, on the host, with the metrics of each."""
    own = parallel.Devices(devices)
    state = own.first_state(task.init, 0, task.start)
    frozen = {name: own.place(tree) for name, tree in task.frozen.items()}
    batches = task.batches(own) if batches is None else iter(batches)
    step = own.compile_step(task.step)
    seen, history = [host(state)], []
    for _ in range(count):
        state, metrics = step(state, parallel.put_batch(next(batches), own.mesh), frozen)
        seen.append(host(state))
        history.append(jax.device_get(metrics))
    assert step._cache_size() == 1
    return seen, history


def host(state):
    kept = {"variables": state.variables, "opt_state": state.opt_state, "extra": state.extra}
    return jax.tree.map(np.array, kept)


def test_alternating_objectives_keep_a_state_each_and_share_the_schedule():
    config = cheap()
    config.objective.update(mode="alternating", turn="step")
    task = make_task(config)
    task.rate = lambda step: jnp.where(step < 1, 0.0, 0.1)
    seen, _ = stepped(task, 2)

    def of(phase: int, state) -> list:
        return jax.tree.map(lambda x: x[phase], state["opt_state"])

    for index, phase in enumerate((0, 1)):
        before, after = seen[index : index + 2]
        assert moved(of(phase, before), of(phase, after))
        assert not moved(of(1 - phase, before), of(1 - phase, after))
    # The first step has rate 0 and the second has not, though it is the first of its own objective.
    params = [state["variables"]["params"] for state in seen]
    assert not moved(params[0], params[1])
    assert moved(params[1], params[2])


def changed(before, after) -> set[str]:
    """The paths of the arrays that differ in any bit."""
    one, two = (flatten_dict(state["variables"], sep="/") for state in (before, after))
    return {path for path in one if one[path].tobytes() != two[path].tobytes()}


def paths(state, *parts: str) -> set[str]:
    """Of the arrays whose path holds one of ``parts``."""
    return {path for path in flatten_dict(state["variables"], sep="/") if any(part in path for part in parts)}


def test_a_stage_moves_its_parameters_and_no_others():
    """Two steps of the classifier, two of a norm beside it, two of everything; statistics go with their norm."""
    config = cheap()
    config.optimizer.update(name="adamw", weight_decay=0.1)  # decay must not move what is held
    config.objective.mode = "staged"
    config.objective.stages = (
        {"share": 1 / 3, "terms": ("cross_entropy",), "trainable": ("fc/*",)},
        {"share": 1 / 3, "terms": (), "trainable": ("fc/*", "bn1/*")},
        {"share": 1 / 3, "terms": ("contrastive",), "trainable": ("*",)},
    )
    task = make_task(config)
    assert task.objective.starts == (0, 2, 4)
    seen, _ = stepped(task, 6)
    steps = [changed(*both) for both in itertools.pairwise(seen)]
    head = paths(seen[0], "params/fc/")
    norm = paths(seen[0], "params/bn1/", "batch_stats/bn1/")
    assert len(head) == 2
    assert len(norm) == 4
    assert steps[0] == steps[1] == head
    assert steps[2] == steps[3] == head | norm
    assert steps[4] >= norm | paths(seen[0], "params/conv_stem", "batch_stats/")


def test_the_average_of_the_weights_is_what_is_exported(tmp_path):
    config = cheap()
    config.optimizer.average, config.steps = 0.5, 2
    task = make_task(config)
    seen, _ = stepped(task, 2, jax.device_count())
    expected = seen[0]["variables"]
    for step, one in enumerate(seen[1:]):
        keep = min(0.5, (1 + step) / (10 + step))
        expected = jax.tree.map(lambda old, new, keep=keep: keep * old + (1 - keep) * new, expected, one["variables"])
    assert moved(expected, seen[-1]["variables"])
    run(config, tmp_path)
    exported = weights.read(tmp_path / "detector.safetensors")[1]
    chex.assert_trees_all_close(exported, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("rho", [0.0, 0.05])
@pytest.mark.parametrize(
    ("patterns", "parts"),
    [(("fc/*",), ("params/fc/",)), (("*bn*",), ("/bn",))],
    ids=["head", "norms"],
)
def test_part_of_the_parameters_without_stages(patterns, parts, rho):
    config = cheap()
    config.objective.trainable = patterns
    config.optimizer.sam.rho = rho
    config.optimizer.sam.batch_stats = "both"
    seen, _ = stepped(make_task(config), 2)
    moving = paths(seen[0], *parts)
    for before, after in itertools.pairwise(seen):
        assert changed(before, after) <= moving
    assert changed(seen[0], seen[2]) == moving


def test_an_epoch_s_turn_that_never_ends_is_refused():
    config = cheap()
    config.objective.update(mode="alternating", turn="epoch")
    config.steps = 4
    with pytest.raises(ValueError, match=r"objective\.turn: found 'epoch', 4 steps of the 4"):
        make_task(config)


def test_one_device_and_four_devices_agree(without_hyper, monkeypatch):
    # Smooth stand-ins for G's kinks: an offset that falls on a kink gets one of two gradients, as rounding decides,
    # and rounding differs between a batch of four and four batches of one.
    monkeypatch.setattr(stylegan2, "lrelu", lambda x: 0.6 * x + 0.4 * jnp.sqrt(x * x + 0.01))
    monkeypatch.setattr(inversion, "from_signed", lambda x: 0.5 + 0.5 * jnp.tanh(x))
    config = small_adv(without_hyper)
    config.detector.sync_batch_stats = True
    config.forgery.latent.attack.random_start = True
    config.objective.lam = 0.5
    config.losses.contrastive.across = True
    # Adam divides a gradient by its own size: one that is zero but for rounding would move a parameter by a whole step.
    config.optimizer.update(name="sgd", learning_rate=0.05)
    task = make_task(config)
    batch = next(task.batches(parallel.Devices(1)))
    (one, history_one), (four, history_four) = (stepped(task, 2, devices, [batch] * 2) for devices in (1, 4))
    assert history_one[0]["delta_norm"] > 1
    for a, b in zip(history_one, history_four, strict=True):
        for name, value in a.items():
            np.testing.assert_allclose(b[name], value, rtol=1e-4, atol=1e-6, err_msg=name)
    for a, b in zip(*(jax.tree.leaves(states[-1]["variables"]) for states in (one, four)), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5)


def test_a_step_in_half_precision_is_that_of_single(pair):
    """Detector, G, E and H in bfloat16: the same draws, the loss within 2 %, the update within a quarter of its length.

    bfloat16 keeps 8 bits: one rounding is 0.4 %, and the networks round some dozens of times.
    """
    found = []
    for dtype in ("float32", "bfloat16"):
        config = small_adv(pair)
        config.detector.dtype = config.forgery.latent.dtype = dtype
        config.optimizer.update(name="sgd", learning_rate=0.05)  # Adam would divide small gradients by themselves
        config.forgery.latent.attack.random_start = True
        seen, history = stepped(make_task(config), 1)
        assert all(x.dtype == np.float32 for x in jax.tree.leaves(seen[-1]["variables"]))
        before, after = (jax.tree.leaves(state["variables"]["params"]) for state in seen)
        found.append((history[0], np.concatenate([(b - a).ravel() for a, b in zip(before, after, strict=True)])))
    (single, moved_by), (half, half_moved_by) = found
    assert half["loss/total"] == pytest.approx(single["loss/total"], rel=0.02)
    assert half["delta_norm"] == pytest.approx(single["delta_norm"], rel=0.02)
    assert half["loss/total"] != single["loss/total"]
    assert np.linalg.norm(half_moved_by - moved_by) < 0.25 * np.linalg.norm(moved_by)


def test_a_mix_of_host_and_device_in_one_step(without_hyper):
    """Four devices with two rows each, one attacked and one self-blended; each row as it is when it is alone."""
    config = small_adv(without_hyper)
    config.batch_size = 8
    config.forgery.mix.sbi = 1.0
    task = make_task(config)
    assert task.mix.weights == {"latent": 1.0, "sbi": 1.0}
    devices = parallel.Devices()
    batch = next(task.batches(devices))
    assert batch["image"].shape[0] == 8
    assert batch["forged"].shape[0] == 4
    (before, after), (metrics,) = stepped(task, 1, None, [batch])
    assert changed(before, after)
    assert metrics["p_fake/adversary"] < metrics["p_fake/reconstruction"]
    assert np.isfinite(metrics["loss/contrastive"])


def test_a_step_copies_nothing_between_host_and_devices(pair):
    """What is frozen is an argument that lies on the devices; only the batch is sent, before the step."""
    config = small_adv(pair)
    steps = []
    for state, metrics in guarded_steps(make_task(config), 2):
        assert np.isfinite(float(metrics["loss/total"]))
        steps.append(int(state.step))
    assert steps == [1, 2]


def test_what_is_logged_changes_no_parameter(without_hyper):
    """Reconstructions that only the log asks for are rendered on logged steps alone."""
    found = []
    for every in (1, 3):
        config = small_adv(without_hyper)
        config.log_every = every
        config.forgery.latent.warmup = 0
        found.append(stepped(make_task(config), 4))
    (often, each), (seldom, some) = found
    assert not changed(often[-1], seldom[-1])
    attacked = "p_fake/reconstruction"
    assert all(metrics[attacked] > 0 for metrics in each)
    assert [bool(metrics[attacked]) for metrics in some] == [False, False, True, False]
    assert some[2][attacked] == pytest.approx(each[2][attacked], rel=1e-5)


def test_a_clip_detector_is_trained(monkeypatch):
    """Clips of three frames, forged on the host and on the device."""

    class Frames(nn.Module):
        @nn.compact
        def __call__(self, clips, train=False):
            seen.append(clips.shape)
            embedding = nn.Dense(4, name="body")(clips.mean(axis=(2, 3)).reshape(len(clips), -1))
            return Outputs(nn.Dense(2, name="fc")(embedding), {"embedding": embedding})

    seen = []
    monkeypatch.setitem(DETECTORS, "frames", Detector(lambda overrides, axis, dtype: Frames(), "clip"))
    config = cheap()
    config.detector.update(name="frames")
    config.detector.overrides = {}
    config.data.frames = 3
    config.objective.lam = 0.9
    check(config)
    task = make_task(config)
    states, history = stepped(task, 2)
    assert (4 * 2, 3, 32, 32, 3) in seen
    assert changed(states[0], states[2]) >= paths(states[0], "params/fc/")
    assert all(np.isfinite(metrics["loss/contrastive"]) for metrics in history)
    config.data.frames = 0
    with pytest.raises(UserError, match=r"^data\.frames: found 0 with detector\.name 'frames', wanted the number"):
        make_task(config)


def test_frames_are_for_detectors_of_clips():
    config = cheap()
    config.data.frames = 3
    with pytest.raises(UserError, match=r"^data\.frames: found 3 with detector\.name 'efficientnet_small64', wanted 0"):
        make_task(config)


def test_kinds_want_a_class_each():
    config = cheap()
    config.losses.kinds = {"weight": 1.0}
    with pytest.raises(UserError, match=r"^losses\.kinds: found a detector with 2 classes, wanted 6"):
        make_task(config)
    config.losses.kinds.weight = 0.0
    config.losses.methods = {"weight": 1.0}
    assert make_task(config).targets == ("method",)  # of one forgery: two classes


def test_the_first_step_s_compilation_is_announced(tmp_path, capsys):
    config = cheap()
    config.steps = 1
    with compilations() as names:
        run(config, tmp_path)
    assert "compiling the first step" in capsys.readouterr().out
    assert names.count("jit(averaged)") == 1
