"""Which devices score, in which type of numbers, and a function compiled for all of them."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXIS = "data"


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


class Placement:
    """A 1-D mesh over devices: weights are replicated on it, the rows of a batch split over it."""

    def __init__(self, devices: Sequence[jax.Device]):
        self.devices, self.count = tuple(devices), len(devices)
        self.mesh = Mesh(self.devices, (AXIS,), axis_types=(AxisType.Auto,))

    def replicate(self, tree: Any) -> Any:
        """Copies a pytree to every device."""
        return jax.device_put(tree, NamedSharding(self.mesh, PartitionSpec()))

    def split(self, rows: Any) -> jax.Array:
        """Splits (B, …) over the devices, B a multiple of their number."""
        return jax.device_put(rows, NamedSharding(self.mesh, PartitionSpec(AXIS)))

    def compile(self, function: Callable[[Any, jax.Array], Any]) -> Callable[[Any, jax.Array], Any]:
        """``function(variables, rows) -> pytree of rows``, each device for its share of the rows."""
        everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
        return jax.jit(
            jax.shard_map(function, mesh=self.mesh, in_specs=(everywhere, split), out_specs=split, check_vma=False)
        )
