"""Checkpoints of a run: training state, data position and config. The only file that knows orbax.

Saves are asynchronous and get their final name only when complete, so a kill at any moment leaves the last one. When
several threads train runs, each save finishes before the next one starts: orbax confuses simultaneous saves of one
process and then hangs.
"""

import contextlib
import os
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import orbax.checkpoint as ocp

from fdetect_jax import parallel
from fdetect_jax.errors import UserError
from fdetect_jax.types import TrainState

_ONE_AT_A_TIME = threading.Lock()


class Checkpointer:
    """Keeps the last ``keep`` checkpoints of a run under ``<workdir>/checkpoints``; the first process writes them."""

    def __init__(self, workdir: str | os.PathLike, keep: int = 2):
        self.folder = Path(workdir).resolve() / "checkpoints"
        self._writes = parallel.process() == 0
        # Every device holds the whole state. So each process has a manager of its own, for which orbax waits for no
        # other, and which takes host arrays only.
        number, self._several = jax.process_index(), jax.process_count() > 1
        own = ocp.options.MultiprocessingOptions(number, {number}, f"process_{number}")
        options = ocp.CheckpointManagerOptions(
            max_to_keep=keep,
            enable_async_checkpointing=True,
            create=False,
            cleanup_tmp_directories=self._writes,
            multiprocessing_options=own if self._several else ocp.options.MultiprocessingOptions(),
        )
        with _reading(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, state: TrainState, data_state: Any, config: dict) -> None:
        """Starts a save, in the first process; returns once the arrays are copied from the devices."""
        step = int(state.step)
        if not self._writes or step in self._manager.all_steps():
            return
        args = ocp.args.Composite(
            state=ocp.args.StandardSave(jax.device_get(_plain(state)) if self._several else _plain(state)),
            data=ocp.args.JsonSave(data_state),
            config=ocp.args.JsonSave(config),
        )
        if threading.current_thread() is threading.main_thread():
            self._manager.save(step, args=args)
            return
        with _ONE_AT_A_TIME:
            self._manager.save(step, args=args)
            self.wait()

    def latest(self) -> int | None:
        """The step of the last complete checkpoint that the first process sees, None if there is none."""
        return parallel.exchanged(self._manager.latest_step())[0]

    def config(self, step: int) -> dict:
        """The config of a checkpoint."""
        with self._reading(step):
            args = ocp.args.Composite(config=ocp.args.JsonRestore())
            return dict(self._manager.restore(step, args=args).config)

    def restore(self, step: int, like: TrainState) -> tuple[TrainState, Any]:
        """A checkpoint, with the structure, shapes and placement of ``like``."""
        plain = _plain(like)
        abstract = jax.device_get(plain) if self._several else jax.tree.map(ocp.utils.to_shape_dtype_struct, plain)
        args = ocp.args.Composite(state=ocp.args.StandardRestore(abstract), data=ocp.args.JsonRestore())
        with self._reading(step):
            found = self._manager.restore(step, args=args)
            state = found.state
            if self._several:
                state = parallel.put(state, like.step.sharding.mesh)
            rng = jax.random.wrap_key_data(state.pop("rng"), impl=jax.random.key_impl(like.rng))
            return TrainState(rng=rng, **state), found.data

    def _reading(self, step: int) -> contextlib.AbstractContextManager[None]:
        others = sorted(other for other in self._manager.all_steps() if other < step)
        remedy = f"; without this folder the run goes on from step {others[-1]}" if others else ""
        return _reading(self.folder / str(step), remedy)

    def wait(self) -> None:
        """Blocks until every save is on disk."""
        self._manager.wait_until_finished()

    def close(self) -> None:
        self.wait()
        self._manager.close()


@contextlib.contextmanager
def _reading(folder: Path, remedy: str = "") -> Iterator[None]:
    """Raises UserError, naming the folder, for whatever orbax raises about a damaged checkpoint."""
    before, sys.unraisablehook = sys.unraisablehook, _without_late_reads
    try:
        yield
        sys.unraisablehook = before  # after a failure its threads work on for a while
    except (ImportError, MemoryError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise UserError(f"{folder}: cannot be read ({why}), wanted whole checkpoints{remedy}") from error


def _without_late_reads(found: Any) -> None:
    """Shows an error that nobody can catch; not those of reads that orbax began before another one failed."""
    if "Event loop is closed" not in str(found.exc_value):
        sys.__unraisablehook__(found)


def _plain(state: TrainState) -> dict:
    return {
        "step": state.step,
        "variables": state.variables,
        "opt_state": state.opt_state,
        "extra": state.extra,
        "rng": jax.random.key_data(state.rng),
    }
