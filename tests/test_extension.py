"""The house admits what it does not know: one new thing of every kind, added from outside through public registries.

Each is trained a few steps, exported, loaded, evaluated, predicted with and shown in a report.
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

import fdetect_jax
from configs import baseline
from fdetect_jax import cli
from fdetect_jax.config import check
from fdetect_jax.errors import UserError
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.train.loop import train_and_evaluate
from fdetect_jax.train.trainers import make_task
from fdetect_jax.types import KINDS
from tests import extensions

SIZE, FRAMES = 32, 3
DRAWN = {"source": "facesim", "size": SIZE, "identities": {"train": 8, "val": 4, "test": 4}, "per_identity": 3}
LOSSES = {
    "six": {"kinds": {"weight": 1.0}},
    "tracing": {"cross_entropy": {"weight": 1.0}, "mask": {"weight": 1.0}, "redrawn": {"weight": 1.0}},
    "flicker": {"cross_entropy": {"weight": 1.0}},
}
DETECTORS = tuple(LOSSES)


@pytest.fixture(scope="module", autouse=True)
def _registered():
    with extensions.registered():
        yield


def config_of(detector: str, data: dict, **mix: float) -> ConfigDict:
    config = baseline.get_config()
    config.unlock()
    config.data = {**DRAWN, "seed": 0, "workers": 0, "max_unusable": 0.0} | data
    config.data.frames = FRAMES if detector == "flicker" else 0
    config.forgery = {"mix": mix}
    config.evaluation.forgeries = {}
    config.evaluation.update(batch_size=4, limit=4)
    config.detector.update(name=detector, overrides={})
    config.losses = LOSSES[detector]
    config.optimizer.sam.rho = 0.0
    config.update(steps=3, batch_size=12, log_every=1, checkpoint_every=3)
    return config


def train(config: ConfigDict, workdir) -> dict:
    check(config)
    return train_and_evaluate(config, workdir, make_task(config), progress=False)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A training of each detector on drawn faces, half of the fakes made on the host and half on the device."""
    folder = tmp_path_factory.mktemp("runs")
    return {
        name: (folder / name, train(config_of(name, {}, patch=1.0, dusk=1.0, swap=1.0), folder / name))
        for name in DETECTORS
    }


@pytest.mark.parametrize("name", DETECTORS)
def test_training_evaluation_and_report(runs, name):
    workdir, content = runs[name]
    assert {"patch", "dusk", "swap", "sbi", "fwa"} <= content["tests"].keys()
    for test in content["tests"].values():
        assert test["misses"] is None or 0 <= test["misses"] <= 1
        assert test["auc"] is not None
    assert content == json.loads((workdir / "report.json").read_text())
    page = (workdir / "report.html").read_text()
    for shown in ("Patches of a donor", "Dusk", "Misses"):
        assert shown in page
    if name == "six":  # a class for each kind
        assert content["classes"]["columns"] == list(KINDS)
        assert {"real", "attribute", "reenactment", "swap"} <= content["classes"]["rows"].keys()
        assert "<h2>Classes</h2>" in page
    else:
        assert content["classes"] is None
    rows = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    for term in LOSSES[name]:
        assert all(np.isfinite(row[f"loss/{term}"]) for row in rows)


@pytest.mark.parametrize("name", DETECTORS)
def test_an_exported_detector_is_loaded_and_scores(runs, name):
    loaded = fdetect_jax.load(runs[name][0] / "detector.safetensors")
    shape = (2, FRAMES, SIZE, SIZE, 3) if name == "flicker" else (2, SIZE, SIZE, 3)
    outputs = loaded(jnp.zeros(shape))
    assert outputs.logits.shape == (2, len(KINDS) if name == "six" else 2)
    if name == "tracing":
        assert {"mask", "reconstruction"} <= outputs.heads.keys()
    predictor = fdetect_jax.Predictor(runs[name][0], recipe="aligned64")
    scores = predictor.scores(np.zeros(shape, np.uint8))
    assert scores.shape == (2,)
    assert np.isfinite(scores).all()


def test_every_kind_of_the_mix_reaches_the_six_classes():
    task = make_task(config_of("six", {}, patch=1.0, dusk=1.0, swap=1.0))
    dealt = task.mix.slots(3)
    assert {KINDS[slot.kind] for slot in dealt} == {"attribute", "reenactment", "swap"}
    assert task.targets == ("kind",)


def test_what_is_missing_is_said_before_work():
    config = config_of("six", {}, patch=1.0)
    config.losses = LOSSES["tracing"]
    with pytest.raises(
        UserError, match=r"losses\.mask: found a detector with the heads \['embedding'\], wanted .* mask"
    ):
        make_task(config)
    config = config_of("flicker", {}, patch=1.0)
    config.data.frames = 0
    with pytest.raises(UserError, match=r"data\.frames: found 0 .* wanted the number of frames of a clip"):
        make_task(config)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory, faces):
    """A download in the new layout, prepared."""
    source = FaceSim("test", 256, identities=12, per_identity=1)
    folder = tmp_path_factory.mktemp("diary")
    root = extensions.write_diary(folder / "download", [source[number]["image"] for number in range(12)])
    arguments = [
        "--root",
        str(root),
        "--output",
        str(folder / "prepared"),
        "--recipe",
        "aligned64",
        "--size",
        str(SIZE),
    ]
    assert cli.main(["prepare", "diary", *arguments, "--workers", "1"]) == 0
    return root, folder / "prepared"


def test_a_layout_of_its_own_trains_and_is_evaluated(prepared, tmp_path, capsys):
    root, folder = prepared
    data = {"source": "prepared", "root": str(folder), "recipe": "aligned64", "size": SIZE}
    content = train(config_of("six", data, given=1.0, patch=1.0), tmp_path / "run")
    assert content["tests"]["given"]["methods"] == ["given"]
    arguments = ["--model", str(tmp_path / "run"), "--data", str(folder), "--output", str(tmp_path / "report")]
    cli.main(["evaluate", *arguments])
    found = json.loads((tmp_path / "report" / "report.json").read_text())
    assert found["tests"]["video"]["n_real"] == found["tests"]["video"]["n_fake"] == 3
    assert "misses" in found["tests"]["video"]
    assert "Misses" in (tmp_path / "report" / "report.html").read_text()
    assert "Misses" in capsys.readouterr().out
    assert cli.main(["doctor", str(root)]) == 0


@pytest.mark.parametrize("name", DETECTORS)
def test_prediction_with_evidence(runs, prepared, name, tmp_path):
    root, _ = prepared
    files = [root / "0_0.png", root / "1_1.png"]
    verdicts = list(fdetect_jax.Predictor(runs[name][0], recipe="aligned64", workers=1).predict(files))
    assert [verdict.verdict in ("real", "fake") for verdict in verdicts] == [True, True]
    for verdict, file in zip(verdicts, files, strict=True):
        (found,) = (one for one in verdict.evidence if one.name == "bytes")
        assert found.value == file.stat().st_size
    arguments = ["--model", str(runs[name][0]), "--recipe", "aligned64", "--workers", "1", "--output", str(tmp_path)]
    heat = [] if name == "flicker" else ["--heat-map"]
    if name == "six":  # it has no feature map among its heads
        heat = []
    assert cli.main(["predict", *map(str, files), *arguments, *heat]) in (0, 1)
    assert "The file has" in (tmp_path / "report.html").read_text()
