"""A detector of clips, and one of six kinds, for tests: small, with weights drawn at random."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax import weights
from fdetect_jax.detectors import DETECTORS, Detector
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.types import Outputs, to_unit
from tests import tiny

RECIPE = RECIPES["aligned64"]
FRAMES = 3


class Moments(nn.Module):
    """Logits from the colours of an image or, in order of time, of a clip; a mask that is the first channel."""

    classes: int
    dtype: jnp.dtype
    mask: bool = True

    @nn.compact
    def __call__(self, images, train=False):
        images = to_unit(images)
        colours = images.mean(axis=(-3, -2)).reshape(len(images), -1)
        logits = nn.Dense(self.classes, dtype=self.dtype, name="fc")(colours).astype(jnp.float32)
        return Outputs(logits, {"mask": images[..., ::16, ::16, :1]} if self.mask else {})


def register(monkeypatch, name: str = "moments", classes: int = 2, unit: str = "clip", mask: bool = True) -> None:
    """Registers ``Moments`` for one test."""
    detector = Detector(lambda overrides, axis, dtype: Moments(classes, dtype, mask), unit)
    monkeypatch.setitem(DETECTORS, name, detector)


def save(path: Path, name: str = "moments", **notes: str) -> Path:
    """Weights of a registered ``Moments``."""
    unit = DETECTORS[name].unit
    module = DETECTORS[name].build({}, None, jnp.float32)
    row = (64, 64, 3) if unit == "face" else (FRAMES, 64, 64, 3)
    variables = tiny.drawn(jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, *row))))
    notes = {"recipe": json.dumps(RECIPE.to_dict()), "size": "64", "frames": str(FRAMES)} | notes
    weights.save(path, "detector", {"name": name, "overrides": {}}, variables, **notes)
    return path
