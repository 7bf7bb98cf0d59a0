"""The machine's peaks, measured in JAX: matrix multiplication in FLOP/s, copying in bytes/s."""

import time

import jax
import jax.numpy as jnp


def measure(dtype: str = "float32") -> dict[str, float]:
    """{"flops_per_s", "bytes_per_s"}: the best of several tries of a square product and of x + 1 on a large array."""
    on_cpu = jax.default_backend() == "cpu"
    side, length = (2048, 2**26) if on_cpu else (8192, 2**30)
    x = jnp.ones((side, side), dtype)
    flops = 2 * side**3 / _best(jax.jit(lambda x: x @ x), x)
    y = jnp.ones(length, dtype)
    moved = 2 * y.size * y.dtype.itemsize
    return {"flops_per_s": flops, "bytes_per_s": moved / _best(jax.jit(lambda y: y + 1), y)}


def _best(function, argument: jax.Array, tries: int = 8) -> float:
    jax.block_until_ready(function(argument))
    seconds = []
    for _ in range(tries):
        start = time.perf_counter()
        jax.block_until_ready(function(argument))
        seconds.append(time.perf_counter() - start)
    return min(seconds)
