"""``jit`` for what runs once: compiled in a quarter of the time, not optimised."""

import functools
from collections.abc import Callable

import jax


@functools.cache
def _options() -> dict[str, bool | int]:
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:  # the second is not known to every version
        options.popitem()
    return options


def jit_once(function: Callable) -> Callable:
    """``jax.jit`` without optimisation, for initial variables and the like."""
    return jax.jit(function, compiler_options=_options())
