"""Breaks a job at one of its moments. Python imports this file at the start of every process that finds it on its path.

A moment is a call that touches a file below ``FAULT_BELOW``: to open, write, flush, move or remove it. The moments of
all processes of a job are counted together, in the file ``FAULT_COUNT``; at number ``FAULT_AT`` this happens:

    kill        the process at work is killed      kill_main   the job's first process is killed
    interrupt   Ctrl-C: SIGINT to all processes    full        the disk is full: from here on nothing is written
"""

import builtins
import errno
import fcntl
import io
import os
import signal
from typing import Any

_BELOW, _COUNT = os.environ.get("FAULT_BELOW"), os.environ.get("FAULT_COUNT", "")
_KIND, _AT = os.environ.get("FAULT_KIND", ""), int(os.environ.get("FAULT_AT", "-1"))
_open = open


def _moment(what: str, path: Any, directory: int | None = None, writes: bool = True) -> bool:
    """Counts a moment, breaks it if it is the one, and says whether it is (a write then stops half-way)."""
    if isinstance(path, int):
        path = os.readlink(f"/proc/self/fd/{path}")
    elif directory is not None:
        path = os.path.join(os.readlink(f"/proc/self/fd/{directory}"), os.fspath(path))
    path = os.path.abspath(os.fsdecode(path))
    if not path.startswith(f"{_BELOW}/"):
        return False
    with _open(_COUNT, "a+") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        number = len(file.readlines())
        side = "main" if os.getpid() == os.getpgid(0) else "worker"
        print(side, what, path.removeprefix(f"{_BELOW}/"), file=file)
    return number == _AT or (_KIND == "full" and writes and 0 <= _AT < number)


def _break() -> None:
    if _KIND == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif _KIND == "kill_main":
        os.kill(os.getpgid(0), signal.SIGKILL)
        signal.pause()  # until it notices
    elif _KIND == "interrupt":
        os.killpg(0, signal.SIGINT)
    elif _KIND == "full":
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class _Written:
    """An open file of which every write is a moment, and stops half-way at the one that breaks."""

    def __init__(self, file: Any, path: Any):
        self._file, self._path = file, path

    def write(self, content: Any) -> int:
        if _moment("write", self._path):
            self._file.write(content[: len(content) // 2])
            self._file.flush()
            _break()
            return len(content) // 2 + self._file.write(content[len(content) // 2 :])
        return self._file.write(content)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def __enter__(self):
        self._file.__enter__()
        return self

    def __exit__(self, *error):
        return self._file.__exit__(*error)

    def __iter__(self):
        return iter(self._file)


def _opened(path: Any, mode: str = "r", *arguments: Any, **options: Any) -> Any:
    if isinstance(path, int):
        return _open(path, mode, *arguments, **options)
    writes = any(letter in mode for letter in "wax+")
    if _moment("open" if writes else "read", path, writes=writes) and (writes or _KIND != "full"):
        _break()
    file = _open(path, mode, *arguments, **options)
    below = writes and os.path.abspath(os.fsdecode(path)).startswith(f"{_BELOW}/")
    return _Written(file, path) if below else file


def _wrapped(name: str, writes: bool):
    original = getattr(os, name)

    def call(path: Any, *arguments: Any, **options: Any) -> Any:
        directory = options.get("dir_fd", options.get("src_dir_fd"))
        if _moment(name, path, directory, writes) and (writes or _KIND != "full"):
            _break()
        return original(path, *arguments, **options)

    return call


if _BELOW is not None:
    io.open = _opened
    builtins.open = _opened
    for _name, _writes in (
        ("replace", True),
        ("rename", True),
        ("mkdir", True),
        ("fsync", True),
        ("unlink", False),
        ("rmdir", False),
    ):
        setattr(os, _name, _wrapped(_name, _writes))
