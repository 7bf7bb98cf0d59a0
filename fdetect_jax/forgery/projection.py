"""Balls around zero: projection, and a random point inside. Rows are independent; norms run over the other axes."""

import jax
import jax.numpy as jnp

from fdetect_jax.nn.keys import purpose

NORMS = ("l2", "linf")


def row_norm(x: jax.Array) -> jax.Array:
    """L2 norm of each row of (B, …), shaped (B, 1, …) to broadcast."""
    return jnp.sqrt(jnp.sum(jnp.square(x), axis=tuple(range(1, x.ndim)), keepdims=True))


def project_l2(x: jax.Array, epsilon: float) -> jax.Array:
    """The nearest point of the L2 ball: x · min(1, ε/‖x‖). Zero stays zero."""
    outside = row_norm(x) > epsilon
    # Rows inside the ball get a constant under the root: its gradient at zero is infinite, and 0 times infinity is NaN.
    return x * jnp.where(outside, epsilon / row_norm(jnp.where(outside, x, 1.0)), 1.0)


def project_linf(x: jax.Array, epsilon: float) -> jax.Array:
    """The nearest point of the L∞ ball: every entry clipped to [−ε, ε]."""
    return jnp.clip(x, -epsilon, epsilon)


def project(x: jax.Array, epsilon: float, norm: str) -> jax.Array:
    """Projection onto the ball of ``norm`` ("l2" or "linf")."""
    return project_l2(x, epsilon) if norm == "l2" else project_linf(x, epsilon)


def radius(x: jax.Array, norm: str) -> jax.Array:
    """The norm of each row, (B,)."""
    if norm == "l2":
        return row_norm(x).reshape(x.shape[0])
    return jnp.max(jnp.abs(x.reshape(x.shape[0], -1)), axis=1)


def random_in_ball(keys: jax.Array, shape: tuple[int, ...], epsilon: float, norm: str) -> jax.Array:
    """A uniform point of the ball per key: (B,) keys -> (B, *shape). Source: Kang et al. 2019."""

    def draw(key: jax.Array) -> jax.Array:
        if norm == "linf":
            return jax.random.uniform(key, shape, minval=-epsilon, maxval=epsilon)
        direction, length = purpose(key, "direction"), purpose(key, "length")
        x = jax.random.normal(direction, shape)
        x = x / jnp.sqrt(jnp.sum(jnp.square(x)))
        return epsilon * jax.random.uniform(length) ** (1.0 / x.size) * x

    return jax.vmap(draw)(keys)
