"""Data parallelism: the mesh, and pure functions compiled for all its devices. The only file that maps over devices.

A training step runs under ``jax.shard_map`` over one axis, ``data``, with ``check_vma=False``: every device gets its
share of the batch and the whole state, and the step averages gradients itself (``mean``). ``jax.pmap`` does the same
since JAX 0.8; the same code runs on one device and on a pod.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fdetect_jax.errors import UserError

AXIS = "data"


def make_mesh(devices: int | Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """A 1-D mesh over these devices, over the first of them (a number), or over all (None)."""
    chosen = jax.devices()[:devices] if devices is None or isinstance(devices, int) else list(devices)
    return jax.make_mesh((len(chosen),), (AXIS,), axis_types=(AxisType.Auto,), devices=chosen)


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding in which every device holds its share of the rows."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def compile_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """``step(state, batch, frozen) -> (state, metrics)`` for every device at once; the state is donated."""
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def averaged(state, batch, frozen):
        state, metrics = step(state, batch, frozen)
        return state, mean(metrics)

    mapped = jax.shard_map(
        averaged, mesh=mesh, in_specs=(everywhere, split, everywhere), out_specs=everywhere, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0)


def compile_rows(function: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Compiles ``function(variables, batch) -> rows`` with the rows split over the devices of the mesh."""
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(everywhere, split), out_specs=split, check_vma=False))


def compile_eval(function: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """As ``compile_rows``, but every process gets the rows of all."""
    mapped = compile_rows(function, mesh)
    if jax.process_count() == 1:
        return mapped
    return lambda variables, batch: multihost_utils.process_allgather(mapped(variables, batch), tiled=True)


def mean(tree: Any) -> Any:
    """The mean over devices, inside a step."""
    return jax.lax.pmean(tree, AXIS)


def rows(count: int) -> jax.Array:
    """The rows of the global batch that this device holds, (count,), inside a step."""
    return jax.lax.axis_index(AXIS) * count + jnp.arange(count)


def row_keys(rng: jax.Array, count: int) -> jax.Array:
    """One key per row of this device's share, independent of the number of devices."""
    return jax.vmap(lambda row: jax.random.fold_in(rng, row))(rows(count))


def normal_rows(rng: jax.Array, count: int, *shape: int) -> jax.Array:
    """(count, *shape) of N(0, 1), the same rows for any number of devices."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(row_keys(rng, count))


def put(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Copies a pytree to every device."""
    return jax.device_put(tree, replicated(mesh))


class Devices:
    """The devices of a run, with the functions compiled for them and the frozen networks placed on them.

    mesh: 1-D. One object serves the training, its tests and its calibration, and later runs of the same task.
    """

    def __init__(self, devices: int | Sequence[jax.Device] | None = None):
        self.mesh = make_mesh(devices)
        self._placed: dict[int, tuple[Any, Any]] = {}
        self._compiled: dict[Callable, Callable] = {}

    def place(self, frozen: Any) -> Any:
        """Copies a constant tree of host arrays to every device; the same object is copied once."""
        if id(frozen) not in self._placed:
            self._placed[id(frozen)] = frozen, put(frozen, self.mesh)  # kept, so that its id is not reused
        return self._placed[id(frozen)][1]

    def compile_step(self, step: Callable) -> Callable:
        """``compile_step`` for these devices, once for each function."""
        return self._once(compile_step, step)

    def compile_eval(self, function: Callable) -> Callable:
        """``compile_eval`` for these devices, once for each function."""
        return self._once(compile_eval, function)

    def _once(self, how: Callable, function: Callable) -> Callable:
        if function not in self._compiled:
            self._compiled[function] = how(function, self.mesh)
        return self._compiled[function]


def put_batch(batch: Any, mesh: jax.sharding.Mesh) -> Any:
    """This process's rows of a batch -> one global array per leaf, split over the devices.

    Raises:
      UserError: the rows do not divide among this process's devices.
    """
    share = mesh.local_mesh.size
    sharding = split(mesh)

    def place(rows: np.ndarray) -> jax.Array:
        if rows.shape[0] % share:
            raise UserError(f"batch_size: found {rows.shape[0]} rows for {share} devices, wanted a multiple of {share}")
        return jax.make_array_from_process_local_data(sharding, rows)

    return jax.tree.map(place, batch)
