"""The type of numbers that a detector computes in, by what the devices do natively."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp


def native_dtype(devices: Sequence[jax.Device]) -> jnp.dtype:
    """bfloat16 where every device computes in it natively: TPUs, and NVIDIA GPUs from compute capability 8.0 on.

    float32 on everything else: a CPU emulates bfloat16.
    """
    return jnp.dtype(jnp.bfloat16 if all(map(_has_bfloat16, devices)) else jnp.float32)


def _has_bfloat16(device: jax.Device) -> bool:
    if device.platform == "tpu":
        return True
    capability = str(getattr(device, "compute_capability", ""))  # "9.0"; AMD's is a name such as "gfx90a"
    major = capability.partition(".")[0]
    return device.platform in ("gpu", "cuda") and major.isdecimal() and int(major) >= 8
