"""Runs a function on untrusted items in processes that may die. In: a function and items. Out: for each item, in
order, the function's result, or a Rejected.
"""

import collections
import contextlib
import itertools
import multiprocessing
import os
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, TimeoutError, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from pebble import ProcessExpired, ProcessPool

from fdetect_jax import interrupts
from fdetect_jax.errors import UserError
from fdetect_jax.host import end_with_parent, hidden_main
from fdetect_jax.media.confine import Confinement
from fdetect_jax.media.limits import Rejected, UnreadableMedia

Item = TypeVar("Item")
Value = TypeVar("Value")

_RESTARTS = 3  # at most, without a result between them

_failure: str | None = None  # traceback of this process's initializer, if it failed
_policy: Confinement | None = None  # of the processes that this one starts
_own: Confinement | None = None  # of this process
_held: dict[str, bool | str] = {}  # what of it holds


@dataclass(frozen=True)
class _NotStarted:
    reason: str


def confine(confinement: Confinement | None) -> None:
    """Confines all processes that are made from now on: those of a ``run_isolated`` or a ``Workers`` that begins
    later. None: of none."""
    global _policy
    _policy = confinement


def examine(confinement: Confinement) -> dict[str, bool | str]:
    """What ``Confinement.apply`` returns in a process on this machine, which is started for it.

    Raises RuntimeError where no process can be started.
    """
    with contextlib.closing(Workers(_what_holds, workers=1, seconds=60.0, confinement=confinement)) as workers:
        (found,) = workers.run([None])
    if isinstance(found, Rejected):
        raise RuntimeError(f"a confined process does not work: {found.reason}")
    return found


def run_isolated(
    function: Callable[[Item], Value],
    items: Iterable[Item],
    *,
    workers: int | None = None,
    seconds: float,
    initializer: Callable[..., None] | None = None,
    initargs: Sequence[Any] = (),
    ahead: int = 4,
) -> Iterator[Value | Rejected]:
    """Yields ``function(item)`` for every item, in order; an item that kills its process does not stop the others.

    An item gives a Rejected with the reason if its function raises, its process dies, or it takes over ``seconds``
    (its process is then killed). The reason of ``UnreadableMedia`` is kept as it is; every other failure may pass.
    Items are drawn a few ahead of the results. Close the generator to end the processes early.

    Args:
        function, initializer, initargs: pickled by name into spawned processes; the initializer runs once in each.
        workers: processes; None: one per core. seconds: time limit per item, without the start of its process.
        ahead: items per worker that are started before the first result is asked for.

    Raises:
        UserError: workers or seconds not positive.
        RuntimeError: the initializer fails, or the processes die without any item at work.
    """
    made = Workers(function, workers=workers, seconds=seconds, initializer=initializer, initargs=initargs)
    return made.run(items, ahead)


def enough(items: int, workers: int | None = None) -> int:
    """``workers``; None: one per core, but no more than items, because a process takes a second to start."""
    return min(os.cpu_count() or 1, max(1, items)) if workers is None else workers


class Workers:
    """The processes of ``run_isolated``, for callers who start them before they have the items. Close them."""

    def __init__(
        self,
        function: Callable[[Item], Value],
        *,
        workers: int | None = None,
        seconds: float,
        initializer: Callable[..., None] | None = None,
        initargs: Sequence[Any] = (),
        keep: bool = False,
        confinement: Confinement | None = None,
    ):
        """Arguments and errors as for ``run_isolated``; nothing starts yet. keep: once all items of a run are done, the
        processes wait for the next run. confinement: None: what ``confine`` was called with."""
        self._number = (os.cpu_count() or 1) if workers is None else workers
        if self._number < 1 or not seconds > 0:
            raise UserError(f"workers, seconds: found {self._number}, {seconds}, wanted at least 1 and more than 0")
        self._confinement = _policy if confinement is None else confinement
        self._seconds = seconds
        self._work = (function, self._number, seconds, (initializer, initargs), self._confinement)
        self._pool, self._keep = _Pool(*self._work), keep

    def start(self) -> "Workers":
        """Starts the processes now, not with the first item. Returns itself."""
        self._pool.start()
        return self

    def close(self) -> None:
        """Ends the processes; a further run starts others. May be called twice."""
        self._pool.close()

    def running(self) -> bool:
        """Whether any process lives."""
        return self._pool.running()

    def run(self, items: Iterable[Item], ahead: int = 4) -> Iterator[Value | Rejected]:
        """The results, as ``run_isolated`` yields them. Ends the processes when it is closed early, and without
        ``keep`` also at its end. One run at a time."""
        if self._pool.closed:
            self._pool = _Pool(*self._work)
        todo, window, restarts, keep = iter(items), collections.deque(), 0, False
        try:
            while True:
                for item in itertools.islice(todo, ahead * self._number - len(window)):
                    window.append((item, self._pool.submit(item)))
                if not window:
                    keep = self._keep
                    return
                try:
                    result = self._pool.result(window[0][1])
                except BrokenProcessPool as error:
                    restarts += 1
                    if restarts > _RESTARTS:
                        raise RuntimeError(f"worker processes die without work: {error}") from error
                    self._pool.close()
                    self._pool = _Pool(*self._work)
                    for _ in range(len(window)):
                        item, future = window.popleft()
                        window.append((item, future if _finished(future) else self._pool.submit(item)))
                    continue
                except TimeoutError:
                    result = Rejected(f"took over {self._seconds:g} seconds", passing=True)
                except ProcessExpired as error:
                    reason = None if self._confinement is None else self._confinement.reason(error.exitcode)
                    result = Rejected(reason or f"its process died ({_cause(error.exitcode)})", passing=True)
                if isinstance(result, _NotStarted):
                    raise RuntimeError(f"worker processes do not start: {result.reason}")
                restarts = 0
                window.popleft()
                yield result
        finally:
            if not keep:
                self.close()


class _Pool:
    def __init__(self, function: Callable, workers: int, seconds: float, start: tuple, confinement: Confinement | None):
        self._function, self._seconds, self._context, self.closed = function, seconds, _Context(confinement), False
        if confinement is not None:
            start = (*start, confinement, function)  # a process that reads its name loads its libraries
        self._pool = ProcessPool(workers, initializer=_begin, initargs=start, context=self._context)

    def start(self) -> None:
        assert self._pool.active  # asking starts them

    def submit(self, item: Any) -> Future:
        try:
            return self._pool.schedule(_guarded, args=(self._function, item), timeout=self._seconds)
        except RuntimeError as error:  # raised by pebble if the pool broke in the meantime
            future: Future = Future()
            future.set_exception(BrokenProcessPool(str(error)))
            return future

    def result(self, future: Future) -> Any:
        while not wait([future], timeout=1.0).done:
            if not self._pool.active:  # pebble loses a task that was submitted while the pool breaks
                raise BrokenProcessPool("lost its work")
        return future.result()

    def close(self) -> None:
        self.closed = True
        self._pool.stop()
        self._kill()  # pebble would wait for each process, and a starting one would log an error
        self._pool.join()
        self._kill()  # what pebble's threads were starting
        self._context.clear()

    def running(self) -> bool:
        return bool(self._context.alive())

    def _kill(self) -> None:
        for process in self._context.alive():
            process.kill()


class _Context(multiprocessing.context.SpawnContext):
    """Spawns (a fork would copy the threads of the caller's libraries) and records the processes it spawned."""

    def __init__(self, confinement: Confinement | None):
        super().__init__()
        self._processes: list[BaseProcess] = []
        self._confinement = confinement

    def Process(self, *args: Any, **options: Any) -> BaseProcess:
        process = _Process(*args, **options)
        self.clear()
        self._processes = [*self.alive(), process]
        return process

    def clear(self) -> None:
        """Removes the temporary folders of the processes that have ended."""
        for process in self._processes:
            if self._confinement is not None and process.pid is not None and not process.is_alive():
                self._confinement.remove(process.pid)

    def alive(self) -> list[BaseProcess]:
        return [process for process in self._processes if process.is_alive()]


class _Process(multiprocessing.context.SpawnProcess):
    @staticmethod
    def _Popen(process: BaseProcess):
        with hidden_main(), interrupts.left_to_parent():
            return multiprocessing.context.SpawnProcess._Popen(process)


def _finished(future: Future) -> bool:
    return future.done() and not isinstance(future.exception(), BrokenProcessPool)


def _cause(exitcode: int) -> str:
    try:
        return signal.Signals(-exitcode).name
    except ValueError:
        return f"exit status {exitcode}"


def _begin(
    initializer: Callable[..., None] | None,
    initargs: Sequence[Any],
    confinement: Confinement | None = None,
    function: Callable | None = None,
) -> None:
    global _failure, _own, _held
    end_with_parent()
    interrupts.ignore()
    with contextlib.suppress(OSError):  # when memory runs out, the kernel kills a worker before the main process
        Path("/proc/self/oom_score_adj").write_text("1000")
    try:
        if initializer is not None:
            initializer(*initargs)
    except Exception as error:
        _failure = _describe(error)
    if confinement is not None:
        _own, _held = confinement, confinement.apply()


def _what_holds(_: None) -> dict[str, bool | str]:
    return _held


def _guarded(function: Callable, item: Any) -> Any:
    if _failure is not None:
        return _NotStarted(_failure)
    try:
        with contextlib.nullcontext() if _own is None else _own.per_item():
            return function(item)
    except UnreadableMedia as error:
        return Rejected(error.reason, error.passing)
    except (Exception, SystemExit) as error:  # pebble would re-raise it here: a SystemExit would end the run
        reason = None if _own is None else _own.check(error)
        return Rejected(reason or _describe(error), passing=True)


def _describe(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())  # one line
