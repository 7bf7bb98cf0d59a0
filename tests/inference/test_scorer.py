"""A weights file scores crops: calibrated, compiled once, on every device, with the recipe it was trained with."""

import functools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.inference.stream import Stream
from fdetect_jax.types import KINDS, score
from tests import tiny
from tests.inference import clip_detector
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


@functools.cache
def answers():
    """The network's outputs for ``crops()``."""
    module, variables = network()
    return jax.jit(module.apply)(variables, crops())


def test_scores_are_the_networks_calibrated(tmp_path):
    scorer = Scorer(save(tmp_path / "d.safetensors", calibration=CALIBRATION.to_json()), batch_size=4)
    logits = answers().logits
    margins = np.asarray(logits[:, 1] - logits[:, 0])
    assert np.ptp(margins) > 0.05
    np.testing.assert_allclose(scorer.scores(crops()), 1 / (1 + np.exp(-(margins / 2 + 0.3))), rtol=1e-4)
    assert (scorer.threshold, scorer.size, scorer.recipe) == (0.7, 64, RECIPE)
    assert "held-out faces" in scorer.description


def test_without_calibration_they_are_the_softmax(tmp_path):
    scorer = Scorer(save(tmp_path / "d.safetensors"), batch_size=4)
    wanted = score(answers().logits)
    np.testing.assert_allclose(scorer.scores(crops()), wanted, rtol=1e-4)
    assert scorer.threshold == 0.5
    assert scorer.description == "efficientnet_small64, 64 px; source 0123; not calibrated"


def test_one_compilation_whatever_the_number(tmp_path):
    scorer = Scorer(save(tmp_path / "d.safetensors"), batch_size=4)
    with compilations() as names:
        whole = scorer.scores(crops(9))
        parts = [scorer.scores(crops(9)[a:b]) for a, b in ((0, 1), (1, 4), (4, 4), (4, 9))]
        maps = [scorer.attention(crops(9)[:count]) for count in (1, 4, 6)]
    assert [name for name in names if "_predict" in name or "_attend" in name] == ["jit(_predict)", "jit(_attend)"]
    np.testing.assert_array_equal(np.concatenate(parts), whole)
    assert [len(one) for one in maps] == [1, 4, 6]
    np.testing.assert_array_equal(maps[1], maps[2][:4])
    assert scorer.attention(crops(0)).shape[0] == 0


def test_groups_share_batches_and_keep_their_order(tmp_path, monkeypatch):
    scorer, calls = Scorer(save(tmp_path / "d.safetensors"), batch_size=4), []
    submit = Stream._submit
    monkeypatch.setattr(Stream, "_submit", lambda self, rows: calls.append(len(rows)) or submit(self, rows))
    parts = {"a": (0, 1), "none": (1, 1), "b": (1, 3), "c": (3, 8), "d": (8, 9), "end": (9, 9)}
    groups = ((key, list(crops(9)[a:b]), range(b - a)) for key, (a, b) in parts.items())
    found = list(scorer.margins_of_each(groups))
    assert calls == [4, 4, 1]
    assert [key for key, _ in found] == list(parts)
    whole = scorer.margins(crops(9))
    for key, values in found:
        np.testing.assert_array_equal(values, whole[slice(*parts[key])])
    assert list(scorer.margins_of_each([])) == []
    with pytest.raises(ValueError, match="1 crops and 2 tracks"):
        list(scorer.margins_of_each([("a", crops(1), [0, 1])]))


def test_a_group_that_is_finished_does_not_wait_for_all_others(tmp_path):
    scorer, drawn = Scorer(save(tmp_path / "d.safetensors"), batch_size=4), []
    groups = ((number, crops(4), range(4)) for number in range(8) if drawn.append(number) is None)
    assert next(scorer.margins_of_each(groups))[0] == 0
    assert len(drawn) <= 4


@pytest.mark.parametrize(("devices", "batch_size"), [(1, 3), (3, 16)])
def test_scores_do_not_depend_on_devices_and_batches(tmp_path, devices, batch_size):
    path = save(tmp_path / "d.safetensors")
    every, some = Scorer(path, batch_size=5), Scorer(path, batch_size, devices=jax.local_devices()[:devices])
    assert (len(jax.local_devices()), every.batch_size) == (4, 8)
    assert some.batch_size == -(-batch_size // devices) * devices
    np.testing.assert_allclose(every.margins(crops(9)), some.margins(crops(9)), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(every.attention(crops(5)), some.attention(crops(5)), atol=1e-4)


def test_every_device_has_its_share_of_a_batch_and_all_weights(tmp_path, monkeypatch):
    scorer, seen = Scorer(save(tmp_path / "d.safetensors"), batch_size=8), []
    predict = scorer._predict
    monkeypatch.setattr(scorer, "_predict", lambda *arguments: seen.append(arguments) or predict(*arguments))
    scorer.margins(crops(8))
    ((variables, images),) = seen
    assert [shard.data.shape[0] for shard in images.addressable_shards] == [2, 2, 2, 2]
    assert all(leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(variables))
    assert all(len(leaf.sharding.device_set) == 4 for leaf in jax.tree.leaves(variables))


def test_another_dtype_is_computed_in_and_margins_stay_float32(tmp_path):
    path = save(tmp_path / "d.safetensors")
    assert Scorer(path).dtype == jnp.float32  # of a CPU
    half = Scorer(path, 4, dtype="bfloat16")
    assert "bf16" in half._predict.lower(half._variables, jnp.zeros((4, 64, 64, 3), jnp.uint8)).as_text()
    margins = half.margins(crops())
    assert margins.dtype == np.float64
    wanted = Scorer(path, 4).margins(crops())
    assert 0 < np.abs(margins - wanted).max() < 0.05 * np.ptp(wanted) + 0.05


def test_a_converted_efficientnet_has_a_dtype_too(tmp_path):
    path = efficientnet(tmp_path / "e.safetensors", layout="timm")
    half, whole = (Scorer(path, 4, dtype=dtype).margins(crops(2)) for dtype in ("bfloat16", "float32"))
    assert 0 < np.abs(half - whole).max() < 0.1


def test_kinds_of_forgery_have_names_and_probabilities(tmp_path, monkeypatch):
    clip_detector.register(monkeypatch, "six", 6, "face")
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors", "six"), batch_size=4)
    assert scorer.classes == KINDS
    found = scorer.predictions(crops(5))
    np.testing.assert_allclose(found.classes.sum(axis=1), 1, rtol=1e-6)
    odds = found.classes[:, 1:].sum(axis=1) / found.classes[:, 0]
    np.testing.assert_allclose(found.margins, np.log(odds), atol=1e-5)
    named = clip_detector.save(tmp_path / "n.safetensors", "six", classes='["real", "a", "b", "c", "d", "e"]')
    assert Scorer(named).classes == ("real", "a", "b", "c", "d", "e")
    bad = clip_detector.save(tmp_path / "b.safetensors", "six", classes='["real", "fake"]')
    with pytest.raises(UserError, match=r"classes: found .* wanted a list of 6 names"):
        Scorer(bad)
    clip_detector.register(monkeypatch, "five", 5, "face")
    with pytest.raises(UserError, match="found 5 logits"):
        Scorer(clip_detector.save(tmp_path / "f.safetensors", "five"))


def test_clips_are_of_one_track_each_and_every_face_has_its_clips_margin(tmp_path, monkeypatch):
    clip_detector.register(monkeypatch)
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors"), batch_size=4)
    assert (scorer.unit, scorer.frames, scorer.row_shape) == ("clip", 3, (3, 64, 64, 3))
    faces, tracks = crops(9), [0, 1, 0, 0, 1, 0, 0, 0, 0]
    wanted = scorer.margins(faces[[[0, 2, 3], [5, 6, 7], [8, 8, 8], [1, 4, 4]]])
    (_, found), (_, none) = scorer.margins_of_each([("a", faces, tracks), ("b", [], [])])
    np.testing.assert_allclose(found, wanted[[0, 3, 0, 0, 3, 1, 1, 1, 2]], rtol=1e-6)
    assert none.shape == (0,)
    assert len(set(wanted.tolist())) == 4
    with pytest.raises(UserError, match=r"\(N, 3, 64, 64, 3\) uint8"):
        scorer.scores(faces)


def test_clips_have_the_maps_of_their_frames(tmp_path, monkeypatch):
    clip_detector.register(monkeypatch)
    scorer = Scorer(clip_detector.save(tmp_path / "d.safetensors"), batch_size=4)
    faces, tracks = crops(5), [0, 1, 0, 0, 1]
    found = scorer.attention_of(list(faces), tracks, [1, 3, 4])
    np.testing.assert_allclose(found, 1 / (1 + np.exp(faces[[1, 3, 4], ::16, ::16, 0] / -255.0)), rtol=1e-5)
    clip_detector.register(monkeypatch, "bare", mask=False)
    bare = Scorer(clip_detector.save(tmp_path / "b.safetensors", "bare"))
    with pytest.raises(UserError, match=r"b\.safetensors: heat map: this detector of clips has no head"):
        bare.attention_of(list(faces), tracks, [0])


def test_attention_is_a_map_of_each_crop(tmp_path):
    found = Scorer(save(tmp_path / "d.safetensors")).attention(crops(3))
    assert found.shape == (3, 32, 32)
    assert found.min() >= 0
    np.testing.assert_allclose(found.max(axis=(1, 2)), 1)


def test_workdir_of_a_training(tmp_path):
    save(tmp_path / "detector.safetensors")
    assert Scorer(tmp_path).path == tmp_path / "detector.safetensors"
    (tmp_path / "checkpoints").mkdir()
    with pytest.raises(UserError, match=r"checkpoints: found no detector\.safetensors.*evaluate_only=True"):
        Scorer(tmp_path / "checkpoints")


def efficientnet(path, **notes):
    fields = {"resolution": 64, **{name: value for name, value in DETECTOR.items()}}
    weights.save(path, "efficientnet", fields, network()[1], **notes)
    return path


def test_converted_weights_get_a_recipe_of_their_size(tmp_path):
    path = efficientnet(tmp_path / "e.safetensors", layout="timm")
    scorer = Scorer(path)
    assert (scorer.recipe.size, scorer.recipe.scale) == (64, RECIPES["paper"].scale)
    assert Scorer(path, recipe="aligned1024").recipe == RECIPE
    assert scorer.scores(crops(2)).shape == (2,)


def test_sbis_weights_get_sbis_recipe(tmp_path):
    scorer = Scorer(efficientnet(tmp_path / "e.safetensors", layout="sbi"))
    assert scorer.recipe.scale == RECIPES["sbi"].scale


def test_bad_files_are_refused_by_name(tmp_path):
    def refused(path, message, **options):
        with pytest.raises(UserError, match=message) as error:
            Scorer(path, **options)
        assert str(path) in str(error.value)

    refused(tmp_path / "none.safetensors", "no such file")
    refused(save(tmp_path / "a.safetensors", recipe="null"), "recipe: found none, .*wanted --recipe with one")
    assert Scorer(tmp_path / "a.safetensors", recipe="paper").size == 64
    refused(tmp_path / "a.safetensors", "'nose'", recipe="nose")
    refused(
        save(tmp_path / "b.safetensors", calibration='{"slope": 1}'), "calibration.slope: found 1, wanted no such field"
    )
    refused(save(tmp_path / "c.safetensors", size="32"), "size")
    refused(save(tmp_path / "s.safetensors", size="wide"), "size: found 'wide'")
    refused(save(tmp_path / "j.safetensors", recipe="{"), "recipe: found '{', wanted JSON")
    refused(save(tmp_path / "l.safetensors", recipe="[1]"), "recipe: found .1., wanted the fields")
    weights.save(tmp_path / "i.safetensors", "ir_se50", {}, {"params": {"kernel": np.zeros(1)}})
    refused(tmp_path / "i.safetensors", "kind 'ir_se50', wanted a detector")
    module = make_detector("efficientnet_small64", DETECTOR | {"num_classes": 1000})
    variables = tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))))
    fields = {"resolution": 64, "num_classes": 1000, **DETECTOR}
    weights.save(tmp_path / "d.safetensors", "efficientnet", fields, variables, layout="timm")
    refused(tmp_path / "d.safetensors", "1000 logits")


@pytest.mark.parametrize(
    ("note", "message"),
    [
        ({"recipe": json.dumps({**RECIPE.to_dict(), "scale": []})}, r"recipe.scale: found \[\], wanted a number"),
        ({"recipe": '{"a":' * 5000 + "1" + "}" * 5000}, "recipe: found .* wanted JSON"),
        ({"calibration": '{"a":' * 5000 + "1" + "}" * 5000}, "calibration: found "),
        ({"classes": "[" * 5000 + "]" * 5000}, "classes: found .* wanted JSON"),
        ({"size": "1" * 5000}, "size: found "),
    ],
    ids=["type", "recipe", "calibration", "classes", "size"],
)
def test_damaged_notes_are_refused_in_a_short_line(tmp_path, note, message):
    with pytest.raises(UserError, match=message) as error:
        Scorer(save(tmp_path / "d.safetensors", **note))
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("kind", ["a collection", "a statistic"])
def test_arrays_in_other_places_are_refused(tmp_path, kind):
    variables = jax.tree.map(np.copy, network()[1])
    if kind == "a collection":
        variables["loose"] = np.zeros(3, np.float32)
    else:
        del variables["batch_stats"]["bn0"]["mean"]
    config, recipe = {"name": "efficientnet_small64", "overrides": DETECTOR}, json.dumps(RECIPE.to_dict())
    weights.save(tmp_path / "d.safetensors", "detector", config, variables, recipe=recipe, size="64")
    with pytest.raises(UserError, match="found other arrays than efficientnet_small64 has"):
        Scorer(tmp_path / "d.safetensors")


def test_other_images_are_refused(tmp_path):
    scorer = Scorer(save(tmp_path / "d.safetensors"))
    for images in (crops()[:, :32], crops() / np.float32(255), crops()[0]):
        with pytest.raises(UserError, match=r"\(N, 64, 64, 3\) uint8"):
            scorer.scores(images)
    with pytest.raises(UserError, match="batch_size"):
        Scorer(scorer.path, batch_size=0)


def test_weights_of_another_network_are_refused(tmp_path):
    variables = jax.tree.map(np.copy, network()[1])
    del variables["params"]["fc"]["bias"]
    config, recipe = {"name": "efficientnet_small64", "overrides": DETECTOR}, json.dumps(RECIPE.to_dict())
    weights.save(tmp_path / "d.safetensors", "detector", config, variables, recipe=recipe, size="64")
    with pytest.raises(UserError, match="found other arrays than efficientnet_small64 has"):
        Scorer(tmp_path / "d.safetensors")


def test_weights_that_give_no_numbers_are_refused(tmp_path):
    variables = jax.tree.map(np.copy, network()[1])
    variables["params"]["fc"]["bias"][:] = np.nan
    config = {"name": "efficientnet_small64", "overrides": DETECTOR}
    recipe = json.dumps(RECIPE.to_dict())
    weights.save(tmp_path / "d.safetensors", "detector", config, variables, recipe=recipe, size="64")
    with pytest.raises(UserError, match="not finite"):
        Scorer(tmp_path / "d.safetensors").scores(crops(1))
