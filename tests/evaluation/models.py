"""A small detector's weights as a file, for tests that evaluate one."""

import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.faces.crop import RECIPES
from tests import tiny
from tests.small import DETECTOR

RECIPE = RECIPES["aligned64"]
_NAME = "efficientnet_small64"


@functools.cache
def _variables():
    module = make_detector(_NAME, DETECTOR)
    return tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, 64, 64, 3))))


def save(path: Path) -> Path:
    """Weights drawn at random, for crops of ``RECIPE``."""
    notes = {"recipe": json.dumps(RECIPE.to_dict()), "size": "64", "source": "0123"}
    weights.save(path, "detector", {"name": _NAME, "overrides": DETECTOR}, _variables(), **notes)
    return path
