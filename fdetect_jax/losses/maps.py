"""Terms for a map of where a face was altered: ``(outputs, batch) -> (B,)``.

Source: Dang et al. 2020 (arXiv 1910.01717) and the authors' code. All read the head "map", (B, h, w, 1) without bounds.
With neither term the map learns from the classification alone, which the paper calls unsupervised.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax.fields import one_of
from fdetect_jax.types import FAKE, REAL, Batch, Outputs, to_unit

TRUTHS = ("mask", "difference")
_GREY = (0.299, 0.587, 0.114)
_CHANGED = 0.1  # a pixel has been altered where the grey difference is larger
_PEAK = 0.75  # the map's wanted maximum on a fake


def supervised_map(outputs: Outputs, batch: Batch, truth: str = "mask") -> jax.Array:
    """Mean over the map of |M − ground truth|, per row (L1, the authors' code); 0 where the truth is unknown.

    Ground truth of a real face is 0 everywhere. truth: of a fake, "mask", the target, averaged over the cells of the
    map (bilinear with antialiasing, as the code resizes mask files); or "difference", the paper's: 1 where its grey
    difference from its own real face in the batch is above 0.1. A fake that is no counterpart of a real face has its
    mask there, too.
    """
    found = outputs.heads["map"][..., 0].astype(jnp.float32)
    wanted, known = batch.targets["mask"].astype(jnp.float32), batch.targets["valid"]
    if truth == "difference":
        changed, paired = _changed(batch)
        wanted = jnp.where(paired[:, None, None], changed, wanted)
        known = jnp.where(paired, 1.0, known)
    wanted = jnp.where((batch.label == FAKE)[:, None, None], wanted, 0.0)
    wanted = jax.image.resize(wanted, found.shape, "linear")
    return known * jnp.mean(jnp.abs(found - wanted), axis=(1, 2))


def _changed(batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Where a row differs from the real row of its pair, (B, H, W) in {0, 1}; and whether there is one, (B,)."""
    pair = batch.targets["pair"]
    match = (pair[:, None] == pair[None]) & (pair >= 0)[:, None] & (batch.label == REAL)[None]
    images = to_unit(batch.image)
    source = images[jnp.argmax(match, axis=1)]
    grey = jnp.einsum("bhwc,c->bhw", jnp.abs(images - source), jnp.asarray(_GREY, jnp.float32))
    return (grey > _CHANGED).astype(jnp.float32), match.any(axis=1)


def weak_map(outputs: Outputs, batch: Batch, squash: bool = True) -> jax.Array:
    """Weak supervision, without ground truth, per row (the paper's; the code has none).

    With S = sigmoid(M): the mean over the map of S for a real face, |max S − 0.75| for a fake. squash: False takes
    S = M, for a map that lies in (0, 1) already, as the attention "reg" gives it.
    """
    found = outputs.heads["map"][..., 0].astype(jnp.float32)
    found = jax.nn.sigmoid(found) if squash else found
    real, fake = jnp.mean(jnp.abs(found), axis=(1, 2)), jnp.abs(jnp.max(found, axis=(1, 2)) - _PEAK)
    return jnp.where(batch.label == FAKE, fake, real)


def check_supervised_map(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError for a truth that is none."""
    one_of(options, "truth", TRUTHS, path)


def check_weak_map(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError unless ``squash`` is a truth value."""
    one_of(options, "squash", (True, False), path)
