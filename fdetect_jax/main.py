"""The door: ``python -m fdetect_jax.main --config=configs/adv.py [--config.FIELD=VALUE …] [--workdir=DIR]``."""

import contextlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from absl import flags
from ml_collections import ConfigDict, config_flags

from fdetect_jax import cluster, overrides, remote
from fdetect_jax.errors import UserError, exit_status
from fdetect_jax.files import check_folder
from fdetect_jax.host import set_up
from fdetect_jax.interrupts import Ended, stoppable

_CONFIG = config_flags.DEFINE_config_file("config", None, "What to run: a file of configs/, with :variant.")
_DISTRIBUTED = flags.DEFINE_bool("distributed", False, "Joins the processes of a cluster that JAX knows to one run.")
_COORDINATOR = flags.DEFINE_string("coordinator", None, "HOST:PORT of process 0, where JAX knows no cluster.")
_PROCESSES = flags.DEFINE_integer("num_processes", None, "How many processes take part in the run.")
_PROCESS = flags.DEFINE_integer("process_id", None, "The number of this process, from 0.")
_JOIN = flags.DEFINE_integer("join_seconds", 300, "How long to wait until all processes have joined.")
_WORKDIR = flags.DEFINE_string("workdir", None, "Everything the run makes; runs/<config> by default. Same dir: resume.")


def main(argv: list[str]) -> int:
    """Trains what the command line names; returns the exit status, see ``errors.exit_status``."""
    several = any(re.match("--?(distributed|coordinator)", text) for text in argv)
    with exit_status() as status:
        set_up()  # a config file may import JAX
        # One of several processes that is told to stop before it has joined still joins: the others wait for it.
        with stoppable() if several else contextlib.nullcontext():
            try:
                _run(argv)
            except Ended as ended:  # this process alone
                status.code = ended.code
    if status.code and _joined():
        cluster.leave(status.code)
    return status.code


def _joined() -> bool:
    return flags.FLAGS.is_parsed() and bool(_DISTRIBUTED.value or _COORDINATOR.value)


def _run(argv: list[str]) -> None:
    arguments, loaded, late = overrides.read(argv[1:])
    if loaded is None:
        print(overrides.usage(None))
        return
    if "--help" in arguments or "-h" in arguments:
        print(overrides.usage(loaded))
        return
    sys.argv = [argv[0], *arguments]  # ml_collections reads the fields that are changed from here
    try:
        left = flags.FLAGS(sys.argv)[1:]
    except (flags.Error, ValueError, TypeError, AttributeError, KeyError) as error:
        raise UserError(" ".join(str(error).split())) from None
    if left:
        raise UserError(f"found the stray argument {left[0]!r}, wanted --NAME=VALUE")
    if _joined() or _PROCESSES.value is not None or _PROCESS.value is not None:
        cluster.join(cluster.Cluster(_COORDINATOR.value, _PROCESSES.value, _PROCESS.value, _JOIN.value))
    from absl import logging

    logging.set_verbosity(logging.WARNING)
    from fdetect_jax import parallel

    config = _CONFIG.value
    overrides.apply(config, late)
    if _WORKDIR.value == "":  # of a shell variable that is not set, perhaps
        raise UserError("--workdir: found nothing, wanted a folder, or no --workdir for runs/<config>")
    where = _WORKDIR.value or Path("runs") / loaded.name
    if not remote.is_address(where):
        check_folder(where, "--workdir")
    elif config.get("task") in ("table", "experts") and parallel.processes() > 1:
        wanted = "a folder that all see, since each process trains runs of its own"
        raise UserError(f"--workdir: found {where}, wanted {wanted}")
    with remote.workdir(where, parallel.process() == 0) as workdir:
        _train(config, workdir, loaded.name)


def _train(config: ConfigDict, workdir: Path, name: str) -> None:
    from fdetect_jax import config as checks
    from fdetect_jax import parallel
    from fdetect_jax.train.loop import NonFiniteError, train_and_evaluate
    from fdetect_jax.train.trainers import make_task

    try:
        if (run := _several(config.get("task"))) is not None:
            try:
                run(config, workdir)
            except SystemExit as stopped:  # the processes train runs of their own: the others do not stop with this one
                raise Ended(stopped.code) from None
            return
        checks.check(config)
        train_and_evaluate(config, workdir, parallel.first_alone(lambda: make_task(config)))
    except NonFiniteError as error:
        raise UserError(str(error)) from error
    except AttributeError as error:
        if overrides.lacks_field(error):
            raise UserError(f"--config: {name}: found no field {error}, wanted one") from error
        raise


def _several(task: str | None) -> Callable[[ConfigDict, Path], Any] | None:
    """What runs a task of several trainings; None for a task that is one."""
    if task == "table":
        from fdetect_jax.experiments.table import run_table

        return run_table
    if task == "experts":
        from fdetect_jax.experiments.experts import run_experts

        return run_experts
    return None


if __name__ == "__main__":
    sys.exit(main(sys.argv))
