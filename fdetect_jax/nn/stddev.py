"""How much the members of a batch differ, as a channel that a discriminator sees. Source: arXiv 1710.10196."""

import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError


def minibatch_stddev(x: jax.Array, group_size: int) -> jax.Array:
    """Appends one channel: the standard deviation within groups of the batch, averaged over the image.

    Members of a group are n, n + N/G, n + 2N/G, … as in the original. x: (N, H, W, C); N divisible by
    min(group_size, N), else UserError.
    """
    n, h, w, c = x.shape
    group = min(group_size, n)
    if n % group:
        raise UserError(f"discriminator batch: found {n} images, wanted a multiple of the group size {group}")
    y = x.astype(jnp.float32).reshape(group, n // group, h, w, c)
    y = jnp.sqrt(jnp.var(y, axis=0) + 1e-8).mean(axis=(1, 2, 3))
    y = jnp.tile(y, group)[:, None, None, None]
    return jnp.concatenate([x, jnp.broadcast_to(y, (n, h, w, 1)).astype(x.dtype)], axis=-1)
