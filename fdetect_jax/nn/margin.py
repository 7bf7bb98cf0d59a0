"""Cosine classifiers and their angular margin. In: embeddings. Out: cosines; with labels, logits."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError

FORMS = ("true", "straight_through")
_EDGE = 1e-7  # cosines stay this far inside (-1, 1), since the derivative of the angle is infinite at the ends
_ROOT = 1e-12  # smallest value under the root of the sine


class CosineHead(nn.Module):
    """cos θ_j between an embedding and each class's weight, both normalised; no bias (ArcFace, arXiv 1801.07698).

    classes: their number. Parameter "kernel" (D, classes), float32, initialised from N(0, 0.01).
    """

    classes: int = 2

    @nn.compact
    def __call__(self, embedding: jax.Array) -> jax.Array:
        """(B, D) -> (B, classes) float32 in [-1, 1]."""
        kernel = self.param("kernel", nn.initializers.normal(0.01), (embedding.shape[-1], self.classes))
        return jnp.clip(_unit(embedding.astype(jnp.float32), -1) @ _unit(kernel, 0), -1.0, 1.0)


def _unit(x: jax.Array, axis: int) -> jax.Array:
    return x * jax.lax.rsqrt(jnp.sum(jnp.square(x), axis=axis, keepdims=True) + 1e-12)


def margin_logits(cosines: jax.Array, labels: jax.Array, margin: float, scale: float, form: str = "true") -> jax.Array:
    """ArcFace's logits: s·cos(θ_y + m) for the row's own class, s·cos θ_j for the others.

    For θ_y + m > π, where cos(θ_y + m) would rise again, the own class gets s·(cos θ_y − m·sin m) instead, which falls
    as θ_y grows. Source: ArcFace (arXiv 1801.07698) and its authors' code.

    Args:
      cosines: (B, K) cos θ. labels: (B,) int. margin: m, radians in [0, π). scale: s > 0.
      form: "true", the derivative of the above, finite at |cos θ| = 1; or "straight_through", the same values with the
        derivative of s·cos θ_y, as the authors' PyTorch code computes it.

    Returns:
      (B, K) float32.

    Raises:
      UserError: margin, scale or form out of range.
    """
    if not 0 <= margin < jnp.pi:
        raise UserError(f"margin: found {margin}, wanted radians in [0, π)")
    if not scale > 0:
        raise UserError(f"scale: found {scale}, wanted a number above 0")
    if form not in FORMS:
        raise UserError(f"form: found {form!r}, wanted one of {', '.join(FORMS)}")
    cosines = cosines.astype(jnp.float32)
    c = jnp.clip(cosines, -1 + _EDGE, 1 - _EDGE)
    sine = jnp.sqrt(jnp.maximum(1 - jnp.square(c), _ROOT))
    # cos(θ + m), until θ + m = π; cos(π − m) = −cos m.
    moved = jnp.where(c > -jnp.cos(margin), c * jnp.cos(margin) - sine * jnp.sin(margin), c - margin * jnp.sin(margin))
    if form == "straight_through":
        moved = cosines + jax.lax.stop_gradient(moved - cosines)
    own = jax.nn.one_hot(labels, cosines.shape[-1], dtype=bool)
    return scale * jnp.where(own, moved, cosines)
