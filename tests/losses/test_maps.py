"""Terms for maps of alteration against NumPy, and the ground truth against PIL."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from fdetect_jax.errors import UserError
from fdetect_jax.losses.maps import supervised_map, weak_map
from fdetect_jax.losses.terms import find_term
from fdetect_jax.types import FAKE, REAL, Batch, Outputs

RNG = np.random.default_rng(0)
MAPS = RNG.normal(0.5, 0.7, (4, 5, 5, 1)).astype(np.float32)
MASKS = RNG.random((4, 20, 20), np.float32)
IMAGES = RNG.random((4, 20, 20, 3), np.float32)
LABEL = np.array([REAL, REAL, FAKE, FAKE], np.int32)
OUTPUTS = Outputs(jnp.zeros((4, 2)), {"map": jnp.asarray(MAPS)})


def batch(pair=(0, 1, 0, 1), valid=(1, 1, 1, 1)):
    masks = np.where((LABEL == FAKE)[:, None, None], MASKS, 0)
    targets = {"mask": masks, "valid": np.float32(valid), "pair": np.int32(pair)}
    return Batch(IMAGES, LABEL, np.ones(4, np.float32), targets)


def small(mask):
    """Resized as the authors' data loader does, without its rounding to bytes."""
    return np.asarray(Image.fromarray(mask.astype(np.float32)).resize((5, 5), Image.Resampling.BILINEAR))


def test_supervised_by_the_mask():
    wanted = [np.abs(MAPS[i, ..., 0] - (small(MASKS[i]) if LABEL[i] == FAKE else 0)).mean() for i in range(4)]
    np.testing.assert_allclose(jax.jit(supervised_map)(OUTPUTS, batch()), wanted, rtol=1e-4)
    unknown = supervised_map(OUTPUTS, batch(valid=(1, 1, 0, 1)))
    np.testing.assert_allclose(unknown, [wanted[0], wanted[1], 0, wanted[3]], rtol=1e-4)


def test_supervised_by_the_difference():
    """Row 2 was made of face 1; row 3 is no counterpart, and has its mask."""
    found = supervised_map(OUTPUTS, batch((0, 1, 1, -1), (1, 1, 0, 1)), truth="difference")
    grey = np.abs(IMAGES[2] - IMAGES[1]) @ np.float32([0.299, 0.587, 0.114])
    truths = [np.zeros((5, 5)), np.zeros((5, 5)), small(grey > 0.1), small(MASKS[3])]
    wanted = [np.abs(MAPS[i, ..., 0] - truth).mean() for i, truth in enumerate(truths)]
    np.testing.assert_allclose(found, wanted, rtol=1e-4)
    bytes_ = batch((0, 1, 1, -1), (1, 1, 0, 1)).replace(image=np.round(255 * IMAGES).astype(np.uint8))
    np.testing.assert_allclose(supervised_map(OUTPUTS, bytes_, truth="difference"), wanted, atol=0.01)


@pytest.mark.parametrize("squash", [True, False])
def test_weak(squash):
    maps = 1 / (1 + np.exp(-MAPS)) if squash else MAPS
    wanted = [np.abs(maps[i]).mean() if LABEL[i] == REAL else abs(maps[i].max() - 0.75) for i in range(4)]
    np.testing.assert_allclose(weak_map(OUTPUTS, batch(), squash=squash), wanted, rtol=1e-5)


@pytest.mark.parametrize(("name", "field", "value"), [("map", "truth", "face"), ("weak_map", "squash", "yes")])
def test_wrong_options_are_named(name, field, value):
    with pytest.raises(UserError, match=rf"losses\.{name}\.{field}: found '{value}'"):
        find_term(name).check({field: value}, f"losses.{name}")
