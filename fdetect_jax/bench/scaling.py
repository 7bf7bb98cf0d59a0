"""``scaling``: what more devices, more rows and more steps of the attack do to a step of Algorithm 1.

A CPU poses as several devices, each number in a process of its own: they share the cores, so the figure says what
dividing the work costs, not what it gains. A small network and generator, the whole step as in training.
"""

import dataclasses
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

import numpy as np

from fdetect_jax.bench.setting import Setting

DEVICES = (1, 2, 4, 8)
BATCHES = (4, 8, 16)  # rows, on one device
ATTACKS = (1, 4, 10)  # steps of the attack
_INVERTER = "facesim64"
_REPEATS = 5


def scaling(setting: Setting) -> tuple[Callable[[], object], dict[str, float]]:
    """A call that does nothing more, and the figures.

    ``devices N``: seconds of a step of 8 rows on N devices over those on one. ``rows B``, ``attack s``: seconds of a
    step, on one device. ``linear in rows``, ``linear in attack``: the share of the variance that a straight line
    explains (R²).
    """
    small = dataclasses.replace(setting, detector="efficientnet_small64", pixels=64)
    alone = [(rows, 4) for rows in BATCHES] + [(8, steps) for steps in ATTACKS]
    seconds = _measured(small, 1, alone)
    rows, attacks = seconds[: len(BATCHES)], seconds[len(BATCHES) :]
    figures = {f"rows {count}": value for count, value in zip(BATCHES, rows, strict=True)}
    figures |= {f"attack {steps}": value for steps, value in zip(ATTACKS, attacks, strict=True)}
    figures |= {"linear in rows": _straight(BATCHES, rows), "linear in attack": _straight(ATTACKS, attacks)}
    first = figures["rows 8"]
    figures |= {f"devices {count}": _measured(small, count, [(8, 4)])[0] / first for count in DEVICES if count > 1}
    return lambda: None, figures


def _straight(at: Sequence[float], values: Sequence[float]) -> float:
    return float(np.corrcoef(at, values)[0, 1] ** 2)


def _measured(setting: Setting, devices: int, cases: list[tuple[int, int]]) -> list[float]:
    """Seconds of a step for each case (rows, steps of the attack), in a process with so many devices."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    command = [
        sys.executable,
        "-m",
        "fdetect_jax.bench.scaling",
        json.dumps(dataclasses.asdict(setting)),
        json.dumps(cases),
    ]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def _step_seconds(setting: Setting) -> float:
    """The median of a step on all devices of this process."""
    import jax

    from fdetect_jax import parallel
    from fdetect_jax.bench.benchmarks import adv_config
    from fdetect_jax.train.detector import DetectorTask

    config = adv_config(setting, _INVERTER)
    config.data.size = setting.pixels
    task, devices = DetectorTask(config), parallel.Devices()
    state = devices.first_state(task.init, 0, task.start)
    frozen = {name: devices.place(tree) for name, tree in task.frozen.items()}
    batch = parallel.put_batch(next(task.batches(devices)), devices.mesh)
    step = devices.compile_step(task.step)
    spent = []
    for _ in range(_REPEATS + 1):
        start = time.perf_counter()
        state, metrics = step(state, batch, frozen)
        jax.block_until_ready(metrics)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def main(setting: str, cases: str) -> None:
    """Prints the seconds of each case, as JSON."""
    own = Setting(**json.loads(setting))
    found = [
        _step_seconds(dataclasses.replace(own, batch=rows, attack_steps=steps)) for rows, steps in json.loads(cases)
    ]
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
