"""``scaling``: what more devices, more rows and more steps of the attack do to a step of Algorithm 1.

A CPU poses as eight devices in a process of its own: they share the cores, so the figure says what dividing the work
costs, not what it gains. Small networks, the whole step as in training.
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
from fdetect_jax.host import set_up

DEVICES, ROWS, STEPS = (1, 2, 4, 8), (4, 8, 16), (1, 4, 10)
_ROWS, _STEPS = 8, 4  # where another number is varied
CASES = tuple(
    dict.fromkeys(
        [(1, rows, _STEPS) for rows in ROWS]
        + [(1, _ROWS, steps) for steps in STEPS]
        + [(n, _ROWS, _STEPS) for n in DEVICES]
    )
)
_INVERTER = "facesim64"
_NETWORK = {"stages": ((1, 3, 1, 1, 16), (6, 3, 2, 2, 24)), "stem": 16, "head": 64, "dropout": 0.0, "drop_connect": 0.0}
_REPEATS = 5


def scaling(setting: Setting) -> tuple[Callable[[], object], dict[str, float]]:
    """A call that does nothing more, and the figures.

    ``rows B``, ``attack s``: seconds of a step on one device. ``devices N``: seconds of a step of 8 rows on N devices
    over those on one. ``linear in rows``, ``linear in attack``: the share of the variance that a straight line
    explains (R²). ``from rows``, ``from attack``: what one row or one step of the attack adds, in seconds.
    """
    found = _measured(dataclasses.replace(setting, detector="efficientnet_small64", pixels=64))
    rows = [found[1, count, _STEPS] for count in ROWS]
    attacks = [found[1, _ROWS, steps] for steps in STEPS]
    figures = {f"rows {count}": value for count, value in zip(ROWS, rows, strict=True)}
    figures |= {f"attack {steps}": value for steps, value in zip(STEPS, attacks, strict=True)}
    for name, at, values in (("rows", ROWS, rows), ("attack", STEPS, attacks)):
        figures[f"linear in {name}"], figures[f"from {name}"] = _line(at, values)
    one = found[1, _ROWS, _STEPS]
    return lambda: None, figures | {f"devices {n}": found[n, _ROWS, _STEPS] / one for n in DEVICES[1:]}


def _line(at: Sequence[float], values: Sequence[float]) -> tuple[float, float]:
    """R² and slope of the straight line through (at, values)."""
    return float(np.corrcoef(at, values)[0, 1] ** 2), float(np.polyfit(at, values, 1)[0])


def _measured(setting: Setting) -> dict[tuple[int, int, int], float]:
    """Seconds of a step for each of ``CASES``: devices, rows, steps of the attack."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={max(DEVICES)}"
    command = [sys.executable, "-m", "fdetect_jax.bench.scaling", json.dumps(dataclasses.asdict(setting))]
    environment = os.environ | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return dict(zip(CASES, json.loads(done.stdout.splitlines()[-1]), strict=True))


def _step_seconds(setting: Setting, devices: int) -> float:
    """The median of a step on so many devices."""
    import jax

    from fdetect_jax import parallel
    from fdetect_jax.bench.benchmarks import adv_config
    from fdetect_jax.train.detector import DetectorTask

    config = adv_config(setting, _INVERTER)
    config.data.size, config.detector.overrides = setting.pixels, _NETWORK
    task, own = DetectorTask(config), parallel.Devices(jax.devices()[:devices])
    state = own.first_state(task.init, 0, task.start)
    frozen = {name: own.place(tree) for name, tree in task.frozen.items()}
    shape = (setting.batch, setting.pixels, setting.pixels, 3)
    batch = parallel.put_batch({"image": np.random.default_rng(0).random(shape, np.float32)}, own.mesh)
    step = own.compile_step(task.step)
    spent = []
    for _ in range(_REPEATS + 1):  # the first one compiles
        start = time.perf_counter()
        state, metrics = step(state, batch, frozen)
        jax.block_until_ready(metrics)
        spent.append(time.perf_counter() - start)
    return statistics.median(spent[1:])


def main(setting: str) -> None:
    """Prints the seconds of every case, as JSON."""
    set_up()
    own, found = Setting(**json.loads(setting)), []
    for devices, rows, steps in CASES:
        found.append(_step_seconds(dataclasses.replace(own, batch=rows, attack_steps=steps), devices))
        text = f"scaling: {devices} device(s), {rows} rows, {steps} steps of the attack: {found[-1]:.3f} s"
        print(text, file=sys.stderr, flush=True)
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
