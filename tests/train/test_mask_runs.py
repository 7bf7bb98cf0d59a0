"""A run of ClassNSeg: its terms fall, its masks are measured, and it goes on with a few faces of a new method."""

import json
import re

import numpy as np
import pytest
from small import run, small_classnseg

from fdetect_jax import weights
from fdetect_jax.config import check
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.localisation import FIGURES
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The folder of a short run, and what it reports."""
    folder = tmp_path_factory.mktemp("classnseg")
    config = small_classnseg()
    config.steps, config.optimizer.learning_rate = 30, 0.01
    return folder, run(config, folder)


def test_the_terms_fall(trained):
    history = read_history(trained[0])
    for name in ("loss/segmentation", "loss/reconstruction"):
        values = [row[name] for row in history]
        assert np.mean(values[-10:]) < 0.8 * np.mean(values[:5]), name
    assert {name for name in history[0] if name.startswith("loss/")} == {
        "loss/activation", "loss/segmentation", "loss/reconstruction", "loss/total"
    }  # fmt: skip


def test_the_masks_of_every_forgery_that_gives_one_are_measured(trained):
    folder, found = trained
    # The traces of enlargement fill the whole picture: all of it is altered.
    assert list(found["localisation"]) == ["swap", "sbi", "fwa", "composite", "resample"]
    for name, figures in found["localisation"].items():
        assert list(figures) == ["title", "faces", *(column.name for column in FIGURES)]
        assert figures["title"] == found["tests"][name]["title"]
        assert figures["faces"] == found["tests"][name]["n_fake"]
        assert all(0 <= figures[column.name] <= 1 for column in FIGURES)
        assert figures["pixel_accuracy"] == figures["pbca"]  # its map has the size of the image
    assert found == json.loads((folder / "report.json").read_text())
    page = (folder / "report.html").read_text()
    shown = page[page.index("Where the forgery is") :]
    names = re.findall('<div class="name">(.*?)</div>', shown[: shown.index("<h2>")])
    assert names == ["fake", "true mask", "found mask", "found in the real face"]


def test_a_few_steps_on_another_method_start_from_it(trained, tmp_path):
    config = small_classnseg()
    config.forgery.mix.update(swap=0.0, composite=1.0)
    config.data.identities.train = 2
    config.steps, config.optimizer.learning_rate = 3, 1e-30
    config.detector.weights = str(trained[0] / "detector.safetensors")
    run(config, tmp_path)
    one, two = (weights.read(folder / "detector.safetensors")[1]["params"] for folder in (trained[0], tmp_path))
    for layer in ("encoder0", "shared0", "segmenter1", "reconstructor1"):
        np.testing.assert_array_equal(one[layer]["conv"]["kernel"], two[layer]["conv"]["kernel"])
    config.detector.overrides.widths = (4, 8, 8)
    with pytest.raises(UserError, match=r"detector\.weights: .* found other arrays"):
        make_task(config)


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [
        ("losses.segmentation.form", "triple", r"losses\.segmentation\.form: found 'triple'"),
        ("losses.reconstruction.normalization", "mean", r"losses\.reconstruction\.normalization: found 'mean'"),
        ("detector.overrides.widths", (4, 8), r"detector\.widths: found \(4, 8\)"),
    ],
)
def test_what_does_not_fit_is_refused_before_work(field, value, named):
    config = small_classnseg()
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=named):
        check(config)


def test_a_detector_without_its_heads_is_refused():
    config = small_classnseg()
    config.detector.update(name="meso4")
    config.detector.overrides = {"size": 32}
    with pytest.raises(UserError, match=r"losses\.activation: .*wanted one with activations"):
        make_task(config)
