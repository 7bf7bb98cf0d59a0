"""How far embeddings lie from the known ones. In: heads and what the weights know. Out: one number a row."""

from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError
from fdetect_jax.inference.familiar import COLLECTION


def strangeness(known: Mapping[str, Any] | None, heads: Mapping[str, jax.Array], rows: int) -> jax.Array:
    """(B,) residual of each row's embedding, as a share of the limit; NaN where nothing is known.

    known: ``COLLECTION`` of a weights file. heads: of its detector, with ``embedding`` (B, D). rows: B.

    Raises:
      UserError: arrays of other shapes, or no embedding.
    """
    if known is None:
        return jnp.full((rows,), jnp.nan)
    embedding = heads.get("embedding")
    shapes = {name: getattr(known.get(name), "shape", None) for name in ("mean", "basis", "limit")}
    wide = None if embedding is None else embedding.shape[-1:]
    if wide is None or shapes["mean"] != wide or shapes["limit"] != () or (shapes["basis"] or ())[:1] != wide:
        raise UserError(f"{COLLECTION}: found arrays {shapes}, wanted those of an embedding of shape {wide}")
    away = embedding.astype(jnp.float32) - known["mean"][None]
    rest = away - (away @ known["basis"]) @ known["basis"].T
    return jnp.linalg.norm(rest, axis=-1) / known["limit"]
