"""How a process holds on to memory between steps."""

import contextlib
import ctypes
import sys

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of glibc's malloc.h


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for the next step to use; call it before JAX allocates.

    glibc gives large buffers back to the system at once, and XLA asks for its whole workspace anew at every call on a
    CPU: at 380 px a third of the time of a gradient was the kernel's, clearing pages. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            mallopt(option, value)
