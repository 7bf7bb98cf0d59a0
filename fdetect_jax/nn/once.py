"""``jit`` for functions that run once: compiled in a quarter of the time, not optimised."""

import functools
from collections.abc import Callable
from typing import Any

import jax


@functools.cache
def _options() -> dict[str, bool | int]:
    options = {"xla_backend_optimization_level": 0, "xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:  # not every version has the second option
        options.popitem()
    return options


def jit_once(function: Callable, **options: Any) -> Callable:
    """``jax.jit`` without optimisation, for example for initial variables. options: of ``jax.jit``."""
    return jax.jit(function, compiler_options=_options(), **options)
