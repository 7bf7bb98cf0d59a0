"""How a process uses the machine it runs on. What concerns JAX is to be called before it is imported."""

import contextlib
import ctypes
import multiprocessing
import os
import sys
import threading
from multiprocessing import connection
from pathlib import Path

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of glibc's malloc.h


def set_up() -> None:
    """Memory, vectors and compiled programs as below, for a process that computes."""
    keep_freed_memory()
    use_wide_vectors()
    keep_compiled()


def keep_compiled() -> None:
    """Lets JAX keep in the user's cache what took a second to compile or more; the environment may say otherwise."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(cache / "fdetect_jax" / "compiled"))
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "1.0")


def keep_freed_memory() -> None:
    """Lets this process keep what it frees, for the next step to use.

    glibc gives large buffers back to the system at once, and XLA asks for its whole workspace anew at every call on a
    CPU: at 380 px a third of the time of a gradient was the kernel's, clearing pages. Other C libraries are left alone.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            mallopt(option, value)


def use_wide_vectors() -> None:
    """Lets XLA use 512-bit vectors on CPUs that have them, as it does not by itself; XLA_FLAGS may say otherwise.

    2 to 7 % of EfficientNet-B4's time on a Zen 5.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_prefer_vector_width" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width=512".strip()


def end_with_parent() -> None:
    """Ends this process, which another one started by ``multiprocessing``, when that one ends.

    A parent that is killed cannot end its children itself.
    """
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    connection.wait([parent])
    os._exit(1)
