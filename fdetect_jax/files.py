"""Files that are written whole or not at all, where a job may write, locks on files, and hashes of content."""

import contextlib
import functools
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from fdetect_jax.errors import FULL, UserError

try:
    import fcntl
except ImportError:  # on Windows
    fcntl = None

STDOUT = "-"  # the name by which a job writes to its standard output
_TEMPORARY = ".fdetect-tmp"  # suffix
_WEEK = 7 * 86400.0  # seconds
_HIDDEN = ("Cc", "Cs", "Zl", "Zp")  # Unicode's categories of control characters, half characters and line ends
_TURNING = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")  # its marks that turn the direction


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes ``content`` to ``path`` such that a reader finds the old file or the new one, and never a part of it.

    Text is encoded as UTF-8; what UTF-8 cannot hold, as in a file name of other bytes, is written as its escape.
    Missing parent folders are created. Raises OSError where the folder cannot be written.
    """
    with replacing(path) as temporary, open(temporary, "wb") as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


def write_out(target: str | os.PathLike, text: str) -> None:
    """``write_atomic``, where ``-`` is the standard output."""
    if os.fspath(target) != STDOUT:
        write_atomic(target, text)
        return
    sys.stdout.write(printable(text))
    sys.stdout.flush()


def printable(text: str) -> str:
    """The text with every character that UTF-8 cannot hold as its escape: names of files can be of any bytes."""
    return text.encode("utf-8", "backslashreplace").decode()


def on_one_line(text: str) -> str:
    """The text with every character that ends a line, steers a terminal or turns the direction as its escape.

    Names of files can hold them, and a name must not look like a line of its own.
    """
    return "".join(one.encode("unicode_escape").decode() if _is_hidden(one) else one for one in text)


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN or unicodedata.bidirectional(letter) in _TURNING


def is_stdout(target: str | os.PathLike | None) -> bool:
    """Whether an output's name is that of the standard output."""
    return target is not None and os.fspath(target) in (STDOUT, "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")


def lines_beside(target: str | os.PathLike | None) -> TextIO:
    """Where a job prints its lines: the standard output, or the standard error where that is the ``target`` of rows."""
    return sys.stderr if is_stdout(target) else sys.stdout


def check_output(path: str | os.PathLike, name: str) -> None:
    """Raises UserError, which begins with the field's ``name``, where a file cannot be written to ``path``."""
    path = Path(path)
    if os.fspath(path) == STDOUT:
        if sys.stdout is None:
            raise UserError(f"{name}: found the standard output closed, wanted one that is open, or the name of a file")
        return
    if path.is_dir():
        raise UserError(f"{name}: found a folder at {path}, wanted the name of a file")
    if not _is_stream(path):
        _check_writable(Path(os.path.realpath(path)).parent, name)
    elif not os.access(path, os.W_OK):
        raise UserError(f"{name}: found {path}, which cannot be written, wanted the name of a file")


def check_folder(path: str | os.PathLike, name: str) -> None:
    """Raises UserError, which begins with the field's ``name``, where no folder ``path`` can be made or written in."""
    _check_writable(Path(path), name)


def _check_writable(folder: Path, name: str) -> None:
    nearest = folder.absolute()
    while not os.path.lexists(nearest):
        nearest = nearest.parent
    if not nearest.is_dir():
        raise UserError(f"{name}: found a file at {nearest}, wanted a folder, or a name for a new one")
    try:
        tempfile.TemporaryFile(dir=nearest).close()  # permissions alone say nothing of /proc
    except OSError:
        raise UserError(f"{name}: found the folder {nearest}, which cannot be written") from None


@contextlib.contextmanager
def replacing(path: str | os.PathLike) -> Iterator[Path]:
    """Yields the path of a new, empty file beside ``path``; on leaving, it is flushed to disk and replaces ``path``.

    After an exception the new file is removed and ``path`` stays as it was. The name of the new file is random, so any
    number of threads, processes, containers and machines may write the same path at once: the last one to finish wins.
    Its permissions are those that ``open`` gives. Where ``path`` is a link, the file that it names is replaced. A
    device, a pipe or an open file of this process (/dev/stdout) is not replaced: the new file's content is written to
    it.

    A killed process leaves its new file behind. Every process removes such files the first time it writes into a
    folder, if they have not changed for a week.
    """
    path = Path(path)
    if _is_stream(path):
        with _written_through(path) as temporary:
            yield temporary
        return
    path = Path(os.path.realpath(path)) if path.is_symlink() else path
    path.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(path.parent.absolute())
    temporary = path.with_name(f".{secrets.token_hex(8)}{_TEMPORARY}")
    try:
        open(temporary, "xb").close()
        yield temporary
        with open(temporary, "r+b") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        if error.errno in FULL and error.filename in (None, str(temporary)):
            error.filename = str(path)  # a write names no file
        raise
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def _written_through(path: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fdetect_") as folder:
        temporary = Path(folder) / f"content{path.suffix}"
        temporary.touch()
        yield temporary
        sys.stdout.flush()  # what was printed before comes before
        # An open file goes on where it is: the shell may have sent it to a file, which must not begin anew.
        number = _descriptor(path)
        descriptor = os.open(path, os.O_WRONLY) if number is None else os.dup(number)
        with open(temporary, "rb") as source, os.fdopen(descriptor, "wb") as target:
            shutil.copyfileobj(source, target)


def _is_stream(path: Path) -> bool:
    """Whether a path names what exists and is no file of its own: a device, a pipe, or an open file of a process."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode)) or _descriptor(path) is not None


def _descriptor(path: Path) -> int | None:
    """The number of this process's open file that a path names: 1 of /dev/stdout."""
    where = os.path.abspath(path)
    for _ in range(40):  # links, as many as the system follows
        if found := re.match(rf"/(?:dev|proc/self|proc/{os.getpid()})/fd/(\d+)$", where):
            return int(found[1])
        if not os.path.islink(where):
            return None
        where = os.path.normpath(os.path.join(os.path.dirname(where), os.readlink(where)))
    return None


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


def is_temporary(name: str) -> bool:
    """Whether a file's name is one that ``replacing`` gives: what a killed process left."""
    return name.startswith(".") and name.endswith(_TEMPORARY)


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
