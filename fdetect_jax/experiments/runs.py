"""Trains several runs. In: a config and what differs. Out: the reports of all, trained on all devices in parallel.

A run is an ordinary training in a folder of its own. Finished runs are read; interrupted ones are resumed.
"""

import dataclasses
import gc
import time
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from queue import SimpleQueue

import jax
from ml_collections import ConfigDict

from fdetect_jax import config as checks
from fdetect_jax import parallel
from fdetect_jax.errors import UserError
from fdetect_jax.interrupts import stoppable
from fdetect_jax.train.detector import check_network
from fdetect_jax.train.loop import Stopped, finished, reported, train_and_evaluate
from fdetect_jax.train.trainers import make_task

_PAUSE = 1.0  # seconds between two looks at what another process has finished
_OWN = ("variants", "comparisons", "rows", "seeds", "sweeps")  # fields of a table that its runs do not have


@dataclasses.dataclass(frozen=True)
class Run:
    """One training of one variant. config: of the detector's training. folder: its workdir."""

    variant: str
    seed: int
    config: ConfigDict
    folder: Path


def runs_of(config: ConfigDict, workdir: Path) -> list[Run]:
    """Every run, one variant after another; checked now, so that no run fails a check after hours of work.

    Raises:
      UserError: a variant, a sweep or a comparison that is not possible.
    """
    if config.evaluate_only and parallel.processes() > 1:
        raise UserError(f"evaluate_only: found True with {parallel.processes()} processes, wanted one process")
    known = set(config.variants)
    named = {
        "rows": config.rows,
        "comparisons": [variant for pair in config.comparisons for variant in pair],
        "sweeps": [variant for sweep in config.sweeps.values() for variant in sweep.variants],
    }
    for field, names in named.items():
        if others := sorted(set(names) - known):
            raise UserError(f"{field}: found {others}, wanted variants among {sorted(known)}")
    if not config.rows:
        raise UserError("rows: found none, wanted variants")
    if config.seeds < 2:
        raise UserError(f"seeds: found {config.seeds}, wanted at least two, to separate an effect from chance")
    runs = [
        Run(variant, seed, changed(config, config.variants[variant], seed, _OWN), workdir / variant / f"seed_{seed}")
        for variant in config.rows
        for seed in range(config.seed, config.seed + config.seeds)
    ]
    for run in runs[:: config.seeds]:
        try:
            with parallel.apart():
                checks.check(run.config)
                check_network(run.config)
        except UserError as error:
            raise UserError(f"variants.{run.variant}: {error}") from None
    return runs


def changed(config: ConfigDict, fields: ConfigDict, seed: int, without: Collection[str]) -> ConfigDict:
    """The config of one training: ``config`` without some fields, with a ``title`` and others of ``fields``."""
    shared = {name: value for name, value in config.to_dict().items() if name not in without}
    changes = fields.to_dict()
    made = ConfigDict(shared | {"task": "detector", "seed": seed, "description": changes.pop("title")})
    if "overrides" in changes.get("detector", {}):  # the shared detector's overrides do not apply to another detector
        made.detector.overrides = changes["detector"].pop("overrides")
    made.update(changes)
    return made


def train(runs: list[Run], show: Callable[[str], None]) -> Iterator[tuple[Run, dict]]:
    """Trains the unfinished runs, one per device at a time; yields each run with the content of its report.

    With one device a run shows its own progress; with several, only ``show`` is called. Several processes divide the
    runs, and each trains its own without the others; every one yields all runs, once they are finished.

    Raises:
      Stopped: after SIGTERM or Ctrl-C; everything is saved.
    """
    number, processes = parallel.process(), parallel.processes()
    if processes > 1:  # photographs are cropped once
        parallel.first_alone(lambda: make_task(runs[0].config.copy_and_resolve_references()))
    with parallel.apart():
        yield from _train(runs[number::processes], show)
    for place, run in enumerate(runs):
        if place % processes != number:
            while (content := reported(run.config, run.folder)) is None:
                time.sleep(_PAUSE)
            yield run, content


def _forget(alone: bool) -> None:
    """Frees the programs of tasks that are gone: each takes some thousand of the memory maps that a process may have
    (65,530 on Linux by default), and the compiler fails when they are used up. alone: no other thread compiles."""
    gc.collect()
    if alone:
        jax.clear_caches()


def _train(runs: list[Run], show: Callable[[str], None]) -> Iterator[tuple[Run, dict]]:
    devices = jax.local_devices()
    free: SimpleQueue = SimpleQueue()
    for device in devices:
        # With the task of its last variant: runs that differ only in the seed share its programs.
        free.put((device, {}))

    def one(number: int, run: Run) -> dict:
        device, tasks = free.get()
        try:
            if stop.is_set():
                raise Stopped(128 + stop.signal)
            began = time.monotonic()
            if run.variant not in tasks:
                tasks.clear()
                _forget(len(devices) == 1)
                tasks[run.variant] = make_task(run.config.copy_and_resolve_references())
            task = tasks[run.variant]
            task.config.seed = run.seed
            name = f"[{number}/{len(runs)}] {run.config.description}, seed {run.seed}"
            if (content := finished(run.config, run.folder, task)) is not None:
                show(f"{name}: already finished")
                return content
            show(name)
            with jax.default_device(device):
                content = train_and_evaluate(run.config, run.folder, task, [device], len(devices) == 1)
            show(f"{name}: {time.monotonic() - began:.0f} s")
            return content
        finally:
            free.put((device, tasks))

    with stoppable() as stop:
        if len(devices) == 1:
            for number, run in enumerate(runs, 1):
                yield run, one(number, run)
            return
        with ThreadPoolExecutor(len(devices)) as pool:
            waiting = {pool.submit(one, number, run): run for number, run in enumerate(runs, 1)}
            try:
                for done in as_completed(waiting):
                    yield waiting[done], done.result()
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
