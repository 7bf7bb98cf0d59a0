"""Lazy regularisation: a term is computed, and changes the parameters, only every few steps."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def is_due(step: jax.Array, interval: int) -> jax.Array:
    """True on every ``interval``-th step, on all steps for 1."""
    return (step + 1) % interval == 0


def lazy_value_and_grad(
    step: jax.Array, interval: int, loss: Callable, params: Any, *rest: Any, otherwise: Any = None
) -> tuple[Any, Any]:
    """``jax.value_and_grad(loss)(params, *rest)`` every ``interval`` steps, zeros on the other steps.

    If ``otherwise`` is passed, ``loss`` returns (value, aux), and ``otherwise`` replaces aux on the other steps.
    """
    has_aux = otherwise is not None

    def skip(params, *_):
        zero = jnp.zeros(())
        return (zero, otherwise) if has_aux else zero, jax.tree.map(jnp.zeros_like, params)

    return jax.lax.cond(is_due(step, interval), jax.value_and_grad(loss, has_aux=has_aux), skip, params, *rest)


def lazy_select(due: jax.Array, new: Any, old: Any) -> Any:
    """``new`` where an update is due, ``old`` elsewhere, because Adam would move even on a gradient of zeros."""
    return jax.tree.map(lambda a, b: jnp.where(due, a, b), new, old)
