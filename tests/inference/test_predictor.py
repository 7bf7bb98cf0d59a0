"""A weights file judges crops: calibrated, compiled once, with the recipe that it was trained with."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.predictor import Predictor
from fdetect_jax.media.crop import RECIPES
from fdetect_jax.types import score
from tests import tiny
from tests.small import DETECTOR, compilations

RECIPE = RECIPES["aligned64"]
CALIBRATION = Calibration(2.0, 0.3, 0.7, "held-out faces", 5, 6)


@functools.cache
def network():
    module = make_detector("efficientnet_small64", DETECTOR)
    image = jnp.zeros((1, 64, 64, 3))
    return module, tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), image))


def save(path, **notes):
    notes = {"recipe": json.dumps(RECIPE.to_dict()), "size": "64", "source": "0123"} | notes
    config = {"name": "efficientnet_small64", "overrides": DETECTOR}
    weights.save(path, "detector", config, network()[1], **notes)
    return path


def crops(count=7):
    return np.rint(tiny.images(count, 64) * 255).astype(np.uint8)


def test_scores_are_the_networks_calibrated(tmp_path):
    predictor = Predictor(save(tmp_path / "d.safetensors", calibration=CALIBRATION.to_json()), batch_size=4)
    logits = network()[0].apply(network()[1], crops()).logits
    margins = np.asarray(logits[:, 1] - logits[:, 0])
    assert np.ptp(margins) > 0.05
    np.testing.assert_allclose(predictor.scores(crops()), 1 / (1 + np.exp(-(margins / 2 + 0.3))), rtol=1e-4)
    assert (predictor.threshold, predictor.size, predictor.recipe) == (0.7, 64, RECIPE)
    assert "held-out faces" in predictor.description


def test_without_calibration_they_are_the_softmax(tmp_path):
    predictor = Predictor(save(tmp_path / "d.safetensors"), batch_size=4)
    wanted = score(network()[0].apply(network()[1], crops()).logits)
    np.testing.assert_allclose(predictor.scores(crops()), wanted, rtol=1e-4)
    assert predictor.threshold == 0.5
    assert predictor.description == "efficientnet_small64, 64 px; source 0123; not calibrated"


def test_one_compilation_whatever_the_number(tmp_path):
    predictor = Predictor(save(tmp_path / "d.safetensors"), batch_size=4)
    with compilations() as names:
        whole = predictor.scores(crops(9))
        parts = [predictor.scores(crops(9)[a:b]) for a, b in ((0, 1), (1, 4), (4, 4), (4, 9))]
        maps = [predictor.attention(crops(9)[:count]) for count in (1, 4, 6)]
    assert [name for name in names if "judge" in name or "attend" in name] == ["jit(predictor)", "jit(attend)"]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert [len(one) for one in maps] == [1, 4, 6]
    np.testing.assert_array_equal(maps[1], maps[2][:4])
    assert predictor.attention(crops(0)).shape[0] == 0


def test_groups_share_batches_and_keep_their_order(tmp_path, monkeypatch):
    predictor, calls = Predictor(save(tmp_path / "d.safetensors"), batch_size=4), []
    margins = predictor.margins
    monkeypatch.setattr(predictor, "margins", lambda images: calls.append(len(images)) or margins(images))
    parts = {"a": (0, 1), "none": (1, 1), "b": (1, 3), "c": (3, 8), "d": (8, 9), "end": (9, 9)}
    found = list(predictor.margins_of_each((key, list(crops(9)[a:b])) for key, (a, b) in parts.items()))
    assert [key for key, _ in found] == list(parts)
    whole = margins(crops(9))
    for key, values in found:
        np.testing.assert_array_equal(values, whole[slice(*parts[key])])
    assert calls == [8, 1]
    assert list(predictor.margins_of_each([])) == []


def test_attention_is_a_map_of_each_crop(tmp_path):
    found = Predictor(save(tmp_path / "d.safetensors")).attention(crops(3))
    assert found.shape == (3, 32, 32)
    assert found.min() >= 0
    np.testing.assert_allclose(found.max(axis=(1, 2)), 1)


def test_workdir_of_a_training(tmp_path):
    save(tmp_path / "detector.safetensors")
    assert Predictor(tmp_path).path == tmp_path / "detector.safetensors"
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(ValueError, match=r"checkpoints: found no detector\.safetensors.*evaluate_only=True"):
        Predictor(tmp_path / "checkpoints")


def efficientnet(path, **notes):
    fields = {"resolution": 64, **{name: value for name, value in DETECTOR.items()}}
    weights.save(path, "efficientnet", fields, network()[1], **notes)
    return path


def test_converted_weights_get_a_recipe_of_their_size(tmp_path):
    path = efficientnet(tmp_path / "e.safetensors", layout="timm")
    predictor = Predictor(path)
    assert (predictor.recipe.size, predictor.recipe.scale) == (64, RECIPES["paper"].scale)
    assert Predictor(path, recipe="aligned1024").recipe == RECIPE
    assert predictor.scores(crops(2)).shape == (2,)


def test_sbis_weights_get_sbis_recipe(tmp_path):
    predictor = Predictor(efficientnet(tmp_path / "e.safetensors", layout="sbi"))
    assert predictor.recipe.scale == RECIPES["sbi"].scale


def test_bad_files_are_refused_by_name(tmp_path):
    def refused(path, message, **options):
        with pytest.raises(ValueError, match=message) as error:
            Predictor(path, **options)
        assert str(path) in str(error.value)

    refused(tmp_path / "none.safetensors", "no such file")
    refused(save(tmp_path / "a.safetensors", recipe="null"), "no recipe")
    assert Predictor(tmp_path / "a.safetensors", recipe="paper").size == 64
    refused(tmp_path / "a.safetensors", "'nose'", recipe="nose")
    refused(save(tmp_path / "b.safetensors", calibration='{"slope": 1}'), "wanted the fields")
    refused(save(tmp_path / "c.safetensors", size="32"), "size")
    weights.save(tmp_path / "i.safetensors", "ir_se50", {}, {"params": {"kernel": np.zeros(1)}})
    refused(tmp_path / "i.safetensors", "kind 'ir_se50', wanted a detector")
    module = make_detector("efficientnet_small64", DETECTOR | {"num_classes": 1000})
    variables = tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    fields = {"resolution": 64, "num_classes": 1000, **DETECTOR}
    weights.save(tmp_path / "d.safetensors", "efficientnet", fields, variables, layout="timm")
    refused(tmp_path / "d.safetensors", "1000 logits")


def test_other_images_are_refused(tmp_path):
    predictor = Predictor(save(tmp_path / "d.safetensors"))
    for images in (crops()[:, :32], crops() / np.float32(255), crops()[0]):
        with pytest.raises(ValueError, match=r"\(N, 64, 64, 3\) uint8"):
            predictor.scores(images)
    with pytest.raises(ValueError, match="batch_size"):
        Predictor(predictor.path, batch_size=0)


def test_weights_that_give_no_numbers_do_not_judge(tmp_path):
    variables = jax.tree.map(np.copy, network()[1])
    variables["params"]["fc"]["bias"][:] = np.nan
    config = {"name": "efficientnet_small64", "overrides": DETECTOR}
    recipe = json.dumps(RECIPE.to_dict())
    weights.save(tmp_path / "d.safetensors", "detector", config, variables, recipe=recipe, size="64")
    with pytest.raises(ValueError, match="not finite"):
        Predictor(tmp_path / "d.safetensors").scores(crops(1))
