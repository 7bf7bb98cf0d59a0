"""The result of every photo of a folder, kept as soon as it is made, so that a stopped job goes on from there. In: a
cache and the name of what is being made. Out: the results of earlier processes.

Every process appends to a file of its own. A row is a line of JSON, {photo, reason, bytes, landmarks, box}, and the PNG
of that many bytes. What follows a row that a kill cut off is not read.
"""

import contextlib
import json
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fdetect_jax.datasets.photo_crops import Crop
from fdetect_jax.fields import from_json
from fdetect_jax.media.limits import Rejected

_PREFIX, _WEEK = ".crops-", 7 * 86400.0  # seconds


class CropDiary:
    """Notes results, and gives those of earlier processes that were stopped: ``photo in diary``, ``diary[photo]``.

    A context manager, which closes its files.
    """

    def __init__(self, cache: Path, name: str):
        """cache: a folder, created with the first result. name: equal for equal photos and an equal recipe."""
        self._cache, self._name, self._file = cache, name, None
        self._open = contextlib.ExitStack()
        self._rows: dict[str, tuple[BinaryIO, int]] = {}  # the crops of a large folder do not fit into memory
        for path in self._written():
            with contextlib.suppress(FileNotFoundError):  # removed by a process that is done
                file = self._open.enter_context(open(path, "rb"))  # noqa: SIM115 (closed with the stack)
                self._rows |= {photo: (file, start) for photo, start in _places(file)}

    def __enter__(self) -> "CropDiary":
        return self

    def __exit__(self, *error) -> None:
        self._open.close()

    def __contains__(self, photo: str) -> bool:
        return photo in self._rows

    def __getitem__(self, photo: str) -> Crop | Rejected:
        file, start = self._rows[photo]
        file.seek(start)
        row = json.loads(file.readline())
        if "reason" in row:
            return Rejected(row["reason"])
        box = None if row["box"] is None else np.array(row["box"], np.float32)
        return Crop(file.read(row["bytes"]), np.array(row["landmarks"], np.float32), box)

    def add(self, photo: str, result: Crop | Rejected) -> None:
        """Notes a result for later processes, unless it may be another one the next time."""
        if isinstance(result, Rejected):
            if result.passing:
                return
            row, image = {"photo": photo, "reason": result.reason, "bytes": 0}, b""
        else:
            image = result.image
            box = None if result.box is None else result.box.tolist()
            row = {"photo": photo, "bytes": len(image), "landmarks": result.landmarks.tolist(), "box": box}
        if self._file is None:
            self._cache.mkdir(parents=True, exist_ok=True)
            _remove_old(self._cache)
            path = self._cache / f"{_PREFIX}{self._name}-{secrets.token_hex(8)}"
            self._file = self._open.enter_context(open(path, "xb"))  # noqa: SIM115
        self._file.write(json.dumps(row).encode() + b"\n" + image)
        self._file.flush()

    def remove(self) -> None:
        """Removes all results of this name; they lie elsewhere now."""
        for path in self._written():
            path.unlink(missing_ok=True)

    def _written(self) -> list[Path]:
        return list(self._cache.glob(f"{_PREFIX}{self._name}-*"))


def _places(file: BinaryIO) -> Iterator[tuple[str, int]]:
    """The photo of each whole row, and where the row starts."""
    size = file.seek(0, os.SEEK_END)
    start = file.seek(0)
    while line := file.readline():
        try:
            row = from_json(line)
            photo, end = row["photo"], start + len(line) + row["bytes"]
        except (ValueError, KeyError, TypeError):  # cut off by a kill, or damaged
            return
        if not start < end <= size:
            return
        yield photo, start
        start = file.seek(end)


def _remove_old(cache: Path) -> None:
    """Removes what stopped jobs left and nobody continued for a week."""
    for path in cache.glob(f"{_PREFIX}*"):
        with contextlib.suppress(OSError):  # another process removes it as well
            if time.time() - path.stat().st_mtime > _WEEK:
                path.unlink()
