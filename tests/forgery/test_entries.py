"""One forgery several times in a mix, under names of its own, and a generator's own samples."""

import functools
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict
from tiny import PAIR, drawn, images, pair, pair_configs, save_pair

from configs import common
from fdetect_jax import assets
from fdetect_jax.errors import UserError
from fdetect_jax.forgery import FORGERIES, Scene, check_mix, entries_of, find_entry, make_forgery, make_mix
from fdetect_jax.forgery.latent import as_rendered
from fdetect_jax.gan import inversion
from fdetect_jax.gan.stylegan2 import truncate
from fdetect_jax.nn.keys import purposes
from fdetect_jax.types import KINDS, score

SIZE = PAIR["generator"]["resolution"]
KEYS = jax.random.split(jax.random.key(0), 6)
FACES = images(6, SIZE)
TITLE = {"forgery": "reconstruction", "title": "Another's faces"}


def classify(image):
    shade = image.mean(axis=(1, 2, 3))
    return jnp.stack([shade, -shade], axis=1)


def scene(faces, frozen):
    return Scene(classify, jnp.asarray(faces), frozen, jnp.int32(0), True)


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two inverters with other weights."""
    one = save_pair(tmp_path_factory.mktemp("one"))
    shapes = jax.eval_shape(lambda: pair()[1])
    other = tmp_path_factory.mktemp("other")
    inversion.save(other, pair_configs(), drawn(shapes, seed=1), np.float16)
    return str(one), str(other)


def test_an_entry_is_a_registered_forgery_or_names_one():
    plain = find_entry("swap", ConfigDict({"changed": 0.5}))
    assert plain.spec is FORGERIES["swap"]
    assert (plain.forgery, plain.options, plain.path) == ("swap", {"changed": 0.5}, "forgery.swap")
    assert find_entry("swap", {"forgery": "swap"}).spec is FORGERIES["swap"]
    named = find_entry("wide", TITLE | {"dtype": "float32"}, "evaluation.forgeries")
    assert (named.forgery, named.options) == ("reconstruction", {"dtype": "float32"})
    assert (named.spec.title, named.spec.tests) == ("Another's faces", {"image": ("wide", "Another's faces")})
    assert named.path == "evaluation.forgeries.wide"
    assert find_entry("wide", {"forgery": "swap"}).spec.title == "Blended swaps"


def test_entries_that_are_tested_alike():
    latent = {"forgery": "latent", "inverter": "a"}
    one = find_entry("one", latent | {"warmup": 3, "title": "x"})
    assert one.tested_like(find_entry("two", latent | {"warmup": 0}))
    assert not one.tested_like(find_entry("two", latent | {"inverter": "b"}))
    assert not one.tested_like(find_entry("two", {"forgery": "reconstruction", "inverter": "a"}))


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, r"^forgery\.mix: found 'wide', wanted some of \['composite'"),
        ({"forgery": "paste"}, r"^forgery\.wide\.forgery: found 'paste', wanted some of"),
        (TITLE | {"dtype": "float16"}, r"^forgery\.wide\.dtype: found 'float16'"),
        (TITLE | {"truncation": 1.0}, r"^forgery\.wide\.truncation: found 1\.0, wanted no such field"),
        (TITLE | common.reconstruction("nowhere"), r"^forgery\.wide\.inverter: found 'nowhere'"),
        ({"forgery": "generated"} | common.generated("faces64") | {"truncation": 1.5}, r"^forgery\.wide\.truncation: "),
        ({"forgery": "given"}, r"^forgery\.mix\.wide: found 1\.0, wanted 0: data\.source is 'facesim'"),
    ],
)
def test_wrong_fields_of_an_entry_are_named(fields, message):
    with pytest.raises(UserError, match=message):
        check_mix({"mix": {"wide": 1.0}, "wide": fields}, ConfigDict(common.facesim()))


def test_a_registered_name_stands_for_its_own_forgery():
    with pytest.raises(UserError, match=r"^forgery\.swap\.forgery: found 'sbi', wanted none"):
        check_mix({"mix": {"swap": 1.0}, "swap": {"forgery": "sbi"}}, None)
    with pytest.raises(UserError, match=r"^forgery\.swap\.title: found 'x', wanted no such field"):
        check_mix({"mix": {"swap": 1.0}, "swap": {"title": "x"}}, None)


def test_the_bundled_generators_are_entries_of_a_mix():
    assert set(common.GENERATORS) == {path.parent.name for path in assets.ROOT.glob("*/generator.safetensors")}
    named = common.reconstructions() | common.samples()
    check_mix({"mix": dict.fromkeys(named, 1.0), **named}, None)
    assert list(common.samples(("faces64",))) == ["faces64_samples"]
    assert len({one.spec.title for one in entries_of({"mix": dict.fromkeys(named, 1.0), **named}).values()}) == 8


def test_two_generators_in_one_mix(folders):
    """Each row is forged by its own generator, has its own method, and is counted by itself in the log."""
    fields = {name: TITLE | common.reconstruction(folder) for name, folder in zip("ab", folders, strict=True)}
    options = {"mix": {"a": 1.0, "b": 1.0, "soft": 1.0}, **fields, "soft": {"forgery": "swap", "changed": 0.5}}
    check_mix(options, None)
    mix = make_mix(options, None, "train", None, True)
    assert list(mix.device) == list(mix.frozen) == ["a", "b"]
    assert mix.made["soft"].changed == 0.5
    assert [slot.method for slot in mix.slots(6)] == [1, 2, 3, 1, 2, 3]
    host = np.array([2, 5])
    rows = {"image": FACES, "forged": FACES[host], "target/kind": np.full(2, 5), "target/method": np.full(2, 3)}

    @jax.jit
    def forge(rows, frozen):
        return mix.forge(KEYS, rows, scene, frozen, ("kind", "method"))[1:]

    fakes, targets, metrics = forge(rows, mix.frozen)
    assert targets["method"].tolist() == [1, 2, 3, 1, 2, 3]
    assert targets["kind"].tolist() == [1, 1, 5, 1, 1, 5]
    assert KINDS[1] == "entire synthesis"
    np.testing.assert_array_equal(fakes[host], FACES[host])
    wanted = {}
    for number, (name, folder) in enumerate(zip("ab", folders, strict=True)):
        inverter, variables = inversion.load(folder)
        own = jax.jit(inverter.invert)(variables, FACES[number::3]).image
        np.testing.assert_allclose(fakes[number::3], own, atol=1e-4)
        wanted["p_fake/reconstruction" + ("/b" if name == "b" else "")] = score(classify(own)).mean()
    assert metrics.keys() == wanted.keys()
    for name, value in wanted.items():
        np.testing.assert_allclose(metrics[name], value, rtol=1e-4)


@functools.cache
def samples(folder, truncation=1.0):
    made = make_forgery("generated", common.generated(folder) | {"truncation": truncation}, None, "test", None, False)
    return made, jax.jit(lambda keys, faces, frozen: made.forge(keys, scene(faces, frozen)))


def test_samples_are_random_faces_of_the_generator(folders):
    made, forge = samples(folders[0])
    assert not made.counterpart
    forged = forge(KEYS, FACES, made.frozen)
    inverter, variables = inversion.load(folders[0])
    z = jax.vmap(lambda key: jax.random.normal(key, (8,)))(purposes(KEYS, "random face"))
    w = jax.jit(inverter.map)(variables, z)
    np.testing.assert_allclose(forged.image, jax.jit(inverter.render)(variables, w), atol=1e-4)
    np.testing.assert_allclose(forged.metrics["p_fake/generated"], score(classify(forged.image)).mean(), rtol=1e-5)
    assert np.abs(forged.image[0] - forged.image[1]).max() > 0.05
    other = forge(KEYS[::-1], 1 - FACES, made.frozen)  # of the keys, not of the faces
    np.testing.assert_allclose(other.image[::-1], forged.image, atol=1e-5)


def test_truncation_draws_samples_to_the_mean(folders):
    _, variables = inversion.load(folders[0])
    made, forge = samples(folders[0], 0.5)
    inverter = inversion.load(folders[0])[0]
    z = jax.vmap(lambda key: jax.random.normal(key, (8,)))(purposes(KEYS, "random face"))
    w = truncate(inverter.map(variables, z), variables["generator"]["buffers"]["mapping"]["w_avg"], 0.5)
    wanted = jax.jit(inverter.render)(variables, w)
    np.testing.assert_allclose(forge(KEYS, FACES, made.frozen).image, wanted, atol=1e-4)
    made, forge = samples(folders[0], 0.0)
    same = forge(KEYS, FACES, made.frozen).image
    np.testing.assert_allclose(same, jnp.broadcast_to(same[:1], same.shape), atol=1e-5)


def test_samples_need_the_generator_alone(folders, tmp_path):
    (tmp_path / "generator.safetensors").write_bytes((Path(folders[0]) / "generator.safetensors").read_bytes())
    alone, forge = samples(str(tmp_path))
    assert set(alone.frozen) == {"params", "buffers"}
    whole, other = samples(folders[0])
    np.testing.assert_array_equal(forge(KEYS, FACES, alone.frozen).image, other(KEYS, FACES, whole.frozen).image)
    with pytest.raises(UserError, match=r"encoder\.safetensors: no such file"):
        make_forgery("reconstruction", common.reconstruction(str(tmp_path)), None, "test", None, False)


def test_enlarged_samples_are_compared_with_faces_as_soft(folders):
    made, forge = samples(folders[0])
    faces = images(6, 2 * SIZE)
    forged = forge(KEYS, faces, made.frozen)
    assert forged.image.shape == faces.shape
    np.testing.assert_allclose(forged.real, as_rendered(jnp.asarray(faces), SIZE), atol=1e-6)
    assert forge(KEYS, FACES, made.frozen).real is None
