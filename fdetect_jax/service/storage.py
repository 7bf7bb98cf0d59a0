"""The files of jobs, at any fsspec URL. In: a URL. Out: Storage. Each job has a folder; names in it are ours alone."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import fsspec

from fdetect_jax.errors import UserError

_BLOCK = 1 << 20


class Storage:
    """Files by paths like ``FOLDER/NAME``; all methods may be called from any thread and any process."""

    def __init__(self, url: str):
        try:
            self._system, root = fsspec.core.url_to_fs(url)
            self._system.makedirs(root, exist_ok=True)
        except (ValueError, ImportError, OSError) as error:
            raise UserError(f"storage: cannot be used: {' '.join(str(error).split())}") from None
        self._root = root.rstrip("/")
        self._local = getattr(self._system, "local_file", False) or self._system.protocol in ("file", ("file", "local"))

    def put(self, source: Path, path: str) -> None:
        """Moves a local file here: whole, or not at all."""
        target = self._at(path)
        self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._local:
            partial = f"{target}.part"
            shutil.move(source, partial)
            Path(partial).rename(target)
        else:
            self._system.put_file(str(source), target)
            source.unlink()

    def write(self, path: str, content: bytes) -> None:
        """A small file: whole, or not at all."""
        target = self._at(path)
        self._system.makedirs(target.rpartition("/")[0], exist_ok=True)
        if self._local:
            Path(f"{target}.part").write_bytes(content)
            Path(f"{target}.part").rename(target)
        else:
            self._system.pipe_file(target, content)

    def read(self, path: str) -> bytes:
        """Raises FileNotFoundError."""
        return self._system.cat_file(self._at(path))

    def fetch(self, path: str, target: Path) -> None:
        """Copies a file to a local path. Raises FileNotFoundError."""
        with self.open(path) as source, open(target, "xb") as file:
            shutil.copyfileobj(source, file, _BLOCK)

    def open(self, path: str) -> IO[bytes]:
        """To read. Raises FileNotFoundError."""
        return self._system.open(self._at(path), "rb")

    def size(self, path: str) -> int:
        """Bytes. Raises FileNotFoundError."""
        return self._system.size(self._at(path))

    def copy(self, source: str, target: str) -> None:
        """Of one file or folder. Raises FileNotFoundError."""
        self._system.makedirs(self._at(target).rpartition("/")[0], exist_ok=True)
        self._system.copy(self._at(source), self._at(target), recursive=True)

    def remove(self, path: str) -> None:
        """Removes a file or a folder; one that is not there counts as removed."""
        target = self._at(path)
        try:
            self._system.rm(target, recursive=True)
        except FileNotFoundError:
            if self._system.exists(target):  # another process removed a part of it in the meantime
                self._system.rm(target, recursive=True)

    def folders(self, path: str = "") -> Iterator[str]:
        """The names in a folder."""
        target = self._at(path) if path else self._root
        self._system.invalidate_cache()
        for one in self._system.ls(target, detail=False) if self._system.exists(target) else ():
            yield str(one).rstrip("/").rpartition("/")[2]

    def check(self) -> None:
        """Raises OSError where nothing can be written."""
        self.write("ready", b"")

    def _at(self, path: str) -> str:
        if not path or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError("storage: found a path that leads out of its folder")
        return f"{self._root}/{path}"
