"""A detector's held-out tests: which there are, by which crops, and what its report shows."""

import json
import re

import cv2
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import logit
from small import DATA, run, small_baseline, small_sbi

from configs import common
from fdetect_jax import weights
from fdetect_jax.data.folder import SPLITS
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.predictor import Predictor
from fdetect_jax.media.crop import make_recipe
from fdetect_jax.train import held_out
from fdetect_jax.train.detector import started_from


def test_a_run_on_self_blended_images(tmp_path):
    found = run(small_sbi(), tmp_path)
    assert list(found["tests"]) == ["swap", "sbi", "fwa"]
    assert found["tests"]["sbi"]["n_fake"] == 6
    page = (tmp_path / "report.html").read_text()
    for name in ("context crop", "hull", "mask", "source", "target", "blended", "real", "fake"):
        assert f"<div class=name>{name}</div>" in page
    assert page.count("<small>P(fake)</small>") == 2 * 4  # of real and fake, as many as a batch holds
    assert (tmp_path / "fakes.png").is_file()
    assert weights.describe(tmp_path / "detector.safetensors")[1]["description"] == small_sbi().description


def test_on_photographs_training_and_serving_share_the_recipe(faces, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    for split, count in zip(SPLITS, (6, 1, 4), strict=True):
        sim = FaceSim(split, 160, count, 1)
        (tmp_path / "photos" / split).mkdir(parents=True)
        for number in range(count):
            file = tmp_path / "photos" / split / f"{number}.png"
            cv2.imwrite(
                str(file), cv2.copyMakeBorder(sim[number]["image"][..., ::-1], 60, 40, 70, 70, cv2.BORDER_REFLECT)
            )
    config = small_sbi()
    config.data = common.folder("sbi", 48) | {"root": str(tmp_path / "photos")}
    found = run(config, tmp_path / "run")
    assert found["tests"]["sbi"]["n_real"] == found["tests"]["swap"]["n_real"] == 4
    judge = Predictor(tmp_path / "run")
    assert judge.recipe == make_recipe("sbi", 48)
    made = held_out.HeldOut(config, None)
    # Swaps and the pair's attacks see serving's crop, self-blending the loose one.
    assert made.faces[0]["image"].shape == (48, 48, 3)
    assert made.loose[0]["image"].shape != (48, 48, 3)
    np.testing.assert_array_equal(made.loose[0]["identity"], made.faces[0]["identity"])
    real, swapped = (next(made._batches(kind))["image"] for kind in ("sbi", "swap"))
    plain = [np.array_equal(a, b) for a, b in zip(real, swapped, strict=True)]
    assert any(plain)  # where the source was changed, the target is the very crop that serving cuts


@pytest.mark.parametrize(
    ("kind", "columns"),
    [("swap", ["mask"]), *((kind, ["context crop", "target", "part", "mask"]) for kind in ("fwa", "mixed"))],
)
def test_pictures_are_of_what_it_was_trained_on(kind, columns, tmp_path):
    config = small_baseline("")
    config.forgery = {"kind": kind, "kinds": ("fwa", "swap")}
    config.evaluation.update(forgery={"kind": "none"}, unseen={"kind": "none"})
    config.steps = 1
    assert list(run(config, tmp_path)["tests"]) == ["swap", "sbi", "fwa"]
    page = (tmp_path / "report.html").read_text()
    assert re.findall("<div class=name>(.*?)</div>", page) == [*columns, "real", "fake"]


def _mixed(**parts):
    config = small_sbi()
    config.data = common.mixture(**{name: DATA | changes | {"weight": 1.0} for name, changes in parts.items()})
    return config


def test_each_part_of_a_mixture_is_tested_by_itself(tmp_path):
    config = _mixed(a={}, b={"seed": 1})
    config.steps = 1
    tests = run(config, tmp_path)["tests"]
    assert list(tests) == [f"{kind}{part}" for kind in ("swap", "sbi", "fwa") for part in ("", "/a", "/b")]
    assert [tests[name]["n_real"] for name in ("swap", "swap/a", "swap/b")] == [6, 3, 3]
    both = [tests[f"swap/{part}"]["accuracy"] for part in "ab"]
    assert tests["swap"]["accuracy"] == pytest.approx(sum(both) / 2)


def test_one_person_in_a_part_cannot_be_swapped():
    config = _mixed(a={}, b={"identities": {"train": 2, "val": 2, "test": 1}})
    with pytest.raises(ValueError, match=r"^data\.parts\.b: found one person in split 'test'"):
        held_out.HeldOut(config, None)


def test_one_person_cannot_be_swapped(tmp_path):
    config = small_sbi()
    config.data.identities.test = 1
    with pytest.raises(ValueError, match="found one person in split 'test'"):
        held_out.HeldOut(config, None)


def test_weights_to_start_from(tmp_path):
    own = {"params": {"stem": {"kernel": jnp.zeros((2, 3))}, "fc": {"kernel": jnp.zeros((3, 2)), "bias": jnp.zeros(2)}}}
    file = tmp_path / "weights.safetensors"

    def start(stem, classes):
        params = {"stem": {"kernel": stem}, "fc": {"kernel": np.ones((3, classes)), "bias": np.ones(classes)}}
        weights.save(file, "efficientnet", {}, {"params": params})
        return started_from(own, str(file))["params"]

    found = start(np.ones((2, 3)), 2)
    assert (found["stem"]["kernel"] == 1).all()
    assert (found["fc"]["bias"] == 1).all()
    found = start(np.ones((2, 3)), 1000)
    assert (found["stem"]["kernel"] == 1).all()
    assert (found["fc"]["kernel"] == 0).all()
    with pytest.raises(ValueError, match=r"detector\.weights: found .*other arrays \(params/stem/kernel, …\)"):
        start(np.ones((2, 4)), 2)


def test_a_run_starts_from_the_weights_it_is_given(tmp_path):
    first, second = small_sbi(), small_sbi()
    first.steps = second.steps = 1
    run(first, tmp_path / "first")
    second.detector.weights = str(tmp_path / "first" / "detector.safetensors")
    second.optimizer.learning_rate = 1e-30
    run(second, tmp_path / "second")
    one, two = (weights.read(tmp_path / name / "detector.safetensors")[1]["params"] for name in ("first", "second"))
    np.testing.assert_array_equal(one["conv_stem"]["kernel"], two["conv_stem"]["kernel"])
    config = json.loads((tmp_path / "second" / "report.json").read_text())["config"]
    assert config["detector"]["weights"] == second.detector.weights


@pytest.mark.parametrize("learned", [True, False])
def test_a_detector_is_calibrated_on_the_validation_split(learned):
    config = small_sbi()
    said, draws = [], np.random.default_rng(0)

    def compile_eval(function):
        def scores(variables, batch):
            noise = draws.uniform(-0.1, 0.1, (2, len(batch["image"])))
            real, fake = (0.2, 0.6) if learned else (0.6, 0.2)
            return {"p/image": real + noise[0], "p/forged": fake + noise[1]}

        return scores

    notes = held_out.HeldOut(config, None).evaluate({}, compile_eval, said.append).notes
    if learned:
        found = Calibration.from_metadata(notes)
        assert "validation split, self-blended images" in found.data
        margins = logit(np.array([0.3, 0.5]))  # the ends of both classes
        assert found.scores(margins)[0] < found.threshold < found.scores(margins)[1]
        assert found.n_real == found.n_fake == len(held_out.HeldOut(config, None, "val").faces) == 4
    else:
        assert notes == {}
        assert "not calibrated" in said[-1]
