"""Terms of ClassNSeg's loss: activation, segmentation and reconstruction, per row: ``(outputs, batch) -> (B,)``.

Source: Nguyen et al. 2019 (arXiv 1906.06876, equations 2 to 5) and the authors' code, which weights all three by 1.
The last two serve any detector with a head ``mask`` or ``reconstruction``.
"""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax.detectors.layers import NORMALIZATIONS
from fdetect_jax.fields import one_of
from fdetect_jax.nn.axes import per_channel
from fdetect_jax.types import FAKE, REAL, Batch, Outputs, to_unit

FORMS = ("double_softmax", "cross_entropy")


def activation(outputs: Outputs, batch: Batch) -> jax.Array:
    """|a_real − (1 − y)| + |a_fake − y|: the half of the face's own class is to be active with mean 1, the other 0."""
    found = outputs.heads["activations"].astype(jnp.float32)
    fake = batch.label.astype(jnp.float32)
    return jnp.abs(found[:, REAL] - (1.0 - fake)) + jnp.abs(found[:, FAKE] - fake)


def segmentation(outputs: Outputs, batch: Batch, form: str = "double_softmax") -> jax.Array:
    """Cross-entropy of the mask, averaged over its pixels; 0 for rows whose mask is not known.

    The true mask is brought to the head's size by linear interpolation; a pixel is altered from 0.5 on.

    Args:
      form: ``double_softmax``, of the authors' code: a softmax gives the probabilities, and the cross-entropy takes
        these for logits, so that it lies between 0.31 and 1.31; ``cross_entropy``, of the paper.
    """
    logits = outputs.heads["mask"][..., 0].astype(jnp.float32)
    wanted = jax.image.resize(batch.targets["mask"].astype(jnp.float32), logits.shape, "linear") >= 0.5
    towards = jnp.where(wanted, logits, -logits)  # the true class's logit less the other's
    if form == "double_softmax":
        towards = 2 * jax.nn.sigmoid(towards) - 1
    loss = jax.nn.softplus(-towards)
    return batch.targets["valid"] * loss.mean(axis=tuple(range(1, loss.ndim)))


def reconstruction(outputs: Outputs, batch: Batch, normalization: str = "imagenet") -> jax.Array:
    """Mean squared distance of the reconstruction from the image, both normalised.

    normalization: of ``NORMALIZATIONS``; the authors' is "imagenet", "none" compares colours in [0, 1].
    """
    found = outputs.heads["reconstruction"].astype(jnp.float32)
    deviation = per_channel(jnp.asarray(NORMALIZATIONS[normalization][1]), found)
    squared = jnp.square((found - to_unit(batch.image)) / deviation)
    return squared.mean(axis=tuple(range(1, squared.ndim)))


def check_segmentation(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError for an option of ``segmentation`` that is out of range."""
    one_of(options, "form", FORMS, path)


def check_reconstruction(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError for an option of ``reconstruction`` that is out of range."""
    one_of(options, "normalization", NORMALIZATIONS, path)
