"""A folder to work in that is removed afterwards, also when its process was killed. In: the folder it lies in."""

import contextlib
import secrets
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

from fdetect_jax.files import hold, is_held

_UNFINISHED, _LOCK = ".unfinished-", "lock"
_DAY = 86400.0  # seconds


@contextlib.contextmanager
def working_folder(parent: Path) -> Iterator[Path]:
    """Yields a new folder in ``parent`` and removes it on leaving.

    The process holds the lock of a file in it. First removes the folders that killed processes left in ``parent``:
    those whose lock nobody holds and in which nothing has changed for a day. The lock protects a process that is slow
    or suspended, the day one on a machine whose locks are not seen here.
    """
    parent.mkdir(parents=True, exist_ok=True)
    for left in parent.glob(f"{_UNFINISHED}*"):
        with contextlib.suppress(OSError):  # another process removes it as well
            if time.time() - _changed(left) > _DAY and not _is_held(left):
                shutil.rmtree(left)
    working = parent / f"{_UNFINISHED}{secrets.token_hex(8)}"
    working.mkdir()
    try:
        with hold(working / _LOCK):
            yield working
    finally:
        shutil.rmtree(working, ignore_errors=True)


def _changed(folder: Path) -> float:
    """When anything in the folder was last changed, seconds since 1970."""
    return max(path.lstat().st_mtime for path in (folder, *folder.rglob("*")))


def _is_held(folder: Path) -> bool:
    try:
        return is_held(folder / _LOCK)
    except FileNotFoundError:  # killed before it could lock
        return False
