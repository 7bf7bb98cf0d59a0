"""Steps of a trainer with every silent copy between host and devices refused."""

from collections.abc import Iterator

import jax

from fdetect_jax import parallel
from fdetect_jax.train.task import Metrics, Task
from fdetect_jax.types import TrainState


def guarded_steps(task: Task, count: int, seed: int = 0) -> Iterator[tuple[TrainState, Metrics]]:
    """(state, metrics) after each of ``count`` steps from ``task.init(seed)``, on all devices.

    Whatever a step needs is placed before it; a step that copies anything else between host and devices raises. The
    next step takes the state's memory: read it before.
    """
    devices = parallel.Devices()
    state = devices.first_state(task.init, seed, task.start)
    frozen = {name: devices.place(tree) for name, tree in task.frozen.items()}
    batches, step = task.batches(devices), None
    for _ in range(count):
        batch = parallel.put_batch(next(batches), devices.mesh)
        if step is None:
            step = devices.compile_step(task.step).lower(state, batch, frozen).compile()
        with jax.transfer_guard("disallow"):
            state, metrics = step(state, batch, frozen)
        yield state, metrics
