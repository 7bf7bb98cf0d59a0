"""Projected gradient ascent as one ``lax.scan``. Source: Kang et al. 2019 (arXiv 1908.08016) and Algorithm 1."""

import dataclasses
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp

from fdetect_jax.errors import UserError
from fdetect_jax.forgery.projection import NORMS, project, random_in_ball, row_norm

GRADIENTS = ("normalized", "raw")


@dataclasses.dataclass(frozen=True)
class Attack:
    """The options of an attack.

    epsilon: radius of the ball. steps: s in the paper. step_size: η; 0 means ε/√s. norm: "l2" or "linf".
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
            raise UserError(f"epsilon: found {self.epsilon}, wanted a number > 0")
        if self.steps < 1:
            raise UserError(f"steps: found {self.steps}, wanted at least 1")
        if self.step_size < 0:
            raise UserError(f"step_size: found {self.step_size}, wanted >= 0 (0 means epsilon/sqrt(steps))")
        for name, allowed in (("norm", NORMS), ("gradient", GRADIENTS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"{name}: found {getattr(self, name)!r}, wanted one of {allowed}")

    @property
    def eta(self) -> float:
        return self.step_size or self.epsilon / math.sqrt(self.steps)


def ascend(
    objective: Callable[[jax.Array], jax.Array], keys: jax.Array, shape: tuple[int, ...], attack: Attack
) -> jax.Array:
    """Maximises ``objective`` over offsets inside the ball, each row independently.

    Args:
      objective: (B, *shape) float32 offsets -> (B,) values; row i may depend only on offset i.
      keys: (B,) keys of the random starts. shape: of one offset. attack: the options.

    Returns:
      (B, *shape) float32, inside the ball.
    """
    climb = _climb(objective, attack)
    delta, _ = jax.lax.scan(lambda delta, _: (climb(delta), None), _start(keys, shape, attack), None, attack.steps)
    return jax.lax.stop_gradient(delta)


def trajectory(
    objective: Callable[[jax.Array], jax.Array], keys: jax.Array, shape: tuple[int, ...], attack: Attack
) -> jax.Array:
    """The steps of ``ascend`` with the same arguments: (steps + 1, B, *shape), from the start to the result."""
    climb, start = _climb(objective, attack), _start(keys, shape, attack)
    _, deltas = jax.lax.scan(lambda delta, _: (climb(delta),) * 2, start, None, attack.steps)
    return jax.lax.stop_gradient(jnp.concatenate([start[None], deltas]))


def _start(keys: jax.Array, shape: tuple[int, ...], attack: Attack) -> jax.Array:
    if attack.random_start:
        return random_in_ball(keys, shape, attack.epsilon, attack.norm)
    return jnp.zeros((keys.shape[0], *shape))


def _climb(objective: Callable[[jax.Array], jax.Array], attack: Attack) -> Callable[[jax.Array], jax.Array]:
    """One step, from offset to offset."""
    gradient_of = jax.grad(lambda delta: jnp.sum(objective(delta).astype(jnp.float32)))

    def climb(delta: jax.Array) -> jax.Array:
        g = gradient_of(delta).astype(jnp.float32)
        if attack.gradient == "normalized":
            g = jnp.sign(g) if attack.norm == "linf" else g / (row_norm(g) + 1e-8)
        return project(delta + attack.eta * g, attack.epsilon, attack.norm)

    return climb
