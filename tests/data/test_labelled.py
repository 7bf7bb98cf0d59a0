"""Labelled faces with a manifest: kinds, methods and sources are kept, drawn in balance, and left out by name."""

import json

import jax
import numpy as np
import pytest
from small import DETECTOR, run, small_baseline, without_generator

from configs import release
from fdetect_jax import weights
from fdetect_jax.config import check
from fdetect_jax.data.pipeline import train_batches
from fdetect_jax.data.prepared import Prepared
from fdetect_jax.data.sources import make_source
from fdetect_jax.datasets import audit
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.job import measure
from fdetect_jax.experiments import experts
from fdetect_jax.experiments.experts import run_experts
from fdetect_jax.experiments.runs import runs_of
from fdetect_jax.faces.crop import make_recipe
from fdetect_jax.forgery.dataset_fakes import DatasetFakes
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.train.left_out import left_out_tests
from fdetect_jax.train.shortcuts import shortcut_figures
from fdetect_jax.types import FAKE, KINDS, REAL
from tests.datasets import trees

# split, label, type, generator, source, number of files
ROWS = [
    ("train", "real", "none", "", "studio", 8),
    ("train", "real", "none", "", "street", 2),
    ("train", "fake", "entire", "large", "lab", 8),
    ("train", "fake", "swap", "small", "lab", 2),
    ("val", "real", "none", "", "studio", 1),
    ("val", "fake", "entire", "large", "lab", 1),
    ("test", "real", "none", "", "studio", 2),
    ("test", "fake", "entire", "large", "lab", 1),
    ("test", "fake", "swap", "small", "lab", 1),
]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root, lines = tmp_path_factory.mktemp("labelled"), ["path,label,type,generator,source,split,group,face_px"]
    for split, label, kind, generator, source, count in ROWS:
        for _ in range(count):
            name = f"{len(lines):02d}.png"
            trees.write_photo(root / label / name, len(lines) - 1)
            lines.append(f"{label}/{name},{label},{kind},{generator},{source},{split},{name},100")
    (root / "manifest.csv").write_text("\n".join(lines))
    return root


@pytest.fixture(scope="module")
def labelled(tree, faces, tmp_path_factory):
    return prepare("folder", tree, tmp_path_factory.mktemp("out") / "p", make_recipe("aligned64"), workers=1)


def config_of(labelled, **data):
    config = without_generator(small_baseline(""))
    config.data = {"source": "prepared", "root": str(labelled), "recipe": "aligned64", "size": 64, "workers": 0}
    config.data.update(frames=0, max_unusable=0.0, **data)
    config.forgery.mix.update(swap=0.0, given=1.0)
    config.evaluation.skip = ("swap", "sbi", "fwa", "composite", "resample")
    return config


def test_what_the_manifest_says_is_kept(labelled):
    fakes = Prepared(labelled, "train", labels=(FAKE,))
    found = {(fakes[i]["method"], fakes[i]["source"], int(fakes[i]["kind"])) for i in range(len(fakes))}
    assert found == {("large", "lab", KINDS.index("entire synthesis")), ("small", "lab", KINDS.index("swap"))}
    reals = Prepared(labelled, "train", labels=(REAL,))
    assert {reals[i]["source"] for i in range(len(reals))} == {"studio", "street"}


@pytest.mark.parametrize(("balance", "share"), [(1.0, 0.2), (0.5, 1 / 3), (0.0, 0.5)])
def test_how_often_a_method_and_a_source_are_drawn(labelled, balance, share):
    """2 of 10 are of the small one: n^balance of each."""
    for label, field, name in ((FAKE, "method", "small"), (REAL, "source", "street")):
        source = Prepared(labelled, "train", labels=(label,), balance=balance)
        own = np.array([source[i][field] == name for i in range(len(source))])
        assert source.shares.mean() == pytest.approx(1)
        assert source.shares[own].sum() / source.shares.sum() == pytest.approx(share)
    batches = train_batches(source, 10, 0)
    images = {source[i]["image"].tobytes(): own[i] for i in range(len(source))}
    seen = [images[one.tobytes()] for _ in range(40) for one in next(batches)["image"]]
    batches.close()
    assert np.mean(seen) == pytest.approx(share, abs=0.07)
    fakes = Prepared(labelled, "train", labels=(FAKE,), balance=balance)
    forge, rng = DatasetFakes(fakes), np.random.default_rng(0)
    small = {fakes[i]["image"].tobytes() for i in range(len(fakes)) if fakes[i]["method"] == "small"}
    face = source[0] | {"identity": -1}
    drawn = [forge(rng, face, None).fake.tobytes() in small for _ in range(400)]
    assert np.mean(drawn) == pytest.approx(share, abs=0.07)


def test_what_is_left_out_is_tested_and_not_trained_on(labelled, tmp_path):
    config = config_of(labelled, leave_out={"generator": ("small",), "source": ("street",)})
    counts = {
        (split, label): len(make_source(config.data, split, label=label))
        for split in ("train", "val", "test")
        for label in (REAL, FAKE)
    }
    assert counts == {
        ("train", REAL): 8,
        ("train", FAKE): 8,
        ("val", REAL): 1,
        ("val", FAKE): 1,
        ("test", REAL): 2,  # of street, which lie in train
        ("test", FAKE): 3,  # small, in train and in test
    }
    tested = make_source(config.data, "test", label=FAKE)
    assert {tested[i]["method"] for i in range(3)} == {"small"}
    config.steps = 1
    tests = run(config, tmp_path)["tests"]
    assert (tests["given"]["n_real"], tests["given"]["n_fake"]) == (2, 2)
    figures = json.loads((tmp_path / "report.json").read_text())["figures"]
    audited = [name for name in figures if name.startswith("shortcut/")]  # 10 files of each class are not there
    assert audited == []
    every = {name: (one["n_real"], one["n_fake"]) for name, one in tests.items() if name.startswith("left_out")}
    assert every == {"left_out": (2, 3), "left_out:small": (2, 3), "left_out_real:street": (2, 3)}


def test_the_training_repeats_the_audit(labelled, monkeypatch):
    config, said = config_of(labelled), []
    found = shortcut_figures(config, said.append)
    names = {"sharpness", "brightness", "saturation", "size of the face"}
    assert set(found) == {f"shortcut/{name}" for name in names}
    assert all(0.5 <= auc <= 1 for auc in found.values())
    assert len(said) == sum(auc > 0.6 for auc in found.values())  # no source has both classes
    monkeypatch.setattr(audit, "WARN", 0.0)
    shortcut_figures(config, said.append)
    assert any("sharpness tells real from fake over all files: AUC" in line for line in said)
    config.forgery.mix.given = 0.0
    assert shortcut_figures(config, said.append) == {}


def test_each_generator_and_each_source_left_out_is_tested_by_itself(labelled):
    config = config_of(labelled, leave_out={"generator": ("small", "large"), "source": ("street", "studio")})
    config.evaluation.limit = 20
    means = {}  # of a face, by its bytes

    def score(crops):
        means.update({crop.tobytes(): crop.mean() for crop in crops})
        return np.array([crop.mean() for crop in crops])

    found = {test.name: test.units for test in left_out_tests(config, score)}
    names = "left_out", "left_out:large", "left_out:small", "left_out_real:street", "left_out_real:studio"
    assert tuple(found) == names
    counts = [(np.sum(units.label == REAL), np.sum(units.label == FAKE)) for units in found.values()]
    assert counts == [(13, 13), (13, 10), (13, 3), (2, 13), (11, 13)]
    assert set(found["left_out:small"].method) == {"real", "small"}
    assert set(found["left_out:small"].kind) == {KINDS.index("real"), KINDS.index("swap")}
    assert set(found["left_out_real:street"].source) == {"street", "lab"}
    every = found["left_out"]
    fakes = make_source(config.data, "test", label=FAKE)
    wanted = [means[fakes[i]["image"].tobytes()] for i in range(len(fakes)) if fakes[i]["method"] == "small"]
    np.testing.assert_allclose(np.sort(every.margin[every.method == "small"]), np.sort(wanted))
    config.evaluation.limit = 2
    counts = [len(test.units) for test in left_out_tests(config, score)]
    assert counts == [8, 6, 6, 6, 6]
    config.evaluation.split = "val"
    assert not list(left_out_tests(config, score))


def test_nothing_is_tested_apart_where_nothing_was_left_out(labelled):
    assert not list(left_out_tests(config_of(labelled), lambda crops: pytest.fail("scored")))


def test_without_a_source_left_out_the_real_faces_of_the_tests_stay(labelled):
    config = config_of(labelled, leave_out={"generator": ("small",), "source": ()})
    assert len(make_source(config.data, "test")) == 2
    assert make_source(config.data, "test").fingerprint == make_source(config_of(labelled).data, "test").fingerprint


@pytest.mark.parametrize(
    ("data", "wanted"),
    [
        ({"leave_out": {"generator": ("smal",)}}, r"data\.root: method: found \['smal'\], wanted some of .*'small'"),
        ({"leave_out": {"method": ("small",)}}, r"data\.leave_out\.method: found"),
        ({"balance": 1.5}, r"data\.balance: found 1\.5"),
    ],
)
def test_what_cannot_be_left_out_or_balanced(labelled, data, wanted):
    with pytest.raises(UserError, match=wanted):
        check(config_of(labelled, **data))


def test_the_recipe_of_the_bundled_detector(tree, faces, tmp_path, monkeypatch, capsys):
    """``configs/release.py`` with small networks and one step each: one file, which judges five kinds of forgery."""
    config = release.get_config()
    assert config.data.size == 192
    root = prepare("folder", tree, tmp_path / "prepared", make_recipe("sbi", 64), workers=1)
    config.data.update(root=str(root), workers=0, size=64)
    config.detector.update(name="efficientnet_small64", weights="", overrides={"num_classes": 6} | DETECTOR)
    config.update(steps=1, seed=1, batch_size=4 * jax.device_count())
    config.experts.composites.data.leave_out.source = ("street",)
    wrong = config.copy_and_resolve_references()
    wrong.experts.photographs.detector = {"overrides": {"num_classes": 6}}
    with pytest.raises(UserError, match=r"^experts\.photographs: detector\.overrides: found"):
        run_experts(wrong, tmp_path / "wrong")
    wrong.experts = {"one": {"title": "alone"}}
    with pytest.raises(UserError, match=r"^experts: found \['one'\], wanted two or more trainings"):
        run_experts(wrong, tmp_path / "wrong")
    assert not (tmp_path / "wrong").exists()
    run_experts(config, tmp_path / "run")
    reports = {name: json.loads((tmp_path / "run" / name / "report.json").read_text()) for name in config.experts}
    assert list(reports["photographs"]["tests"]) == ["sbi", "given", "composite", "resample"]
    assert "left_out_real:street" in reports["composites"]["tests"]
    assert reports["composites"]["config"]["forgery"]["mix"]["composite"] == 1
    whole = json.loads((tmp_path / "run" / "report.json").read_text())
    assert (whole["job"], whole["data"]["scored"]) == ("evaluation", 4)
    scorer = Scorer(tmp_path / "run", batch_size=2)
    assert scorer.classes == KINDS
    assert (scorer.recipe.size, scorer.recipe.region) == (64, "box")
    assert scorer.calibration.suspicious is not None
    found, _ = weights.describe(tmp_path / "run" / "detector.safetensors")
    assert (found["name"], found["overrides"]["count"]) == ("experts", 2)
    before = (tmp_path / "run" / "detector.safetensors").read_bytes()
    run_experts(config, tmp_path / "run")  # finished trainings are read
    assert (tmp_path / "run" / "detector.safetensors").read_bytes() == before

    def none_of_its(job, *rest):
        if job.calibrate:
            raise UserError("no such source")
        return measure(job, *rest)

    monkeypatch.setattr(experts, "measure", none_of_its)
    run_experts(config, tmp_path / "run")  # what was trained is not lost
    assert "not calibrated: no such source" in capsys.readouterr().out
    assert Scorer(tmp_path / "run", batch_size=2).calibration.suspicious is None


def test_the_other_variants_of_the_recipe(tree, faces, tmp_path):
    root = prepare("folder", tree, tmp_path / "prepared", make_recipe("sbi", 192), workers=1)
    left_out = release.get_config("audit").data.leave_out
    assert left_out.generator
    assert left_out.source
    mixes = release.get_config("mixes")
    mixes.batch_size = 8 * jax.device_count()
    mixes.data.update(root=str(root), size=192, leave_out={"generator": (), "source": ()})
    runs = runs_of(mixes, tmp_path / "mixes")
    assert {run.variant for run in runs} == set(mixes.variants)
    assert len(runs) == 3 * len(mixes.variants)
    wanted = r"configs/release\.py: found variant 'large', wanted experts, audit, mixes"
    with pytest.raises(ValueError, match=wanted):
        release.get_config("large")
