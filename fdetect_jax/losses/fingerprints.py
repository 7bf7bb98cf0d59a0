"""The terms of explicit GAN fingerprints: what the autoencoder R is trained by beside the classification.

Source: Yu, Davis and Fritz (ICCV 2019, arXiv 1811.08180), equations 4 to 6, and the authors' code. Their loss is
cross-entropy + 20 · ``reconstruction_l1`` + 0.1 · the adversarial loss of R; here ``critic`` with weight 0.1.
"""

import jax
import jax.numpy as jnp

from fdetect_jax.types import Batch, Outputs, to_unit

_PENALTY, _DRIFT = 10.0, 0.001  # of the gradient's norm, and of scores of real faces


def reconstruction_l1(outputs: Outputs, batch: Batch) -> jax.Array:
    """mean |R(x) − x| over pixels and channels of images in [-1, 1], per row."""
    distance = jnp.abs(outputs.heads["reconstruction"].astype(jnp.float32) - to_unit(batch.image))
    return 2 * jnp.mean(distance, axis=(1, 2, 3))


def critic(outputs: Outputs, batch: Batch) -> jax.Array:
    """The loss of the discriminator D, per row: D(R(x)) − D(x) + 10 (‖∇D‖ − 1)² + 0.001 D(x)² (WGAN-GP).

    The detector reverses the gradient that R receives from D(R(x)). So this one term trains both players: with weight
    w, R is trained by −w · D(R(x)), as in the authors' code with w = 0.1, and D by w times its loss, which Adam's steps
    do not depend on. The authors let D and R take turns; here both move in the same step.
    """
    real, made, slope = (outputs.heads[f"critic/{name}"] for name in ("real", "reconstruction", "slope"))
    return made - real + _PENALTY * jnp.square(slope - 1) + _DRIFT * jnp.square(real)
