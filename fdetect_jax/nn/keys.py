"""Random keys by purpose: every draw folds its own name into the key, so that no two draws share a key."""

import zlib

import jax


def purpose(key: jax.Array, name: str) -> jax.Array:
    """The key for the draw ``name``. key: one typed key. Different names give independent keys."""
    return jax.random.fold_in(key, zlib.crc32(name.encode()))


def purposes(keys: jax.Array, name: str) -> jax.Array:
    """``purpose`` of every key, (B,) -> (B,)."""
    return jax.vmap(lambda key: purpose(key, name))(keys)
