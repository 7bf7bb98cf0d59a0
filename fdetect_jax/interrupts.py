"""Ctrl-C and SIGTERM: a command never loses them, a training saves its step first, and the processes that a command
started leave them to their parent."""

import _thread
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any

_POSIX = hasattr(signal, "pthread_sigmask")
_LATER = 0.05  # seconds
_IMPORT = "<frozen importlib."


@contextlib.contextmanager
def kept() -> Iterator[None]:
    """Ctrl-C raises KeyboardInterrupt in this block, now or a little later; as usual where it is ignored or handled.

    It is later while a module is imported, for a compiled one may crash; and where Python dropped the exception, as it
    does with every exception of a callback. JAX has a callback that runs with every collection of garbage.
    """
    main = threading.current_thread() is threading.main_thread()
    if not main or signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        yield
        return
    hook = sys.unraisablehook

    def dropped(unraisable: Any) -> None:
        if issubclass(unraisable.exc_type, KeyboardInterrupt):
            _press_later()
        else:
            hook(unraisable)

    signal.signal(signal.SIGINT, _interrupt)
    sys.unraisablehook = dropped
    try:
        yield
    finally:
        sys.unraisablehook = hook
        signal.signal(signal.SIGINT, signal.default_int_handler)


@contextlib.contextmanager
def left_to_parent() -> Iterator[None]:
    """A process that this thread starts in the block does not see Ctrl-C until it calls ``ignore``; it would print a
    traceback while it starts."""
    if not _POSIX:
        yield
        return
    resource_tracker.ensure_running()  # it is started with the first process, and would unblock the signal
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Stop(threading.Event):
    """Set by SIGTERM and by Ctrl-C. signal: which of the two."""

    signal = signal.SIGTERM


def sent_to(stop: Stop) -> int:
    """The signal that this process was sent, or 0."""
    return int(stop.signal) if stop.is_set() else 0


_stop = Stop()
_SIGNALS = (signal.SIGTERM, signal.SIGINT)


def _set_stop(number: int, _: object) -> None:
    if number == signal.SIGINT:
        if _stop.is_set():  # the second Ctrl-C
            os._exit(128 + number)
        os.write(2, b"\nstopping after this step; Ctrl-C again ends at once\n")
    _stop.signal = number
    _stop.set()


@contextlib.contextmanager
def stoppable() -> Iterator[Stop]:
    """Inside the context SIGTERM and Ctrl-C set the event, one for all threads; a second Ctrl-C ends the process.

    Only the main thread can install the handlers.
    """
    if threading.current_thread() is not threading.main_thread():
        yield _stop
        return
    before = [signal.signal(number, _set_stop) for number in _SIGNALS]
    try:
        yield _stop
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)
        if before[0] is not _set_stop:
            _stop.clear()


class Ended(SystemExit):
    """SIGTERM was received where nothing has to be saved. Exit status 143."""


def _end(number: int, _: object) -> None:
    raise Ended(128 + number)


@contextlib.contextmanager
def stopped_at_once() -> Iterator[None]:
    """Inside ``stoppable``, for work that is done again when a run resumes: SIGTERM raises ``Ended``, also one that
    came before, and Ctrl-C KeyboardInterrupt."""
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGTERM) is not _set_stop:
        yield
        return
    if _stop.is_set():
        raise Ended(128 + _stop.signal)
    before = [signal.signal(number, how) for number, how in zip(_SIGNALS, (_end, _interrupt), strict=True)]
    try:
        yield
    finally:
        for number, handler in zip(_SIGNALS, before, strict=True):
            signal.signal(number, handler)


def ignore() -> None:
    """Ctrl-C, which reaches a whole group of processes, does not end this one; its parent does."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    if _POSIX:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _interrupt(number: int, frame: FrameType | None) -> None:
    while frame is not None:
        if frame.f_code.co_filename.startswith(_IMPORT):
            _press_later()
            return
        frame = frame.f_back
    raise KeyboardInterrupt


def _press_later() -> None:
    timer = threading.Timer(_LATER, _press)
    timer.daemon = True
    timer.start()


def _press() -> None:
    if _POSIX:
        signal.pthread_kill(threading.main_thread().ident, signal.SIGINT)  # wakes it where it waits
    else:
        _thread.interrupt_main()
