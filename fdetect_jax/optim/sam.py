"""Sharpness-aware minimisation as an optax transform. Source: Foret et al. 2021 (arXiv 2010.01412)."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax


class SAMState(NamedTuple):
    """State of the base optimiser. The perturbation lasts for one update and is not kept."""

    base: optax.OptState


def perturbation(gradient: Any, params: Any, rho: float, adaptive: bool = False) -> Any:
    """ρ·g/‖g‖ with one norm over all parameters (ASAM: ρ·p²g/‖|p|g‖). A zero gradient gives zero."""
    if adaptive:
        norm = optax.tree.norm(jax.tree.map(lambda p, g: jnp.abs(p) * g, params, gradient))
        gradient = jax.tree.map(lambda p, g: jnp.square(p) * g, params, gradient)
    else:
        norm = optax.tree.norm(gradient)
    return jax.tree.map(lambda g: g * (rho / (norm + 1e-12)), gradient)


def sam(
    base: optax.GradientTransformation, rho: float = 0.05, adaptive: bool = False
) -> optax.GradientTransformationExtraArgs:
    """Wraps any optax optimiser so that it follows the gradient at w + ρ·g/‖g‖.

    Args:
      base: the optimiser that makes the step, from the second gradient and the unperturbed parameters.
      rho: radius of the perturbation; 0 uses only the base, without a second gradient.
      adaptive: ASAM's scaling by |w|.

    Returns:
      A transform whose ``update(gradient, state, params, grad_fn=…)`` calls ``grad_fn(perturbed_params) -> gradient``
      once. Only ``grad_fn`` sees perturbed parameters.

    Example:
      >>> tx = sam(optax.sgd(0.1, momentum=0.9), rho=0.05)
      >>> updates, state = tx.update(grads, state, params, grad_fn=jax.grad(loss))
    """
    base = optax.with_extra_args_support(base)
    if not rho:
        return base

    def init_fn(params: Any) -> SAMState:
        return SAMState(base.init(params))

    def update_fn(
        updates: Any, state: SAMState, params: Any = None, *, grad_fn: Callable[[Any], Any], **extra: Any
    ) -> tuple[Any, SAMState]:
        if params is None:
            raise ValueError("sam: found no params, wanted the parameters that the gradient was taken at")
        offset = perturbation(updates, params, rho, adaptive)
        second = grad_fn(optax.apply_updates(params, offset))
        updates, inner = base.update(second, state.base, params, **extra)
        return updates, SAMState(inner)

    return optax.GradientTransformationExtraArgs(init_fn, update_fn)
