"""The one loop of every trainer: restore, step, log, checkpoint, evaluate, report.

A run is resumed by starting it again in the same workdir. A checkpoint holds the state and the position in the data as
they were after the same step, so a resumed run equals an uninterrupted one bit for bit.
"""

import contextlib
import json
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from fdetect_jax.errors import UserError
from fdetect_jax.evaluation import training_report as report
from fdetect_jax.evaluation.results import summary
from fdetect_jax.evaluation.schema import REPORT
from fdetect_jax.train import parallel
from fdetect_jax.train.checkpoint import Checkpointer
from fdetect_jax.train.task import Task
from fdetect_jax.train.writer import Writer, read_history
from fdetect_jax.types import TrainState

MAY_CHANGE = ("evaluate_only", "log_every", "checkpoint_every", "keep_checkpoints", "description", "data.workers")


class NonFiniteError(RuntimeError):
    """A term of the loss is no longer a finite number."""


class Stopped(SystemExit):
    """SIGTERM was met: everything is saved and the same command goes on. Exit status 143."""


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    task: Task,
    devices: Sequence[jax.Device] | None = None,
    progress: bool = True,
) -> dict:
    """Trains ``task`` for ``config.steps`` steps (or what is left of them), evaluates it and writes the report.

    Args:
      config: checked by ``config.check``. workdir: everything the run makes goes here. task: built from ``config``.
      devices: to train on; None: all. progress: show it, and what was found.

    Returns:
      The content of ``<workdir>/report.json``.

    Raises:
      NonFiniteError: with the step, the offending term and the last good checkpoint.
      ValueError: the workdir holds a run of another config; names the field.
      Stopped: after SIGTERM.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    plain = _plain(config, task)
    mesh = parallel.make_mesh(devices)
    checkpointer = Checkpointer(workdir, config.keep_checkpoints)
    state = parallel.put(task.init(config.seed), mesh)
    frozen = parallel.put(task.frozen, mesh)
    batches = None if config.evaluate_only else task.batches()
    resumed = checkpointer.latest()
    if resumed is not None:
        _same_run(checkpointer.config(), plain, workdir)
        state, position = checkpointer.restore(state)
        if batches is not None:
            batches.set_state(position)
    elif config.evaluate_only:
        raise UserError(f"evaluate_only: found no checkpoint in {workdir}, wanted a trained run")
    start = int(state.step)
    total = start if config.evaluate_only else config.steps
    chief = jax.process_index() == 0
    with Writer(workdir, total, start, progress=progress, enabled=chief) as writer:
        if resumed is not None:
            writer.say(f"going on from step {start}")
        writer.say(f"{task.title}: {mesh.size} device(s), {mesh.devices.flat[0].device_kind}")
        if start < total:
            step = _compiled(task, mesh)[0]
            loop = _Loop(config, plain, mesh, checkpointer, writer, batches)
            with contextlib.closing(batches):
                state = loop.run(step, state, frozen, total)
        checkpointer.close()
        writer.say("evaluating")
        result = task.evaluate(state, _compiled(task, mesh)[1], writer.say)
        if not chief:
            return {}
        task.export(jax.device_get(state.replace(rng=None)), workdir, result)
        history = read_history(workdir)
        content = report.write(
            workdir,
            title=task.title,
            description=config.description,
            config=plain,
            tests=result.tests,
            figures=result.figures,
            history=history,
            gallery=result.gallery,
            embeddings=result.embeddings,
            step=int(state.step),
            seconds=sum(row.get("seconds", 0.0) for row in history),
        )
        for line in summary(content):
            writer.say(line)
        writer.say(f"report: {workdir / 'report.html'}")
    return content


def _compiled(task: Task, mesh: jax.sharding.Mesh) -> tuple[Callable, Callable]:
    """The step, and what compiles an evaluation; kept with the task, for its next run on the same devices."""
    kept = vars(task).setdefault("compiled", {})
    if mesh not in kept:
        kept[mesh] = (
            parallel.compile_step(task.step, mesh),
            cache(lambda function: parallel.compile_eval(function, mesh)),
        )
    return kept[mesh]


def finished(config: ConfigDict, workdir: str | Path, task: Task) -> dict | None:
    """The content of the report of a run that has ended, None where it has not.

    Raises:
      ValueError: the workdir holds a run of another config; names the field.
    """
    path = Path(workdir) / REPORT
    content = json.loads(path.read_text()) if path.is_file() else None
    if content is None or content["step"] < config.steps:
        return None
    _same_run(content["config"], _plain(config, task), Path(workdir))
    return content


def _plain(config: ConfigDict, task: Task) -> dict:
    plain = json.loads(config.to_json())
    plain["data"]["fingerprint"] = task.source.fingerprint
    return plain


class _Loop:
    def __init__(self, config, plain, mesh, checkpointer, writer, batches):
        self.config, self.plain, self.mesh = config, plain, mesh
        self.checkpointer, self.writer, self.batches = checkpointer, writer, batches

    def run(self, step, state: TrainState, frozen: Any, total: int) -> TrainState:
        """Steps to ``total``. Metrics of a step are read while the next one runs, and always before a checkpoint.

        So one step is always under way while a batch is waited for and copied to the devices.
        """
        config, pending, since = self.config, None, time.monotonic()
        with sigterm() as stop:
            for index in range(int(state.step), total):
                batch = parallel.put_batch(next(self.batches), self.mesh)
                state, metrics = step(state, batch, frozen)
                if pending is not None:
                    since = self._read(*pending, since)
                pending = (index + 1, metrics)
                last = index + 1 == total
                if last or stop.is_set() or (index + 1) % config.checkpoint_every == 0:
                    since = self._read(*pending, since)
                    pending = None
                    self._refuse_unless_finite(index + 1, "a parameter", float(_largest(state.variables)))
                    self.checkpointer.save(state, self.batches.get_state(), self.plain)
                self.writer.advance(index + 1)
                if stop.is_set() and not last:
                    self.checkpointer.close()
                    self.writer.say(f"stopped at step {index + 1}; the same command goes on from here")
                    raise Stopped(128 + signal.SIGTERM)
        return state

    def _read(self, step: int, metrics: dict, since: float) -> float:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        for name, value in values.items():
            if name.startswith("loss"):
                self._refuse_unless_finite(step, name, value)
        if step % self.config.log_every and step != self.config.steps:
            return since
        now = time.monotonic()
        self.writer.scalars(step, values | {"seconds": now - since})
        return now

    def _refuse_unless_finite(self, step: int, name: str, value: float) -> None:
        if not math.isfinite(value):
            self.checkpointer.wait()
            good = self.checkpointer.latest()
            where = f"{self.checkpointer.folder / str(good)}" if good is not None else "none yet"
            raise NonFiniteError(f"step {step}: {name} is {value}; last good checkpoint: {where}")


@jax.jit
def _largest(variables: Any) -> jax.Array:
    """The largest magnitude among all arrays, NaN where there is one."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(variables)]))


_stop = threading.Event()


def _set_stop(*_: object) -> None:
    _stop.set()


@contextlib.contextmanager
def sigterm() -> Iterator[threading.Event]:
    """Within it SIGTERM sets the event, the same one in all threads; only the main thread can listen for it."""
    if threading.current_thread() is not threading.main_thread():
        yield _stop
        return
    before = signal.signal(signal.SIGTERM, _set_stop)
    try:
        yield _stop
    finally:
        signal.signal(signal.SIGTERM, before)
        if before is not _set_stop:
            _stop.clear()


def _same_run(before: dict, now: dict, workdir: Path) -> None:
    a, b = _flatten(before), _flatten(now)
    for name in sorted(a.keys() | b.keys()):
        if a.get(name) != b.get(name) and name not in MAY_CHANGE:
            raise UserError(
                f"{name}: found {b.get(name)!r}, but {workdir} holds a run with {a.get(name)!r}; "
                "wanted the same config, or another --workdir"
            )


def _flatten(tree: dict, prefix: str = "") -> dict:
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= _flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
