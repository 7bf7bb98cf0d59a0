"""A small detector's weights as a file, and a folder of drawn faces, for tests that evaluate one."""

import functools
import json
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.facesim.faces import FaceSim
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


def draw_faces(root: Path, count: int) -> None:
    """Faces of so many people, half of them darkened as fakes, and an image without a face."""
    source = FaceSim(split="test", size=128, identities=count, per_identity=1)
    for number in range(count):
        image = source[number]["image"][..., ::-1]
        folder = root / ("fake/dark" if number % 2 else "real")
        folder.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(folder / f"{number}.png"), image // 2 if number % 2 else image)
    cv2.imwrite(str(root / "real" / "blank.png"), np.full((128, 128, 3), 120, np.uint8))
