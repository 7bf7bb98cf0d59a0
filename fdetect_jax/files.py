"""Files that are either whole or not there."""

import hashlib
import os
from pathlib import Path


def write_atomic(path: str | os.PathLike, content: str | bytes) -> None:
    """Writes beside ``path`` and renames over it: no reader and no kill meets half a file. Text is UTF-8.

    Folders are made as needed. Raises OSError where the folder cannot be written.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content.encode() if isinstance(content, str) else content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def sha256_of(path: str | os.PathLike) -> str:
    """Of a file's content, in hex digits. Raises OSError where it cannot be read."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
