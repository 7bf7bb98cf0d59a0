"""Process settings for the machine it runs on. Call those that concern JAX before JAX is imported."""

import atexit
import contextlib
import ctypes
import gc
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from multiprocessing import connection
from pathlib import Path

from fdetect_jax.errors import UserError
from fdetect_jax.files import check_folder

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of glibc's malloc.h


_MAIN = threading.RLock()
_CLIENT = "from jaxlib import xla_client; xla_client.make_cpu_client()"


def set_up() -> None:
    """Memory, vectors, the compilation cache and a quick end, for a process that computes.

    Raises UserError as ``check_flags`` does.
    """
    check_flags()
    keep_freed_memory()
    use_wide_vectors()
    keep_compiled()
    atexit.register(gc.freeze)  # or Python looks for garbage once more, through all of JAX: 0.16 s of 0.22 s at the end


def keep_compiled() -> None:
    """Caches programs that JAX compiled in 0.3 s or more (the bundled detector's: about 1 s), in the user's cache.

    The environment can override it.
    """
    with contextlib.suppress(UserError):  # without a cache programs are compiled every time
        folder = cache_folder() / "compiled"
        check_folder(folder, "")
        os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(folder))
        os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.3")


def cache_folder() -> Path:
    """``$XDG_CACHE_HOME/fdetect_jax``, or ``~/.cache/fdetect_jax``. Not created here.

    Raises UserError where the user has no home.
    """
    try:
        root = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    except RuntimeError:
        raise UserError("XDG_CACHE_HOME: found none and no home folder, wanted a folder for caches") from None
    return Path(root) / "fdetect_jax"


def keep_freed_memory() -> None:
    """Keeps freed memory in this process, for the next step to use.

    glibc returns large buffers to the system at once, and on a CPU XLA allocates its whole workspace at every call: at
    380 px the kernel spent a third of the time of a gradient clearing pages. Other C libraries are not changed.
    """
    if sys.platform != "linux":
        return
    with contextlib.suppress(AttributeError):  # musl has no mallopt
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in ((_ARENA_MAX, 1), (_MMAP_MAX, 0), (_TRIM_THRESHOLD, -1)):
            mallopt(option, value)


def use_wide_vectors() -> None:
    """Lets XLA use 512-bit vectors on CPUs that have them, which is not its default; XLA_FLAGS can override it.

    Saves 2 to 7 % of EfficientNet-B4's time on a Zen 5.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if "xla_cpu_prefer_vector_width" not in flags:
        os.environ["XLA_FLAGS"] = f"{flags} --xla_cpu_prefer_vector_width=512".strip()


def check_flags() -> None:
    """Raises UserError where XLA does not take what the user set as XLA_FLAGS.

    XLA itself would end the process with status 1, by which ``fdetect predict`` says that a file is fake. Another
    process tries the flags, before JAX is imported; where none are set, or JAX is there, nothing is done.
    """
    flags = os.environ.get("XLA_FLAGS", "")
    if not flags.strip() or "jaxlib" in sys.modules:
        return
    tried = subprocess.run([sys.executable, "-c", _CLIENT], capture_output=True, text=True, errors="replace")
    if tried.returncode:
        reason = (tried.stderr.strip().splitlines() or [f"exit status {tried.returncode}"])[-1].partition("] ")
        raise UserError(f"XLA_FLAGS: found {flags!r}, which XLA does not take: {reason[2] or reason[0]}")


@contextlib.contextmanager
def hidden_main() -> Iterator[None]:
    """Processes that ``multiprocessing`` spawns in this block do not run the caller's main module again: a script
    without ``if __name__ == "__main__"`` would start over in each of them."""
    main = sys.modules["__main__"]
    with _MAIN:
        kept = {name: main.__dict__.pop(name) for name in ("__spec__", "__file__") if name in main.__dict__}
        main.__spec__ = None
        try:
            yield
        finally:
            main.__dict__.update(kept)


def end_with_parent() -> None:
    """Ends this process, started by ``multiprocessing``, when its parent ends.

    A killed parent cannot end its children.
    """
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()


def _end_with(parent: int) -> None:
    connection.wait([parent])
    os._exit(1)
