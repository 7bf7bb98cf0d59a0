"""The inversion pair: files there and back, and both phases of an inversion."""

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny import PAIR, compiled, images, pair, pair_configs, save_pair

from fdetect_jax import weights
from fdetect_jax.gan import inversion
from fdetect_jax.gan.encoders import EncoderConfig, TrunkConfig
from fdetect_jax.gan.hyperinverter import HyperConfig
from fdetect_jax.gan.stylegan2 import Generator, GeneratorConfig

TRUNK = TrunkConfig(4, ((4, 1), (8, 1), (8, 1)), 4)


@pytest.fixture(scope="module")
def found():
    return compiled("invert")(pair()[1], images(3))


def test_build_from_plain_dicts():
    inverter = inversion.build(pair_configs())
    assert inverter.generator.config == GeneratorConfig(32, 8, 8, 2, 128, 16)
    assert inverter.encoder.config == EncoderConfig(TRUNK, 32, 8, "flatten")
    assert inverter.hyper.config == HyperConfig(TRUNK, 32, 8, 4, 4)
    assert inverter.hyper.generator == inverter.generator.config
    assert inverter.resolution == 32
    assert inversion.build(pair_configs("generator", "encoder")).hyper is None


def test_there_and_back(tmp_path):
    inverter, variables = pair()
    save_pair(tmp_path / "pair")
    loaded, read = inversion.load(tmp_path / "pair")
    assert loaded == inverter
    wanted, got = (flax.traverse_util.flatten_dict(tree, sep="/") for tree in (variables, read))
    assert got.keys() == wanted.keys()
    for name, value in got.items():
        assert value.dtype == np.float32
        assert value.shape == wanted[name].shape
        np.testing.assert_array_equal(value, wanted[name].astype(np.float16).astype(np.float32), err_msg=name)


def test_notes_travel_with_every_file(tmp_path):
    inversion.save(tmp_path, pair_configs(), pair()[1], np.float32, licence="Apache-2.0")
    for part in inversion.PARTS:
        config, _, metadata = weights.read(tmp_path / f"{part}.safetensors", part)
        assert config.keys() == PAIR[part].keys()
        assert metadata["licence"] == "Apache-2.0"
        assert metadata["dtype"] == "float32"


@pytest.mark.parametrize("part", ["generator", "encoder"])
def test_missing_files_are_named(tmp_path, part):
    save_pair(tmp_path)
    (tmp_path / f"{part}.safetensors").unlink()
    with pytest.raises(weights.WeightsError, match=f"{part}.safetensors: no such file"):
        inversion.load(tmp_path)


def test_a_file_of_another_kind(tmp_path):
    save_pair(tmp_path)
    (tmp_path / "hyper.safetensors").write_bytes((tmp_path / "encoder.safetensors").read_bytes())
    with pytest.raises(weights.WeightsError, match="found weights of kind 'encoder', wanted 'hyper'"):
        inversion.load(tmp_path)


def test_invert(found):
    assert found.w.shape == (3, 8)
    assert found.image.shape == (3, 32, 32, 3)
    assert found.image.min() >= 0
    assert found.image.max() <= 1
    assert np.std(found.image, axis=(1, 2, 3)).min() > 0.02
    assert len(found.offsets) == 11


def test_w_is_relative_to_the_mean(found):
    inverter, variables = pair()
    own = jax.jit(inverter.encoder.apply)(variables["encoder"], 2 * images(3) - 1)
    mean = variables["generator"]["buffers"]["mapping"]["w_avg"]
    assert np.abs(mean).max() > 0.05
    np.testing.assert_allclose(found.w, own + mean[None], rtol=1e-3, atol=1e-3)


def test_both_phases_in_steps(found):
    (inverter, variables), render = pair(), compiled("render")
    synthesize = jax.jit(lambda v, w: inverter.generator.apply(v, w, None, "const", method=Generator.synthesize))
    first = synthesize(variables["generator"], found.w)
    assert np.abs(first).max() > 1  # H sees what G made before it is clipped, as in training
    np.testing.assert_allclose(render(variables, found.w, found.offsets), found.image, atol=1e-4)
    assert np.abs(render(variables, found.w) - found.image).max() > 0.01
    offsets = compiled("hyper")(variables["hyper"], 2 * images(3) - 1, first)
    for name, offset in offsets.items():
        np.testing.assert_allclose(offset, found.offsets[name], rtol=1e-3, atol=1e-3, err_msg=name)


def test_encoder_alone(tmp_path, found):
    save_pair(tmp_path, "generator", "encoder")
    inverter, variables = inversion.load(tmp_path)
    assert inverter.hyper is None
    alone = jax.jit(inverter.invert)(variables, images(3))
    assert alone.offsets is None
    np.testing.assert_allclose(alone.w, found.w, rtol=0.02, atol=0.02)  # stored as float16
    np.testing.assert_allclose(alone.image, compiled("render")(variables, alone.w), atol=1e-4)


def test_map_is_the_generator_s():
    inverter, variables = pair()
    z = np.random.default_rng(0).standard_normal((3, 8)).astype(np.float32)
    w = compiled("map")(variables, z)
    assert w.shape == (3, 8)
    image = jax.jit(inverter.generator.apply)(variables["generator"], z)
    rendered = compiled("render")(variables, w)
    np.testing.assert_allclose(np.clip(image / 2 + 0.5, 0, 1), rendered, atol=1e-4)


def test_half_precision(found):
    """G, E and H compute in bfloat16; w and images are float32."""
    half = jax.jit(inversion.build(pair_configs(), dtype=jnp.bfloat16).invert)(pair()[1], images(3))
    assert half.w.dtype == half.image.dtype == jnp.float32
    assert {offset.dtype for offset in half.offsets.values()} == {jnp.dtype(jnp.bfloat16)}
    near = [(found.w, half.w, 0.03), (found.image, half.image, 0.03)]
    # H normalises maps of 2x2 pixels, which enlarges what was rounded before.
    near += [(offset, half.offsets[name], 0.1) for name, offset in found.offsets.items()]
    for single, other, most in near:
        single, other = np.asarray(single, np.float32), np.asarray(other, np.float32)
        assert 0 < np.sqrt(np.mean((single - other) ** 2)) < most * np.sqrt(np.mean(single**2))
