"""Objectives of a GAN: non-saturating loss, R1 and path length. Source: StyleGAN2 (arXiv 1912.04958)."""

from collections.abc import Callable

import jax
import jax.numpy as jnp


def generator_loss(fake_logits: jax.Array) -> jax.Array:
    """Non-saturating: mean softplus(−D(G(z)))."""
    return jnp.mean(jax.nn.softplus(-fake_logits))


def discriminator_loss(fake_logits: jax.Array, real_logits: jax.Array) -> jax.Array:
    """mean softplus(D(G(z))) + mean softplus(−D(x))."""
    return jnp.mean(jax.nn.softplus(fake_logits)) + jnp.mean(jax.nn.softplus(-real_logits))


def r1_penalty(discriminate: Callable[[jax.Array], jax.Array], real: jax.Array) -> jax.Array:
    """Mean over images of the squared norm of ∂ΣD(x)/∂x; the caller multiplies by γ/2."""
    gradient = jax.grad(lambda image: jnp.sum(discriminate(image)))(real)
    return jnp.mean(jnp.sum(jnp.square(gradient), axis=(1, 2, 3)))


def path_lengths(synthesize: Callable[[jax.Array], jax.Array], ws: jax.Array, noise: jax.Array) -> jax.Array:
    """Change of the image with w, (B,): sqrt(mean over layers of ‖∂Σ(G(ws)·y)/∂ws‖²), y ~ N(0, I)/sqrt(HW).

    ws: (B, num_ws, w_dim). noise: N(0, 1) of the image's shape.
    """
    y = noise / jnp.sqrt(noise.shape[1] * noise.shape[2])
    jacobian = jax.grad(lambda ws: jnp.sum(synthesize(ws) * y))(ws)
    return jnp.sqrt(jnp.mean(jnp.sum(jnp.square(jacobian), axis=2), axis=1))


def lazy_adam(learning_rate: float, interval: int, b2: float = 0.99) -> dict[str, float]:
    """Adam's settings under lazy regularisation: scaled (rate) or raised to (betas) c = interval / (interval + 1)."""
    c = interval / (interval + 1) if interval else 1.0
    return {"learning_rate": learning_rate * c, "b1": 0.0, "b2": b2**c, "eps": 1e-8}
