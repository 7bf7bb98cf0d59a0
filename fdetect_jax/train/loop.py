"""The training loop of every trainer: restore, step, log, checkpoint, evaluate, report.

Starting a run again in the same workdir resumes it. A checkpoint holds the state and the data position of the same
step, so a resumed run equals an uninterrupted one bit for bit.
"""

import contextlib
import json
import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from fdetect_jax import parallel
from fdetect_jax.data.pipeline import joined, unquarantined
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation import training_report as report
from fdetect_jax.evaluation.results import summary
from fdetect_jax.evaluation.schema import REPORT
from fdetect_jax.fields import json_file
from fdetect_jax.files import digest, write_atomic
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.interrupts import Stop, sent_to, stoppable, stopped_at_once
from fdetect_jax.train.checkpoint import Checkpointer
from fdetect_jax.train.task import Task
from fdetect_jax.train.writer import Writer, read_history
from fdetect_jax.types import TrainState

QUARANTINE = "quarantine.json"
_REPORTED = {"step": int, "config": dict, "tests": dict, "seconds": float, "description": str, "threshold": float}
MAY_CHANGE = ("evaluate_only", "log_every", "checkpoint_every", "keep_checkpoints", "description", "data.workers")


class NonFiniteError(RuntimeError):
    """A term of the loss is not finite."""


class Stopped(SystemExit):
    """SIGTERM or Ctrl-C was received: everything is saved, and the same command resumes. Exit status 143 or 130."""


def train_and_evaluate(
    config: ConfigDict,
    workdir: str | Path,
    task: Task,
    devices: Sequence[jax.Device] | None = None,
    progress: bool = True,
) -> dict:
    """Trains ``task`` up to ``config.steps`` steps, evaluates it and writes the report; resumes if possible.

    Args:
      config: checked by ``config.check``. workdir: receives all outputs of the run. task: built from ``config``.
      devices: to train on; None: all. progress: show a progress bar and the results.

    Returns:
      The content of ``<workdir>/report.json``; {} in every process but the first, which alone writes.

    Raises:
      NonFiniteError: with the step, the offending term and the last good checkpoint.
      UserError: the workdir holds a run of another config; names the field.
      Stopped: after SIGTERM or Ctrl-C.
    """
    workdir = Path(workdir)
    workdir.mkdir(parents=True, exist_ok=True)
    plain = _plain(config, task)
    _same_in_all(plain)
    own, chief = _devices_of(task, devices), parallel.process() == 0
    checkpointer = Checkpointer(workdir, config.keep_checkpoints)
    resumed, before = checkpointer.latest(), None
    if resumed is not None:
        before = checkpointer.config(resumed)
        _same_run(before, plain, workdir, config.evaluate_only)
    elif config.evaluate_only:
        raise UserError(f"evaluate_only: found no checkpoint in {workdir}, wanted a trained run")
    state = own.first_state(task.init, config.seed, task.start)
    batches = None if config.evaluate_only else task.batches(own)
    if resumed is not None:
        state, position = checkpointer.restore(resumed, state)
        if batches is not None:
            batches.set_state(position if chief else unquarantined(position))
    start = int(state.step)
    total = start if config.evaluate_only else config.steps
    with Writer(workdir, total, start, progress=progress, enabled=chief) as writer, contextlib.ExitStack() as stack:
        if resumed is not None:
            writer.say(f"resuming from step {start}")
        writer.say(f"{task.title}: {own.mesh.size} device(s), {own.mesh.devices.flat[0].device_kind}{_processes()}")
        if start < total:
            frozen = {name: own.place(tree) for name, tree in task.frozen.items()}
            loop = _Loop(config, plain, own.mesh, checkpointer, writer, batches, workdir)
            with contextlib.closing(batches):
                state = loop.run(own.compile_step(task.step), state, frozen, total)
        checkpointer.close()
        stack.enter_context(stopped_at_once())
        writer.say("evaluating")
        if own.here is not own:  # every process evaluates its share of the faces on its own devices
            state = own.here.local(state)
        result = task.evaluate(state, own.here, writer.say)
        if not chief:
            return {}
        # Evaluating a finished run again with other fields does not replace the run's own results.
        folder = workdir if before is None else _folder(workdir, before, plain)
        task.export(jax.device_get(state.replace(rng=None)), folder, result)
        history = read_history(workdir)
        content = report.write(
            folder,
            title=task.title,
            description=config.description,
            config=plain,
            tests=result.tests,
            figures=result.figures,
            history=history,
            gallery=result.gallery,
            embeddings=result.embeddings,
            classes=result.classes,
            fingerprints=result.fingerprints,
            localisation=result.localisation,
            masks=result.masks,
            step=int(state.step),
            seconds=sum(row.get("seconds", 0.0) for row in history),
            calibration=result.calibration or Calibration(),
        )
        for line in summary(content):
            writer.say(line)
        writer.say(f"report: {folder / 'report.html'}")
    return content


def _processes() -> str:
    return f", {parallel.processes()} processes" if parallel.processes() > 1 else ""


def _devices_of(task: Task, devices: Sequence[jax.Device] | None) -> parallel.Devices:
    """The devices with their compiled functions and placed arrays, kept with the task for its next run."""
    kept = vars(task).setdefault("kept_devices", {})
    key = tuple(devices) if devices is not None else None
    if key not in kept:
        kept[key] = parallel.Devices(devices)
    return kept[key]


def _folder(workdir: Path, before: dict, now: dict) -> Path:
    """The workdir, or a folder in it for an evaluation with other ``evaluation`` fields than the run's."""
    own = now.get("evaluation", {})
    same = flatten(before.get("evaluation", {})) == flatten(own)
    return workdir if same else workdir / f"evaluation_{digest(own)[:8]}"


def finished(config: ConfigDict, workdir: str | Path, task: Task) -> dict | None:
    """The report of a finished run; None if the run is not finished, or is to be evaluated again.

    Raises:
      UserError: the workdir holds a run of another config; names the field.
    """
    content = None if config.evaluate_only else reported(config, workdir)
    if content is not None:
        _same_run(content["config"], _plain(config, task), Path(workdir), False)
    return content


def reported(config: ConfigDict, workdir: str | Path) -> dict | None:
    """The report in a workdir, whatever run wrote it; None if there is none of ``config.steps`` steps. Raises UserError
    where the file is no report."""
    path = Path(workdir) / REPORT
    if not path.is_file():
        return None
    wanted = "what a training wrote; without the file it is written again"
    content = json_file(path, wanted)
    for name, kind in _REPORTED.items():
        if not isinstance(content, dict) or not isinstance(content.get(name), kind):
            raise UserError(f"{path}: found no {name} in it, wanted {wanted}")
    return content if content["step"] >= config.steps else None


def _plain(config: ConfigDict, task: Task) -> dict:
    try:
        plain = json.loads(config.to_json())
    except TypeError as error:
        raise UserError(f"config: {error}, wanted plain values") from None
    plain["data"]["fingerprint"] = task.source.fingerprint
    return plain


def _same_in_all(plain: dict) -> None:
    """Raises UserError, in every process, where the processes of a run have different configs."""
    first, *others = map(flatten, parallel.exchanged(plain))
    for number, other in enumerate(others, 1):
        for name in sorted(first.keys() | other.keys()):
            if other.get(name) != first.get(name):
                wanted = f"{first.get(name)!r} as in process 0"
                raise UserError(f"{name}: found {other.get(name)!r} in process {number}, wanted {wanted}")


class _Loop:
    def __init__(self, config, plain, mesh, checkpointer, writer, batches, workdir):
        self.config, self.plain, self.mesh, self.workdir = config, plain, mesh, workdir
        self.checkpointer, self.writer, self.batches = checkpointer, writer, batches
        self.sent, self._several = 0, mesh.is_multi_process  # the signal that the processes agreed on

    def run(self, step, state: TrainState, frozen: Any, total: int) -> TrainState:
        """Trains up to step ``total``. Metrics of a step are read while the next one runs, and before each checkpoint.

        So a step is always running while a batch is awaited and copied to the devices. Several processes stop after
        the same step: a signal to one travels with the next batch, and all read it among that step's metrics.
        """
        config, pending, since = self.config, None, time.monotonic()
        first = int(state.step)
        with stoppable() as stop:
            for index in range(first, total):
                batch = parallel.put_batch(self._told(next(self.batches), stop), self.mesh)
                if index == first:
                    self.writer.say("compiling the first step")
                state, metrics = step(state, batch, frozen)
                if index == first:
                    jax.block_until_ready(metrics)
                    self.writer.begin(index + 1)
                if pending is not None:
                    since = self._read(*pending, since)
                pending = (index + 1, metrics)
                last = index + 1 == total
                sent = self.sent if self._several else sent_to(stop)
                if last or sent or (index + 1) % config.checkpoint_every == 0:
                    since = self._read(*pending, since)
                    pending = None
                    self._refuse_unless_finite(index + 1, "a parameter", float(_largest(state.variables)))
                    position = joined(parallel.exchanged(self.batches.get_state()))
                    self.checkpointer.save(state, position, self.plain)
                    self._tell_quarantine(position["quarantine"])
                self.writer.advance(index + 1)
                if last:
                    sent = max(parallel.exchanged(sent_to(stop)))
                if sent:
                    self.checkpointer.close()
                    self.writer.say(f"stopped at step {index + 1}; the same command resumes from here")
                    raise Stopped(128 + sent)
        return state

    def _told(self, batch: dict, stop: Stop) -> dict:
        """The batch of one of several processes, with the signal that it was sent or 0, once for each device."""
        if not self._several:
            return batch
        return batch | {parallel.STOP: np.full(self.mesh.local_mesh.size, sent_to(stop), np.int32)}

    def _tell_quarantine(self, found: dict) -> None:
        """Lists the faces that could not be used and were replaced in quarantine.json."""
        if found["reasons"] and parallel.process() == 0:
            rows = [{"reason": line, "drawn": count} for line, count in sorted(found["reasons"].items())]
            text = json.dumps({"rows": found["rows"], "unusable": rows}, indent=1) + "\n"
            write_atomic(self.workdir / QUARANTINE, text)
            drawn, path = sum(found["reasons"].values()), self.workdir / QUARANTINE
            self.writer.say(f"{drawn} of {found['rows']} faces drawn were unusable and replaced: {path}")

    def _read(self, step: int, metrics: dict, since: float) -> float:
        values = {name: float(value) for name, value in jax.device_get(metrics).items()}
        self.sent = int(values.pop(parallel.STOP, 0))
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
    """The largest magnitude among all arrays, NaN if any is NaN."""
    return jnp.max(jnp.stack([jnp.max(jnp.abs(x)) for x in jax.tree.leaves(variables)]))


def _same_run(before: dict, now: dict, workdir: Path, evaluate_only: bool) -> None:
    """Raises UserError naming the first field in which this run differs from the one in the workdir."""
    a, b = flatten(before), flatten(now)
    for name in sorted(a.keys() | b.keys()):
        may = name in MAY_CHANGE or (evaluate_only and name.startswith("evaluation."))
        may |= name == "steps" and a[name] < b[name]  # a run can be given more steps
        if a.get(name) != b.get(name) and not may:
            raise UserError(
                f"{name}: found {b.get(name)!r}, but {workdir} holds a run with {a.get(name)!r}; "
                "wanted the same config, or another --workdir"
            )


def flatten(tree: dict, prefix: str = "") -> dict:
    """Nested fields by their dotted names; tuples become lists."""
    flat = {}
    for name, value in tree.items():
        if isinstance(value, dict):
            flat |= flatten(value, f"{prefix}{name}.")
        else:
            flat[prefix + name] = list(value) if isinstance(value, tuple) else value
    return flat
