"""Projected gradient ascent as one ``lax.scan``. Source: Kang et al. 2019 (arXiv 1908.08016) and Algorithm 1."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fdetect_jax.forgery.projection import NORMS, project, random_in_ball, row_norm

GRADIENTS = ("normalized", "raw")


@dataclasses.dataclass(frozen=True)
class Attack:
    """How to climb.

    epsilon: radius of the ball. steps: s of the paper. step_size: η; 0 means ε/√s. norm: "l2" or "linf".
    gradient: "normalized" (g/‖g‖; the sign under L∞) or "raw" (the paper's formula, δ + η·g).
    random_start: uniform in the ball, or zero.
    """

    epsilon: float = 4.0
    steps: int = 10
    step_size: float = 0.0
    norm: str = "l2"
    gradient: str = "normalized"
    random_start: bool = True

    def __post_init__(self):
        if self.epsilon <= 0:
            raise ValueError(f"forgery.attack.epsilon: found {self.epsilon}, wanted a number > 0")
        if self.steps < 1:
            raise ValueError(f"forgery.attack.steps: found {self.steps}, wanted at least 1")
        if self.step_size < 0:
            raise ValueError(
                f"forgery.attack.step_size: found {self.step_size}, wanted >= 0 (0 means epsilon/sqrt(steps))"
            )
        for name, allowed in (("norm", NORMS), ("gradient", GRADIENTS)):
            if getattr(self, name) not in allowed:
                raise ValueError(f"forgery.attack.{name}: found {getattr(self, name)!r}, wanted one of {allowed}")

    @property
    def eta(self) -> float:
        return self.step_size or self.epsilon / math.sqrt(self.steps)


def ascend(
    objective: Callable[[jax.Array], jax.Array], keys: jax.Array, shape: tuple[int, ...], attack: Attack
) -> jax.Array:
    """Looks for the offset inside the ball that makes ``objective`` large, each row for itself.

    Args:
      objective: (B, *shape) float32 offsets -> (B,) values; row i may depend on offset i alone.
      keys: (B,) keys of the random starts. shape: of one offset. attack: how.

    Returns:
      (B, *shape) float32, inside the ball.
    """
    gradient_of = jax.grad(lambda delta: jnp.sum(objective(delta).astype(jnp.float32)))

    def climb(delta: jax.Array, _: None) -> tuple[jax.Array, None]:
        g = gradient_of(delta).astype(jnp.float32)
        if attack.gradient == "normalized":
            g = jnp.sign(g) if attack.norm == "linf" else g / (row_norm(g) + 1e-8)
        return project(delta + attack.eta * g, attack.epsilon, attack.norm), None

    if attack.random_start:
        start = random_in_ball(keys, shape, attack.epsilon, attack.norm)
    else:
        start = jnp.zeros((keys.shape[0], *shape))
    delta, _ = jax.lax.scan(climb, start, None, length=attack.steps)
    return jax.lax.stop_gradient(delta)
