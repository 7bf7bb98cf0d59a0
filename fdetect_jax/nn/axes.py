"""Explicit broadcasting: the tests refuse an operation on two arrays with different numbers of axes."""

import jax
import jax.numpy as jnp


def per_channel(values: jax.Array, like: jax.Array) -> jax.Array:
    """Values of the last axis, (C,) -> (1, …, 1, C), with as many axes as ``like`` (…, C)."""
    return jnp.reshape(values, (1,) * (like.ndim - 1) + (-1,))
