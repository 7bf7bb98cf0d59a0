"""Data parallelism: the mesh, and pure functions compiled for all its devices. The only file that maps over devices.

A training step runs under ``jax.shard_map`` over one axis, ``data``, with ``check_vma=False``: every device gets its
share of the batch and the whole state, and the step averages gradients itself (``mean``). ``jax.pmap`` does the same
since JAX 0.8; the same code runs on one device and on a pod.
"""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from fdetect_jax.errors import UserError
from fdetect_jax.nn.once import jit_once

AXIS = "data"
# In a batch and among the metrics of a run of several processes: the signal that one of them was sent, or 0.
STOP = "stop"
_apart = False  # whether this process computes on its own, see ``apart``


def processes() -> int:
    """How many processes share what is computed now."""
    return 1 if _apart else jax.process_count()


def process() -> int:
    """The number of this one among them, from 0; the first one writes."""
    return 0 if _apart else jax.process_index()


def devices() -> int:
    """How many devices there are to share a step."""
    return jax.local_device_count() if _apart else jax.device_count()


@contextlib.contextmanager
def apart() -> Iterator[None]:
    """In this block, and in all threads, this process computes without the others, on its own devices."""
    global _apart
    before, _apart = _apart, True
    try:
        yield
    finally:
        _apart = before


def make_mesh(devices: int | Sequence[jax.Device] | None = None) -> jax.sharding.Mesh:
    """A 1-D mesh over these devices, over the first of them (a number), or over all (None).

    Devices of one process are neighbours, in the order of the processes: process p holds the p-th share of the rows,
    and a row's number does not depend on how the machine is wired. Several processes need devices of each.
    """
    chosen = jax.devices()[:devices] if devices is None or isinstance(devices, int) else list(devices)
    chosen = sorted(chosen, key=lambda device: (device.process_index, device.id))
    return jax.sharding.Mesh(np.array(chosen), (AXIS,), axis_types=(AxisType.Auto,))


def replicated(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding in which every device holds the whole array."""
    return NamedSharding(mesh, PartitionSpec())


def split(mesh: jax.sharding.Mesh) -> NamedSharding:
    """The sharding in which every device holds its share of the rows."""
    return NamedSharding(mesh, PartitionSpec(AXIS))


def compile_step(step: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """``step(state, batch, frozen) -> (state, metrics)`` for every device at once; the state is donated.

    Where the batch holds ``STOP``, the metrics hold its largest value in any process.
    """
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)

    def averaged(state, batch, frozen):
        agreed = {STOP: jax.lax.pmax(batch[STOP][0], AXIS)} if STOP in batch else {}
        state, metrics = step(state, {name: rows for name, rows in batch.items() if name != STOP}, frozen)
        return state, mean(metrics) | agreed

    mapped = jax.shard_map(
        averaged, mesh=mesh, in_specs=(everywhere, split, everywhere), out_specs=everywhere, check_vma=False
    )
    return jax.jit(mapped, donate_argnums=0)


def compile_rows(function: Callable, mesh: jax.sharding.Mesh) -> Callable:
    """Compiles ``function(variables, batch) -> rows`` with the rows split over the devices of the mesh."""
    everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
    return jax.jit(jax.shard_map(function, mesh=mesh, in_specs=(everywhere, split), out_specs=split, check_vma=False))


def mean(tree: Any) -> Any:
    """The mean over devices, inside a step."""
    return jax.lax.pmean(tree, AXIS)


def rows(count: int) -> jax.Array:
    """The rows of the global batch that this device holds, (count,), inside a step."""
    return jax.lax.axis_index(AXIS) * count + jnp.arange(count)


def all_rows(x: jax.Array) -> jax.Array:
    """The rows of every device, in their order, (devices · count, …), inside a step."""
    return jax.lax.all_gather(x, AXIS, tiled=True)


def row_keys(rng: jax.Array, count: int) -> jax.Array:
    """One key per row of this device's share, independent of the number of devices."""
    return jax.vmap(lambda row: jax.random.fold_in(rng, row))(rows(count))


def normal_rows(rng: jax.Array, count: int, *shape: int) -> jax.Array:
    """(count, *shape) of N(0, 1), the same rows for any number of devices."""
    return jax.vmap(lambda key: jax.random.normal(key, shape))(row_keys(rng, count))


def own_rows(count: int) -> range:
    """This process's part of ``count`` rows, in the order of the processes; all of them where there are fewer rows than
    processes."""
    number, total = process(), processes()
    return range(count) if count < total else range(count * number // total, count * (number + 1) // total)


def gathered(found: dict[str, np.ndarray], count: int) -> dict[str, np.ndarray]:
    """What every process found for its ``own_rows(count)``: the rows of all, in the order of the processes.

    The arrays of a name may have another number of rows in each process.
    """
    if processes() == 1 or count < processes():
        return found
    lengths = multihost_utils.process_allgather({name: np.int32(len(rows)) for name, rows in found.items()})

    def joined(name: str, rows: np.ndarray) -> np.ndarray:
        padded = np.zeros((int(lengths[name].max()), *rows.shape[1:]), rows.dtype)
        padded[: len(rows)] = rows
        parts = multihost_utils.process_allgather(padded)
        return np.concatenate([part[:length] for part, length in zip(parts, lengths[name], strict=True)])

    return {name: joined(name, found[name]) for name in sorted(found)}


def exchanged(value: Any) -> list[Any]:
    """A JSON value of every process, in the order of the processes."""
    if processes() == 1:
        return [value]
    text = np.frombuffer(json.dumps(value).encode(), np.uint8)
    ends = np.cumsum(multihost_utils.process_allgather(np.int32(len(text))))
    together = gathered({"text": text}, processes())["text"]
    return [json.loads(bytes(part)) for part in np.split(together, ends[:-1])]


def first_alone(make: Callable[[], Any]) -> Any:
    """``make()`` in the first process, then in the others: what it leaves on a disk they need not make again."""
    if process() > 0:
        multihost_utils.sync_global_devices("first alone")
    made = make()
    if processes() > 1 and process() == 0:
        multihost_utils.sync_global_devices("first alone")
    return made


def put(tree: Any, mesh: jax.sharding.Mesh) -> Any:
    """Copies a pytree, the same in every process, to every device."""
    sharding = replicated(mesh)
    if not mesh.is_multi_process:
        return jax.device_put(tree, sharding)
    return jax.tree.map(lambda x: jax.make_array_from_process_local_data(sharding, np.asarray(x)), tree)


def compile_init(init: Callable[[jax.Array, Any], Any], mesh: jax.sharding.Mesh) -> Callable[[int, Any], Any]:
    """``init(seed, given)``, computed on every device. given: host arrays, the same in every process."""
    compiled = jit_once(init, out_shardings=replicated(mesh))
    return lambda seed, given: compiled(*put((np.uint32(seed), given), mesh))


class Devices:
    """The devices of a run, with the functions compiled for them and the frozen networks placed on them.

    mesh: 1-D. One object serves the training, its tests and its calibration, and later runs of the same task.
    """

    def __init__(self, devices: int | Sequence[jax.Device] | None = None):
        self.mesh = make_mesh(devices)
        self._placed: dict[int, tuple[Any, Any]] = {}
        self._compiled: dict[Callable, Callable] = {}

    @cached_property
    def here(self) -> "Devices":
        """Those of this process alone, for what it computes apart from the others; frozen networks are not copied."""
        if not self.mesh.is_multi_process:
            return self
        made = Devices(self.mesh.local_devices)
        made._placed = {key: (tree, made.local(placed)) for key, (tree, placed) in self._placed.items()}
        return made

    def local(self, tree: Any) -> Any:
        """A replicated tree of several processes as one of these devices, without a copy."""
        if self.mesh.is_multi_process:
            raise ValueError("devices of several processes: wanted those of one, see ``here``")

        def part(x: jax.Array) -> jax.Array:
            shards = {shard.device: shard.data for shard in x.addressable_shards}
            pieces = [shards[device] for device in self.mesh.devices.flat]
            return jax.make_array_from_single_device_arrays(x.shape, replicated(self.mesh), pieces)

        return jax.tree.map(part, tree)

    def place(self, frozen: Any) -> Any:
        """Copies a constant tree of host arrays to every device; the same object is copied once."""
        if id(frozen) not in self._placed:
            self._placed[id(frozen)] = frozen, put(frozen, self.mesh)  # kept, so that its id is not reused
        return self._placed[id(frozen)][1]

    def first_state(self, init: Callable, seed: int, given: Any) -> Any:
        """``init(seed, given)``, see ``compile_init``; compiled once for each function."""
        return self._once(compile_init, init)(seed, given)

    def compile_step(self, step: Callable) -> Callable:
        """``compile_step`` for these devices, once for each function."""
        return self._once(compile_step, step)

    def compile_eval(self, function: Callable) -> Callable:
        """``compile_rows`` for these devices, once for each function."""
        return self._once(compile_rows, function)

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
