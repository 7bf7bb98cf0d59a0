"""The batch-hard triplet loss of the embedding, (outputs, batch) -> (B,)."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax.fields import above, one_of
from fdetect_jax.types import Batch, Outputs


def triplet(outputs: Outputs, batch: Batch, margin: float = 0.8, squared: bool = False) -> jax.Array:
    """Each row is an anchor, whose farthest row of its label must lie nearer than its nearest row of another label.

    max(0, D(a, p) − D(a, n) + margin), with p and n the hardest of the device's rows (Hermans et al. 2017,
    arXiv 1703.07737; the code of DeepFD's coupled network, whose margin is 0.8). 0 for an anchor without a row of the
    other label; without another row of its own label D(a, p) is 0.

    Args:
      margin: above 0. squared: whether D is the squared distance.
    """
    f = outputs.heads["embedding"].astype(jnp.float32)
    distance = jnp.sum(jnp.square(f[:, None] - f[None]), axis=-1)
    if not squared:
        # The gradient of a root at zero is infinite: rows that coincide have the distance 0 and no gradient.
        apart = distance > 0
        distance = jnp.where(apart, jnp.sqrt(jnp.where(apart, distance, 1.0)), 0.0)
    others = (batch.weight[None] > 0) & ~jnp.eye(f.shape[0], dtype=bool)
    same = batch.label[:, None] == batch.label[None]
    farthest = jnp.max(jnp.where(same & others, distance, 0.0), axis=1)
    nearest = jnp.min(jnp.where(~same & others, distance, jnp.inf), axis=1)
    return jnp.maximum(farthest - nearest + margin, 0.0)


def check(options: Mapping[str, Any], path: str) -> None:
    """Raises UserError for an option that is out of range."""
    above(options, "margin", 0, path)
    one_of(options, "squared", (True, False), path)
