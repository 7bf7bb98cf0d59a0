"""A detector's held-out tests: which there are, by which crops, and what its report shows."""

import json
import re

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from small import DATA, compilations, run, small_adv, small_baseline, small_sbi, without_generator
from tiny import save_pair

from configs import common
from fdetect_jax import parallel, weights
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.data.folder import SPLITS
from fdetect_jax.data.rows import Slot
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import make_recipe
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.forgery import FORGERIES, Forged, Forgery, make_mix
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.train import held_out
from fdetect_jax.train.host_gallery import host_gallery
from fdetect_jax.train.trainers import make_task
from fdetect_jax.types import KINDS, ForgedPair, Outputs, to_unit


def test_a_run_on_self_blended_images(tmp_path):
    found = run(small_sbi(), tmp_path)
    assert list(found["tests"]) == ["swap", "sbi", "fwa", "composite", "resample"]
    assert found["tests"]["sbi"]["n_fake"] == 6
    page = (tmp_path / "report.html").read_text()
    for name in ("crop", "hull", "mask", "source", "target", "blended", "real", "fake"):
        assert f'<div class="name">{name}</div>' in page
    assert page.count("<small>P(fake)</small>") == 2 * 6  # of real and fake
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
    scorer = Scorer(tmp_path / "run")
    assert scorer.recipe == make_recipe("sbi", 48)
    faces = held_out_of(config).faces
    # Swaps and attacks see the crop that serving cuts, self-blending the context crop.
    assert faces.source[0]["image"].shape != (48, 48, 3)
    real, swapped = (
        next(faces.batches(config.evaluation, faces.slot(config, name)))["image"] for name in ("sbi", "swap")
    )
    assert swapped.shape == (4, 48, 48, 3)
    (plain,) = faces.numbered(config.evaluation)
    np.testing.assert_array_equal(swapped, plain["image"])
    same = [np.array_equal(a, b) for a, b in zip(real, swapped, strict=True)]
    assert any(same)  # where the source was changed, the target is the very crop that serving cuts


@pytest.mark.parametrize(
    ("mix", "columns"),
    [
        ({"swap": 1.0}, ["crop", "source", "warped", "matched"]),
        ({"fwa": 1.0, "swap": 1.0}, ["crop", "target", "part", "mask"]),  # the first by name
        ({"fwa": 1.0, "swap": 0.0}, ["crop", "target", "part", "mask"]),
    ],
)
def test_pictures_are_of_what_it_was_trained_on(mix, columns, tmp_path):
    config = without_generator(small_baseline(""))
    config.forgery.mix.update(mix)
    config.steps, config.batch_size = 1, 8
    assert list(run(config, tmp_path)["tests"]) == ["swap", "sbi", "fwa", "composite", "resample"]
    page = (tmp_path / "report.html").read_text()
    assert re.findall('<div class="name">(.*?)</div>', page) == [*columns, "real", "fake"]


def held_out_of(config, detect=None):
    """Without a detector, or with ``detect``."""
    mix = make_mix(config.forgery, config.data, "train", None, True)
    return held_out.HeldOut(config, detect or (lambda variables: None), mix)


def _mixed(**parts):
    config = small_sbi()
    config.data = common.mixture(**{name: DATA | changes | {"weight": 1.0} for name, changes in parts.items()})
    return config


def test_each_part_of_a_mixture_is_tested_by_itself(tmp_path):
    config = _mixed(a={}, b={"seed": 1})
    config.steps = 1
    tests = run(config, tmp_path)["tests"]
    kinds = "swap", "sbi", "fwa", "composite", "resample"
    assert list(tests) == [f"{kind}{part}" for kind in kinds for part in ("", "/a", "/b")]
    assert [tests[name]["n_real"] for name in ("swap", "swap/a", "swap/b")] == [6, 3, 3]
    assert tests["swap"]["n_fake"] == 6


def test_one_person_in_a_part_cannot_be_swapped():
    config = _mixed(a={}, b={"identities": {"train": 2, "val": 2, "test": 1}})
    with pytest.raises(UserError, match=r"^data\.parts\.b: found one person in split 'test'"):
        held_out_of(config)


def test_one_person_cannot_be_swapped(tmp_path):
    config = small_sbi()
    config.data.identities.test = 1
    with pytest.raises(ValueError, match="found one person in split 'test'"):
        held_out_of(config)


def test_weights_to_start_from(tmp_path):
    own = {"params": {"blocks_0": {"kernel": jnp.zeros((2, 3))}, "fc": {"kernel": jnp.zeros((3, 2))}}}
    file = tmp_path / "weights.safetensors"

    def start(classes=2, **layers):
        params = {"blocks_0": {"kernel": np.ones((2, 3))}, "fc": {"kernel": np.ones((3, classes))}} | layers
        weights.save(file, "efficientnet", {}, {"params": params})
        return set(start_from(str(file), own))

    assert start() == {"params/blocks_0/kernel", "params/fc/kernel"}
    assert start(1000) == {"params/blocks_0/kernel"}
    # Another detector on the same trunk has layers of its own.
    own["params"]["attention"] = {"kernel": jnp.zeros(3)}
    assert start(conv_head={"kernel": np.ones(4)}) == {"params/blocks_0/kernel", "params/fc/kernel"}
    for other in ({"blocks_0": {"kernel": np.ones((2, 4))}}, {"blocks_1": {"kernel": np.ones(2)}}):
        name = next(iter(other))
        with pytest.raises(ValueError, match=rf"detector\.weights: .*found other arrays \(params/{name}/kernel, …\)"):
            start(**other)
    with pytest.raises(ValueError, match=r"detector\.weights: efficientnet_lite7: "):
        start_from("efficientnet_lite7", own)


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


class Scripted:
    """The place of ``parallel.Devices``: margins of real faces and of fakes that are drawn, not computed."""

    def __init__(self, real, fake):
        self.means, self.draws = (real, fake), np.random.default_rng(0)

    def compile_eval(self, function):
        def rows(variables, batch):
            noise = self.draws.uniform(-0.5, 0.5, (2, len(batch["image"])))
            return {
                f"margin/{name}": mean + noise[i]
                for i, (name, mean) in enumerate(zip(("real", "image"), self.means, strict=True))
            }

        return rows


@pytest.mark.parametrize("learned", [True, False])
def test_a_detector_is_calibrated_on_the_validation_split(learned):
    config, shown = small_sbi(), []
    devices = Scripted(20.0, 24.0) if learned else Scripted(24.0, 20.0)
    found = held_out_of(config).evaluate({}, devices, shown.append).calibration
    if learned:
        assert "validation split, self-blended images" in found.data
        # Margins so large that every P(fake) is 1 in single precision are told apart all the same.
        assert found.scores(np.array([20.5]))[0] < found.threshold < found.scores(np.array([23.5]))[0]
        assert found.n_real == found.n_fake == 4
    else:
        assert found is None
        assert "not calibrated" in shown[-1]


def test_auc_is_taken_of_margins_not_of_saturated_scores():
    result = held_out_of(small_sbi()).evaluate({}, Scripted(22.0, 27.0), lambda text: None)
    for test in result.tests:
        assert test.units.margin.dtype == np.float64
        real, fake = (test.units.margin[test.units.label == label] for label in (0, 1))
        assert real.max() < fake.min()


def test_every_unit_has_its_kind_method_and_person():
    result = held_out_of(small_sbi()).evaluate({}, Scripted(0.0, 1.0), lambda text: None)
    for test in result.tests:
        units = test.units
        assert set(units.kind[units.label == 1].tolist()) == {KINDS.index(FORGERIES[test.name].kind)}
        assert set(np.asarray(units.method)[units.label == 1].tolist()) == {test.name}
        assert len(set(units.group.tolist())) == 4  # six faces, drawn over all four people


def colours(variables):
    """A detector that sees the mean colour."""

    def look(images):
        mean = to_unit(images).mean(axis=(-3, -2))
        return Outputs(jnp.stack([mean[..., 0], variables["scale"] * mean[..., 1]], axis=-1), {"embedding": mean})

    return look


def margins(config):
    devices = parallel.Devices()
    variables = parallel.put({"scale": np.float32(3)}, devices.mesh)
    result = held_out_of(config, colours).evaluate(variables, devices, lambda text: None)
    return {test.name: test.units.margin for test in result.tests}


class Noise:
    """A device forgery that is a draw."""

    frozen, counterpart = {}, False

    def forge(self, keys, scene):
        return Forged(jax.vmap(lambda key: jax.random.uniform(key, scene.images.shape[1:]))(keys))


def test_pictures_of_a_forgery_whose_test_is_skipped(tmp_path):
    config = small_sbi()
    config.steps, config.evaluation.skip = 1, ("sbi",)
    assert "sbi" not in run(config, tmp_path)["tests"]
    assert (tmp_path / "fakes.png").is_file()


def test_fakes_of_tests_have_a_seed_of_their_own(monkeypatch):
    """Neither the training's seed nor the batch size changes them; the evaluation's does."""
    noise = Forgery("Noise", "entire synthesis", lambda setup: Noise(), "device")
    monkeypatch.setitem(FORGERIES, "noise", noise)  # without options of its own it is tested unasked
    found = []
    for seed, own, size in ((0, 0, 4), (7, 0, 8), (0, 1, 4)):
        config = small_sbi()
        config.seed = seed
        config.evaluation.update(seed=own, batch_size=size, calibrate=False)
        found.append(margins(config))
    assert list(found[0]) == ["noise", "swap", "sbi", "fwa", "composite", "resample"]
    for name, own in found[0].items():
        np.testing.assert_allclose(found[1][name], own, atol=1e-5, err_msg=name)
        assert np.abs(found[2][name] - own).max() > 1e-4, name


def test_what_a_test_renders_stays_on_the_devices(tmp_path, monkeypatch):
    """Pictures come to the host only of what is shown; the inverter is placed once for tests and calibration."""
    config = small_adv(str(save_pair(tmp_path / "pair")))
    config.evaluation.limit = 6
    reads, places = [], []
    read, put = weights.read, parallel.put
    monkeypatch.setattr(weights, "read", lambda path, *more: reads.append(path) or read(path, *more))
    task = make_task(config)
    assert len(reads) == 3  # G, E and H, for the training, the tests of two entries and the calibration
    devices = parallel.Devices()
    state = devices.first_state(task.init, 0, task.start)
    monkeypatch.setattr(parallel, "put", lambda tree, mesh: places.append(tree) or put(tree, mesh))
    frozen = {name: devices.place(tree) for name, tree in task.frozen.items()}
    shown = []
    result = task.evaluate(state, devices, shown.append)
    assert len(places) == 1
    assert places[0] is task.frozen["latent"]
    assert devices.place(places[0]) is frozen["latent"]
    assert {test.name for test in result.tests} >= {"gan_inverted", "adversarial", "gan_inverted/jpeg_40"}
    assert result.gallery.columns["adversary"].shape == (6, 32, 32, 3)
    assert len(shown) == 2


def test_one_compilation_serves_all_host_forgeries():
    config = small_sbi()
    devices = parallel.Devices()
    calls = []
    compile_eval = devices.compile_eval
    devices.compile_eval = lambda function: calls.append(function) or compile_eval(function)
    held_out_of(config, colours).evaluate({"scale": jnp.float32(3)}, devices, lambda text: None)
    assert len(set(calls)) == 1 < len(calls)
    assert compile_eval(calls[0])._cache_size() == 1


def test_tests_that_are_skipped_and_named(tmp_path):
    config = small_adv(str(save_pair(tmp_path / "pair")))
    config.evaluation.skip = ("swap", "fwa", "latent")
    config.evaluation.forgeries.other_generator.title = "Faces of another one"
    made = held_out_of(config)
    assert list(made.slots) == ["sbi", "composite", "resample"]
    assert [(one.entry.name, one.entry.forgery, one.tests) for one in made.devices] == [
        ("other_generator", "reconstruction", {"image": ("other_generator", "Faces of another one")})
    ]
    config.evaluation.skip = ("swap", "fwa", "sbi", "composite", "resample", "latent", "other_generator")
    with pytest.raises(
        UserError, match=r"^evaluation: found no forgery to test with, wanted at least one that evaluation\.skip"
    ):
        held_out_of(config, colours).evaluate({"scale": 1.0}, parallel.Devices(1), lambda text: None)


def test_a_mix_of_several_generators(tmp_path):
    """Two generators, samples of one of them, and a second kind of swap: tested, calibrated and exported by name."""
    folder = str(save_pair(tmp_path / "pair"))
    config = small_adv(folder)
    config.evaluation.skip = ("sbi", "fwa", "composite", "resample")
    named = {
        "first": {"forgery": "reconstruction", "title": "Faces of one", **common.reconstruction(folder)},
        "second": {"forgery": "reconstruction", "title": "Faces of two", **common.reconstruction(folder)},
        "samples": {"forgery": "generated", "title": "Samples of one", **common.generated(folder)},
    }
    config.forgery.update(named)
    config.forgery.soft = {"forgery": "swap", "title": "Soft swaps", "changed": 0.5}
    config.forgery.mix = {"first": 1.0, "second": 1.0, "samples": 1.0, "soft": 1.0}
    config.evaluation.forgeries = named
    config.detector.overrides = config.detector.overrides.to_dict() | {"num_classes": 5}
    config.losses.methods = {"weight": 1.0}
    config.steps, config.batch_size = 2, 16
    with compilations() as names:
        tests = run(config, tmp_path / "run")["tests"]
    # Calibration uses the functions of the tests, and that of the first for the second, which makes the same fakes.
    assert names.count("jit(forged)") == 3
    assert list(tests) == ["first", "samples", "second", "swap", "soft"]  # a config's names are in alphabetical order
    assert tests["soft"]["title"] == "Soft swaps"
    assert tests["samples"]["title"] == "Samples of one"
    assert tests["first"]["auc"] == tests["second"]["auc"]  # the same inverter twice
    notes = weights.read(tmp_path / "run" / "detector.safetensors", "detector")[2]
    assert json.loads(notes["classes"]) == ["real", "first", "samples", "second", "soft"]
    config.losses.methods.weight, config.losses.kinds = 0.0, {"weight": 1.0}
    with pytest.raises(UserError, match=r"^losses\.kinds: found a detector with 5 classes, wanted 6"):
        make_task(config)


def test_pictures_of_fakes_of_which_some_have_no_mask():
    source, made = FaceSim("test", 64, 4, 1, 0), []

    def forge(rng, face, donor):
        made.append(face)
        mask = np.ones((64, 64), np.float32) if len(made) % 2 else None
        return ForgedPair(face["image"], face["image"], mask)

    spec = Forgery("Dataset fakes", "unknown", lambda setup: forge)
    score = lambda pairs: {name: np.zeros(len(images)) for name, images in pairs.items()}  # noqa: E731
    for indices, columns in (([0, 1, 2], ["real", "fake"]), ([3], ["mask", "real", "fake"])):
        made.clear()
        found = host_gallery(source, indices, spec, Slot(forge), 0, 0, score)
        assert list(found.columns) == columns
        assert all(len(pictures) == len(indices) for pictures in found.columns.values())
