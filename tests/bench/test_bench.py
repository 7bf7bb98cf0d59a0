"""``fdetect bench``: names, statistics and rows; one real worker at a tiny size; agreement with PyTorch where it is."""

import dataclasses
import json
import re
import subprocess
import sys

import jax
import numpy as np
import pytest

from fdetect_jax import cli, parallel
from fdetect_jax.bench import benchmarks, measure, run, scaling
from fdetect_jax.bench.setting import ALONE, NAMES, Setting
from fdetect_jax.train.detector import DetectorTask

TINY = Setting(
    batch=2,
    detector="efficientnet_b0",
    pixels=32,
    resolution=32,
    channel_base=512,
    attack_steps=2,
    faces=4,
)
LIMITS = {"flops_per_s": 100.0, "bytes_per_s": 50.0}


def answers(*seconds: float) -> list[dict]:
    return [{"seconds": s, "memory": int(10 * s)} for s in seconds]


def test_names_are_those_of_the_registry():
    from fdetect_jax.bench.benchmarks import BENCHMARKS

    assert tuple(BENCHMARKS) == NAMES == (*measure.TOLERANCE, *ALONE)


def test_summary_by_hand():
    made = {"images": 6, "device": "cpu", "flops": 40.0, "bytes": 30.0}
    row = measure.summary("x", Setting(), made, LIMITS, answers(2, 1, 4, 3, 100), answers(6, 5, 9), "eager")
    assert (row.seconds, row.spread, row.images_per_s) == (3.0, 2.0, 2.0)
    assert (row.peer_seconds, row.ratio, row.peer) == (6.0, 2.0, "eager")
    assert row.peak_memory == 1000
    assert row.flops_per_s == pytest.approx(40 / 3)
    assert row.bytes_per_s == 10.0
    # At best 0.4 s for the operations and 0.6 s for the bytes: memory bounds it.
    assert row.roofline == pytest.approx(0.6 / 3)


def test_face_search_measures_its_recall():
    from fdetect_jax.bench.benchmarks import BENCHMARKS

    work = BENCHMARKS["face_search"](Setting())
    assert len(work.call()) >= 0.95 * 24
    assert work.figures["recall"] >= 0.95
    assert work.figures["times"] == pytest.approx(work.figures["frame"] / work.figures["whole"])
    row = measure.summary(
        "x", Setting(), {"images": 1, "device": "cpu", "figures": work.figures}, {}, answers(2), [], None
    )
    assert "recall 1" in measure.line(row)


def test_summary_alone_has_no_ratio():
    row = measure.summary("x", Setting(), {"images": 1, "device": "cpu"}, LIMITS, answers(2), [], None)
    assert (row.ratio, row.peer, row.peer_seconds, row.roofline, row.flops_per_s) == (None,) * 5
    assert "ratio" not in measure.line(row)


@pytest.mark.parametrize(
    ("theirs", "message"),
    [
        ({"image": np.array([3.0, 4.06])}, None),
        ({"image": np.array([3.0, 4.6])}, "image differs .* 1.2e-01 of its norm"),
        ({"image": np.array([3.0, np.nan])}, "image differs"),
        ({"image": np.array([3.0])}, "shape"),
        ({"picture": np.array([3.0, 4.0])}, r"\['image'\] here and \['picture'\]"),
    ],
)
def test_sides_must_agree(tmp_path, theirs, message):
    np.savez(tmp_path / "ours.npz", image=np.array([3.0, 4.0]))
    np.savez(tmp_path / "torch.npz", **theirs)
    if message is None:
        measure.agree("x", tmp_path, 0.02)
    else:
        with pytest.raises(measure.BenchError, match=message):
            measure.agree("x", tmp_path, 0.02)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["b4_backward"], "found 'b4_backward', wanted some of b4_forward, b4_input_gradient"),
        (["--repeats", "0"], "--repeats: found 0"),
        (["--batch", "0"], "--batch: found 0"),
        (["--dtype", "float16"], "--dtype: found 'float16'"),
        (["--peer", "lazy"], "--peer: found 'lazy', wanted one of eager"),
    ],
)
def test_a_wrong_argument_is_refused(arguments, message, capsys):
    assert cli.main(["bench", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_missing_torch_is_said_before_any_work(monkeypatch, capsys):
    monkeypatch.setattr(measure.importlib.util, "find_spec", lambda name: None)
    assert cli.main(["bench", "b4_forward", "--vs", "torch"]) == 2
    assert "found no torch and no efficientnet_pytorch and no efficientnet_lite_pytorch" in capsys.readouterr().err


def test_a_worker_runs_and_rows_are_written(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(run, "peaks", lambda setting: {"flops_per_s": 1e11, "bytes_per_s": 1e10})
    rows = run.run(["stylegan2_synthesis"], TINY, 2, output=tmp_path / "rows.json")
    assert json.loads((tmp_path / "rows.json").read_text()) == [dataclasses.asdict(row) for row in rows]
    (row,) = rows
    assert row.name == "stylegan2_synthesis"
    assert (row.batch, row.dtype, row.ratio) == (2, "float32", None)
    assert row.images_per_s == pytest.approx(2 / row.seconds)
    assert row.peak_memory > 1e7
    assert row.flops_per_s > 0
    assert row.roofline > 0
    assert "img/s" in capsys.readouterr().out


def test_the_input_pipeline_says_where_its_time_goes(monkeypatch, capsys):
    monkeypatch.setattr(run, "peaks", lambda setting: {"flops_per_s": 1e11, "bytes_per_s": 1e10})
    (row,) = run.run(["input_pipeline"], TINY, 1)
    assert row.images_per_s == pytest.approx(8 / row.seconds)  # four faces and their fakes
    assert list(row.stages) == ["read", "forge", "augment", "batch"]
    assert all(0 < seconds < 10 for seconds in row.stages.values())
    printed = capsys.readouterr().out
    assert re.search(r"a face and its fake on one core: read \d+\.\d ms, forge \d+\.\d ms, augment", printed)
    assert "times the images" not in printed


def test_the_input_pipeline_is_compared_with_the_step_when_both_ran():
    def row(name, seconds):
        return measure.summary(name, Setting(), {"images": 4, "device": "cpu"}, LIMITS, answers(seconds), [], None)

    both = measure.compared([row("b4_sam_step", 8.0), row("input_pipeline", 2.0)])
    assert [one.outruns for one in both] == [None, 4.0]
    assert "4.0 times the images per second of b4_sam_step" in measure.line(both[1])
    assert measure.compared([row("input_pipeline", 2.0)])[0].outruns is None


def test_what_goes_wrong_in_a_worker_is_said(tmp_path):
    options = dataclasses.asdict(TINY) | {"resolution": 33}
    with pytest.raises(measure.BenchError, match=r"stylegan2_synthesis \(ours\): UserError: generator.resolution"):
        measure.Side("ours", "stylegan2_synthesis", tmp_path, options)


def test_a_worker_ends_with_its_parent(tmp_path):
    """Its stdin closes when the parent dies, whatever it is doing."""
    command = [sys.executable, "-m", "fdetect_jax.bench.worker", "ours", "stylegan2_synthesis", str(tmp_path)]
    worker = subprocess.Popen([*command, json.dumps(dataclasses.asdict(TINY))], stdin=subprocess.PIPE)
    worker.stdin.close()
    assert worker.wait(timeout=60) == 0
    assert not (tmp_path / "ours.npz").exists()


@pytest.mark.parametrize("name", ["b4_forward", "lite0_sam_step", "stylegan2_synthesis"])
def test_pytorch_computes_the_same(name):
    for package in ("torch", "efficientnet_pytorch", "efficientnet_lite_pytorch"):
        pytest.importorskip(package)
    row = measure.measure(name, TINY, LIMITS, 1, vs_torch=True, variants=["eager"])
    assert row.peer == "eager"
    assert row.ratio > 0


def test_the_config_of_a_step_has_what_a_training_reads():
    """``adv_step`` and ``fdetect memory`` build their trainer from it; the step is traced from shapes alone."""
    task = DetectorTask(benchmarks.adv_config(dataclasses.replace(TINY, detector="efficientnet_small64"), "facesim64"))
    state = jax.eval_shape(task.init, np.uint32(0), task.start)
    batch = {"image": jax.ShapeDtypeStruct((2, 32, 32, 3), np.uint8)}
    step = parallel.compile_step(task.step, parallel.make_mesh(1))
    after, metrics = jax.eval_shape(step, state, batch, task.frozen)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert {"loss/total", "p_fake/adversary"} <= metrics.keys()


def test_scaling_by_hand(monkeypatch):
    """A step that takes 1 s, 0.5 s a row, 0.25 s a step of the attack, and a tenth more on several devices."""
    seconds = {
        (n, rows, steps): (1 + 0.5 * rows + 0.25 * steps) * (1.1 if n > 1 else 1) for n, rows, steps in scaling.CASES
    }
    monkeypatch.setattr(scaling, "_measured", lambda setting: seconds)
    call, figures = scaling.scaling(benchmarks.Setting())
    call()
    assert figures["from rows"] == pytest.approx(0.5)
    assert figures["from attack"] == pytest.approx(0.25)
    assert (figures["linear in rows"], figures["linear in attack"]) == (pytest.approx(1), pytest.approx(1))
    assert [figures[f"devices {n}"] for n in (2, 4, 8)] == [pytest.approx(1.1)] * 3
    assert figures["rows 8"] == figures["attack 4"] == seconds[1, 8, 4]
