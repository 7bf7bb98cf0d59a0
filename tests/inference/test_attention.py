"""Grad-CAM against a network whose answer is known, and a detector's own attention."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam, heat, map_head
from fdetect_jax.types import Outputs


class Linear(nn.Module):
    """One convolution, mean over positions, two logits."""

    @nn.compact
    def __call__(self, images):
        maps = nn.Conv(5, (3, 3), name="conv")(images)
        logits = nn.Dense(2, name="fc")(maps.mean(axis=(1, 2)))
        return Outputs(logits, {"features/early": images, "features/last": maps})


class Attentive(nn.Module):
    @nn.compact
    def __call__(self, images):
        logits = nn.Dense(2)(images.mean(axis=(1, 2)))
        return Outputs(logits, {"attention": images[..., :1] * 2, "features/last": images})


class Both(nn.Module):
    @nn.compact
    def __call__(self, images):
        logits = nn.Dense(2)(images.mean(axis=(1, 2)))
        return Outputs(logits, {"attention": images[..., 1:2], "mask": 8 * images[..., :1] - 4})


class Localising(nn.Module):
    """Of images or of clips."""

    @nn.compact
    def __call__(self, images):
        logits = nn.Dense(2)(images.mean(axis=tuple(range(1, images.ndim - 1))))
        return Outputs(logits, {"mask": 8 * images[..., :1] - 4, "features/last": images})


IMAGES = np.random.default_rng(0).random((3, 6, 6, 3), np.float32)


def started(module):
    return module.init(jax.random.key(0), IMAGES)


def test_grad_cam_of_a_linear_network_is_its_weights_on_its_maps():
    module = Linear()
    variables = started(module)
    found = jax.jit(lambda v, x: grad_cam(module.apply, v, x))(variables, IMAGES)
    maps = module.apply(variables, IMAGES).heads["features/last"]
    kernel = variables["params"]["fc"]["kernel"]
    wanted = np.maximum(np.asarray(maps @ (kernel[:, 1] - kernel[:, 0])), 0)
    assert wanted.max(axis=(1, 2)).min() > 0
    np.testing.assert_allclose(found, wanted / wanted.max(axis=(1, 2), keepdims=True), atol=1e-5)


def test_nothing_that_speaks_for_fake_gives_zeros():
    module = Linear()
    variables = started(module)
    variables["params"]["fc"]["kernel"] = jnp.zeros((5, 2))
    np.testing.assert_array_equal(grad_cam(module.apply, variables, IMAGES), np.zeros((3, 6, 6)))


def test_images_do_not_see_each_other():
    module = Linear()
    variables = started(module)
    whole = grad_cam(module.apply, variables, IMAGES)
    alone = grad_cam(module.apply, variables, IMAGES[1:2])
    np.testing.assert_allclose(whole[1:2], alone, atol=1e-6)


def test_what_it_takes_for_altered_comes_first():
    for module in (Both(), Localising()):
        found = heat(module.apply, started(module), IMAGES)
        np.testing.assert_allclose(found, 1 / (1 + np.exp(4 - 8 * IMAGES[..., 0])), rtol=1e-5)
        assert map_head(module.apply, started(module), IMAGES) == "mask"


def test_then_its_own_attention():
    module = Attentive()
    found = heat(module.apply, started(module), IMAGES)
    np.testing.assert_allclose(found, np.minimum(IMAGES[..., 0] * 2, 1), rtol=1e-6)
    assert map_head(module.apply, started(module), IMAGES) == "attention"
    assert map_head(Linear().apply, started(Linear()), IMAGES) is None


class Flat(nn.Module):
    @nn.compact
    def __call__(self, images):
        logits = nn.Dense(2)(images.mean(axis=tuple(range(1, images.ndim - 1))))
        return Outputs(logits, {"attention": images.mean(axis=1)[..., :1]} if images.ndim == 5 else {})


def test_a_detector_without_maps_is_refused():
    with pytest.raises(UserError, match="no feature map"):
        heat(Flat().apply, started(Flat()), IMAGES)


def test_clips_have_a_map_for_each_frame_or_none():
    clips = np.stack([IMAGES, IMAGES[::-1]], axis=1)
    variables = Localising().init(jax.random.key(0), clips)
    assert heat(Localising().apply, variables, clips).shape == (3, 2, 6, 6)
    with pytest.raises(UserError, match="detector of clips has no head"):
        heat(Flat().apply, Flat().init(jax.random.key(0), clips), clips)
