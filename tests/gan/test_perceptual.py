"""Perceptual terms: equal to PyTorch on the same weights, zero for equals, differentiable, strict files."""

import functools
import json
import runpy
from pathlib import Path

import chex
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.gan import perceptual
from fdetect_jax.gan.perceptual import TERMS, initial_variables, load_term, variable_shapes
from fdetect_jax.gan.perceptual_nets import unit_channels

GOLDEN = Path(__file__).parents[1] / "golden"
INPUTS = runpy.run_path(str(GOLDEN / "perceptual_inputs.py"))
EXPECTED = json.loads((GOLDEN / "perceptual.json").read_text())


@functools.cache
def variables(name):
    flat = {key: jnp.asarray(INPUTS["weight"](key, shape)) for key, shape in variable_shapes(name).items()}
    return flax.traverse_util.unflatten_dict(flat, sep="/")


@functools.cache
def values_and_gradient(name):
    """(image, target) -> (distances, gradient of their sum); one compilation serves the whole file."""

    @jax.jit
    def compute(frozen, image, target):
        def total(image):
            distances = TERMS[name].distance(frozen, image, target)
            return jnp.sum(distances), distances

        (_, distances), gradient = jax.value_and_grad(total, has_aux=True)(image)
        return distances, gradient

    return functools.partial(compute, variables(name))


def images(seed, size=64, batch=2):
    return jnp.asarray(INPUTS["image"](seed, size)[:batch])


def pair(name):
    """Image and target, two of each for LPIPS and one for the deep networks, which take a second."""
    batch = 2 if name == "lpips" else 1
    return images(1, batch=batch), images(2, batch=batch)


@functools.cache
def result(name):
    return values_and_gradient(name)(*pair(name))


@pytest.mark.parametrize("name", TERMS)
def test_equals_pytorch(name):
    distances, _ = result(name)
    batch = len(pair(name)[0])
    assert distances.shape == (batch,)
    np.testing.assert_allclose(distances, EXPECTED[name]["64"]["distance"][:batch], rtol=1e-4)


def test_large_images_are_averaged_first():
    distances = jax.jit(TERMS["lpips"].distance)(variables("lpips"), images(1, 512), images(2, 512))
    np.testing.assert_allclose(distances, EXPECTED["lpips"]["512"]["distance"], rtol=1e-4)


@pytest.mark.parametrize("size", [64, 300, 512])
def test_views_equal_pytorch(size):
    x, expected = images(3, size)[:1], EXPECTED["views"][str(size)]
    crop = perceptual.face_crop(x)
    near = perceptual.nearest(perceptual.working_size(x), 224)
    assert crop.shape == (1, 112, 112, 3)
    assert near.shape == (1, 224, 224, 3)
    np.testing.assert_allclose(crop[0, ::37, ::37], expected["face_crop"], atol=1e-5)
    np.testing.assert_allclose(near[0, ::37, ::37], expected["nearest"], atol=1e-5)


@pytest.mark.parametrize("name", TERMS)
def test_equal_images_are_at_no_distance(name):
    distances, gradient = values_and_gradient(name)(*pair(name)[:1] * 2)
    np.testing.assert_allclose(distances, 0, atol=1e-9)
    assert np.all(np.isfinite(gradient))


@pytest.mark.parametrize("name", TERMS)
def test_gradient_is_the_slope(name):
    image, target = pair(name)
    distances, gradient = result(name)
    direction = gradient / jnp.sqrt(jnp.sum(jnp.square(gradient)))
    step = 0.01
    moved, _ = values_and_gradient(name)(image + step * direction, target)
    slope = jnp.sum(moved - distances) / step
    np.testing.assert_allclose(slope, jnp.sum(gradient * direction), rtol=0.05)


def test_silent_pixels_have_a_gradient():
    x = jnp.zeros((1, 2, 2, 3)).at[0, 0, 0, 0].set(2.0)
    y, pull_back = jax.vjp(jax.jit(unit_channels), x)
    (gradient,) = pull_back(jnp.ones_like(y))
    np.testing.assert_array_equal(y[0, 0], [[1, 0, 0], [0, 0, 0]])
    assert np.all(np.isfinite(gradient))


def test_a_file_gives_back_the_term(tmp_path):
    frozen = initial_variables("lpips", 0)
    weights.save(tmp_path / "lpips.safetensors", "lpips_alex", {}, frozen)
    distance, loaded = load_term("lpips", tmp_path / "lpips.safetensors")
    assert distance is TERMS["lpips"].distance
    chex.assert_trees_all_equal(loaded, frozen)


def test_initial_variables_follow_the_seed():
    first, again, other = (initial_variables("lpips", seed) for seed in (1, 1, 2))
    shapes = {key: x.shape for key, x in flax.traverse_util.flatten_dict(first, sep="/").items()}
    assert shapes == variable_shapes("lpips")
    chex.assert_trees_all_equal(first, again)
    kernel = [x["params"]["alexnet"]["conv0"]["kernel"] for x in (first, other)]
    assert not np.array_equal(*kernel)


def test_a_missing_path_names_the_field(tmp_path):
    with pytest.raises(weights.WeightsError, match=r"losses\.moco\.weights: found no path, .*moco_resnet50"):
        load_term("moco", None)
    with pytest.raises(weights.WeightsError, match=r"losses\.identity\.weights: .*no such file"):
        load_term("identity", tmp_path / "absent.safetensors")


def test_other_weights_name_the_field(tmp_path):
    path = tmp_path / "w.safetensors"
    frozen = initial_variables("lpips", 0)
    weights.save(path, "lpips_alex", {}, frozen)
    with pytest.raises(weights.WeightsError, match=r"losses\.moco\.weights: .*'lpips_alex', wanted 'moco_resnet50'"):
        load_term("moco", path)
    params = frozen["params"]
    for lin0, message in (
        (None, r"params/lin0: found nothing, wanted \(64,\)"),
        (np.ones(65, np.float32), r"params/lin0: found \(65,\), wanted \(64,\)"),
        (-np.ones(64, np.float32), "params/lin0: found a negative value"),
    ):
        changed = {key: x for key, x in params.items() if key != "lin0"}
        weights.save(path, "lpips_alex", {}, {"params": changed if lin0 is None else {**changed, "lin0": lin0}})
        with pytest.raises(weights.WeightsError, match=rf"losses\.lpips\.weights: .*{message}"):
            load_term("lpips", path)


def test_an_unknown_term_or_image_is_named():
    with pytest.raises(ValueError, match="losses: found 'vgg', wanted one of"):
        load_term("vgg", "x")
    frozen = variables("lpips")
    with pytest.raises(ValueError, match=r"images: found shape \(2, 64, 32, 3\)"):
        TERMS["lpips"].distance(frozen, images(1)[:, :, :32], images(1))
    with pytest.raises(ValueError, match="found images of 16 pixels, wanted at least 31"):
        TERMS["lpips"].distance(frozen, images(1)[:, :16, :16], images(1)[:, :16, :16])
