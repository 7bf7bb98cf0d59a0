"""Files and folders that are written whole or not at all, locks on them, and hashes of content."""

import contextlib
import functools
import hashlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

_TEMPORARY = ".fdetect-tmp"  # suffix
_WEEK = 7 * 86400.0  # seconds


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes ``content`` to ``path`` such that a reader finds the old file or the new one, and never a part of it.

    Text is encoded as UTF-8. Missing parent folders are created. Raises OSError where the folder cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a new, empty file beside ``path``; on leaving, it is flushed to disk and replaces ``path``.

    After an exception the new file is removed and ``path`` stays as it was. The name of the new file is random, so any
    number of threads, processes, containers and machines may write the same path at once: the last one to finish wins.
    Its permissions are those that ``open`` gives.

    A killed process leaves its new file behind. Every process removes such files the first time it writes into a
    folder, if they have not changed for a week.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute())
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        open(temporary, "xb").close()
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def hold(path: str | os.PathLike) -> Iterator[None]:
    """Creates ``path`` and keeps it locked until the block is left or the process ends.

    The operating system gives the lock back however the process ends (``flock``). Raises FileExistsError where the
    file exists.
    """
    with open(path, "xb") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a file system without locks; ``is_held`` says so of every file on it
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


def is_held(path: str | os.PathLike) -> bool:
    """Whether a process holds ``path``; True where this cannot be known. Raises FileNotFoundError without a file."""
    if fcntl is None:
        return True
    try:
        with open(path, "r+b") as file:  # NFS grants exclusive locks to writers only
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        raise
    except OSError:
        return True
    return False


def sha256_of(path: str | os.PathLike) -> str:
    """SHA-256 of a file's content, 64 hex digits. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def digest(value: Any) -> str:
    """16 hex digits of a value that JSON can hold, equal for equal values on every machine.

    They are the first 64 bits of the SHA-256 of its JSON with sorted keys. Tuples and lists are alike. Raises TypeError
    for a value that JSON cannot hold.
    """
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


@functools.cache
def _remove_leftovers(folder: Path) -> None:
    for left in folder.glob(f".*{_TEMPORARY}"):
        with contextlib.suppress(OSError):
            if time.time() - left.stat().st_mtime > _WEEK:
                left.unlink()
