"""What a process that reads untrusted bytes may not do. In: a ``Confinement``. Out: which of its limits hold here.

Systems, kernels and containers differ: whatever one of them lacks is named, and the work goes on without it.
"""

import contextlib
import ctypes
import errno
import math
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from fdetect_jax.media import system_calls

try:
    import resource
except ImportError:  # on Windows
    resource = None

NOBODY = 65534  # user and group
OUT_OF_MEMORY = 113  # exit status of a process that reached its limit
TITLES = {
    "folder": "a temporary folder of its own",
    "file_bytes": "a limit on what a file may grow to",
    "open_files": "a limit on open files",
    "cpu_seconds": "a limit on processor time",
    "core": "no memory dumps",
    "user": "not as root",
    "privileges": "no new privileges",
    "filter": "no reach into other processes, mounts or the kernel",
    "network": "no network",
    "processes": "no other programs",
    "memory": "a limit on memory",
}
_ARENA_MAX = -8  # of glibc's malloc.h
_ARENAS = 4


@dataclass(frozen=True)
class Confinement:
    """Limits of one process that reads untrusted files. None: no limit of that kind.

    network: True: no network; pipes and sockets that are open go on.
    memory: bytes of address space that it may take in addition to what it has when ``apply`` is called. Threads, their
      stacks and libraries that are loaded later count.
    cpu_seconds: of all its threads together, for each item.
    file_bytes: that any file which it writes may grow to.
    open_files: at once.
    processes: threads that its user may have in addition to those that it has when ``apply`` is called; and the process
      starts no other process at all, where the system can filter that.
    user: becomes the user and group ``NOBODY`` where it was started as root. ``give`` it what it is to read and write.
    folder: where it makes its own folder for temporary files, which is named by its process. It belongs to the starting
      process alone, which removes it in the end.
    """

    network: bool = True
    memory: int | None = 4 << 30
    cpu_seconds: float | None = 1200.0
    file_bytes: int | None = 8 << 30
    open_files: int | None = 256
    processes: int | None = 512
    user: bool = True
    folder: Path | None = None

    def apply(self) -> dict[str, bool | str]:
        """Confines this process for good; called once, when its libraries are loaded and its models are open.

        Returns: for each limit that was wanted, by a key of ``TITLES``, True or why it does not hold.
        """
        held: dict[str, bool | str] = {}
        wanted: list[tuple[str, object, Callable[[], None]]] = [
            ("folder", self.folder, self._take_folder),
            ("file_bytes", self.file_bytes, lambda: _limit("FSIZE", self.file_bytes)),
            ("open_files", self.open_files, lambda: _limit("NOFILE", self.open_files)),
            ("cpu_seconds", self.cpu_seconds, lambda: _limits("CPU")),
            ("core", True, lambda: _limit("CORE", 0)),
            ("user", self.user or None, self._leave_root),
            ("privileges", True, system_calls.gain_nothing),
            ("filter", True, lambda: system_calls.refuse(self.network, self.processes is not None)),
            ("memory", self.memory, self._limit_memory),
        ]
        for name, value, step in wanted:
            if value is not None:
                try:
                    step()
                    held[name] = True
                except (OSError, ValueError, AttributeError) as error:
                    held[name] = str(getattr(error, "strerror", None) or error)
        if self.network:
            held["network"] = held["filter"]
        if self.processes is not None:
            limited = self._limit_threads()
            held["processes"] = True if True in (limited, held["filter"]) else f"{held['filter']}; {limited}"
        return {name: held[name] for name in TITLES if name in held}

    @contextlib.contextmanager
    def per_item(self) -> Iterator[None]:
        """The limit on processor time holds in this block, for what the block takes."""
        if self.cpu_seconds is None or resource is None:
            yield
            return
        _, hard = resource.getrlimit(resource.RLIMIT_CPU)
        used = resource.getrusage(resource.RUSAGE_SELF)
        soft = math.ceil(used.ru_utime + used.ru_stime + self.cpu_seconds)
        resource.setrlimit(resource.RLIMIT_CPU, (_least(soft, hard), hard))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_CPU, (hard, hard))

    def check(self, error: BaseException) -> str | None:
        """Which limit an item's exception tells of, as a reason; None: of none.

        Ends the process where memory ran out: what it still holds would be missing for the next item.
        """
        causes = []
        while error is not None and error not in causes:
            causes.append(error)
            error = error.__cause__ or error.__context__
        if self.memory is not None and (any(map(_lacks_memory, causes)) or _is_nearly_used_up(self.memory)):
            os._exit(OUT_OF_MEMORY)
        if self.file_bytes is not None and any(getattr(one, "errno", None) == errno.EFBIG for one in causes):
            return f"would write a file of more than {_size(self.file_bytes)}"
        return None

    def reason(self, status: int) -> str | None:
        """Which limit ended a process with that ``exitcode``, as a reason; None: none is known to have."""
        if self.memory is not None and status == OUT_OF_MEMORY:
            return f"needs more than {_size(self.memory)} of memory"
        if self.memory is not None and status == -signal.SIGABRT:  # libraries in C++ do this where memory ends
            return f"its process died (SIGABRT), perhaps because it may use only {_size(self.memory)} of memory"
        if self.cpu_seconds is not None and status == -getattr(signal, "SIGXCPU", 0):
            return f"took over {self.cpu_seconds:g} seconds of processor time"
        return None

    def give(self, *paths: str | os.PathLike) -> None:
        """Makes files and folders, not what is in them, those of the confined user. For the process that starts others.

        Does nothing where the confined processes do not change their user.
        """
        if self.user and _is_root():
            for path in paths:
                os.chown(path, NOBODY, NOBODY, follow_symlinks=False)

    def remove(self, process: int) -> None:
        """Removes the temporary folder of a process that has ended."""
        if self.folder is not None:
            shutil.rmtree(self._own(process), ignore_errors=True)

    def _own(self, process: int) -> Path:
        return self.folder / str(process)

    def _take_folder(self) -> None:
        own = self._own(os.getpid())
        self.remove(os.getpid())  # of an earlier process with that number
        own.mkdir(mode=0o700)
        os.environ["TMPDIR"] = str(own)
        tempfile.tempdir = None  # or the one that was used before is used again

    def _leave_root(self) -> None:
        if os.name == "nt":
            raise OSError(errno.ENOSYS, "Windows has no such users")
        if not _is_root():
            return
        own = None if self.folder is None else self._own(os.getpid())
        if own is not None:
            os.chmod(self.folder, 0o711)
        closed = _closed([] if own is None else [self.folder])
        if closed is not None:
            raise OSError(errno.EACCES, f"user {NOBODY} could not read {closed}")
        if own is not None and own.is_dir():
            os.chown(own, NOBODY, NOBODY)
        os.setgroups([])
        os.setgid(NOBODY)
        os.setuid(NOBODY)

    def _limit_memory(self) -> None:
        mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        with contextlib.suppress(AttributeError):  # glibc's; each arena takes 64 MiB, and a machine may have many cores
            ctypes.CDLL(None).mallopt(_ARENA_MAX, _ARENAS)
        _limit("AS", mapped + self.memory)

    def _limit_threads(self) -> bool | str:
        if _is_root():
            return "the system does not count root's processes"
        try:
            hard = _limits("NPROC")[1]
            number = _least(_threads(os.getuid()) + self.processes, hard)
            resource.setrlimit(resource.RLIMIT_NPROC, (number, hard))
            try:
                threading.Thread(target=int).start()
            except RuntimeError:  # the user has others, which cannot be seen from here, as in another container
                resource.setrlimit(resource.RLIMIT_NPROC, (hard, hard))
                return f"other processes of user {os.getuid()} would use it up"
            resource.setrlimit(resource.RLIMIT_NPROC, (number, number))
        except (OSError, ValueError, AttributeError) as error:
            return str(error)
        return True


def _limits(name: str) -> tuple[int, int]:
    if resource is None:
        raise OSError(errno.ENOSYS, f"{sys.platform} has no such limits")
    return resource.getrlimit(getattr(resource, f"RLIMIT_{name}"))


def _limit(name: str, value: int) -> None:
    value = _least(value, _limits(name)[1])
    resource.setrlimit(getattr(resource, f"RLIMIT_{name}"), (value, value))


def _least(value: int, hard: int) -> int:
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def _is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def _threads(user: int) -> int:
    """Of all processes of a user that can be seen."""
    count = 0
    for status in Path("/proc").glob("[0-9]*/status"):
        with contextlib.suppress(OSError):  # it has ended
            lines = dict(line.split(":", 1) for line in status.read_text().splitlines() if ":" in line)
            count += int(lines["Threads"]) if int(lines["Uid"].split()[0]) == user else 0
    return count


def _closed(folders: list[Path]) -> Path | None:
    """The first of Python's own folders that ``NOBODY`` cannot read, or of the given ones that it cannot enter.

    Asks the system as that user, and is root again when it returns.
    """
    read = [Path(os.__file__), Path(__file__), *(Path(one) for one in sys.path if os.path.exists(one)), Path.cwd()]
    groups = os.getgroups()
    try:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        closed = [one for one in read if not os.access(one, os.R_OK, effective_ids=True)]
        return next(iter(closed + [one for one in folders if not os.access(one, os.X_OK, effective_ids=True)]), None)
    finally:
        os.seteuid(0)
        os.setegid(0)
        os.setgroups(groups)


def _lacks_memory(error: BaseException) -> bool:
    insufficient = type(error).__name__ == "error" and getattr(error, "code", None) == -4  # OpenCV's
    return isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM or insufficient


def _is_nearly_used_up(memory: int) -> bool:
    """Whether an eighth or less was ever left: libraries then fail with errors that say nothing of memory."""
    try:
        found = re.search(r"VmPeak:\s+(\d+) kB", Path("/proc/self/status").read_text())
        limit = resource.getrlimit(resource.RLIMIT_AS)[0]
        return limit != resource.RLIM_INFINITY and limit - int(found[1]) * 1024 <= memory // 8
    except MemoryError:
        return True
    except (OSError, AttributeError, TypeError):  # not on Linux
        return False


def _size(size: int) -> str:
    return f"{size / (1 << 30):.3g} GiB" if size >= 1 << 30 else f"{size / (1 << 20):.3g} MiB"
