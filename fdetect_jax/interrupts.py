"""Ctrl-C: that of a command is never lost, and the processes that it started leave it to their parent."""

import _thread
import contextlib
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
