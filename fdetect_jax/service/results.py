"""The results of one job in the storage: rows, pictures, page. In: rows of verdicts and what was drawn. Out: files.

In a stored row ``annotated`` and the other pictures are names of files in the same folder.
"""

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.verdicts_page import page_of
from fdetect_jax.service.jobs import Claim
from fdetect_jax.service.records import Document
from fdetect_jax.service.storage import Storage
from fdetect_jax.service.views import REPORT, ROWS

PICTURES = ("annotated", "heat_map", "poster")  # of a row
_TYPES = {"png": "image/png", "jpg": "image/jpeg"}


class Results:
    """What one attempt at a job stores."""

    def __init__(self, storage: Storage, claim: Claim):
        self._storage, self._out = storage, claim.out

    def kept(self, n: int, row: dict[str, Any], folder: Path) -> dict[str, Any]:
        """Moves the pictures of a file's row from ``folder`` here; returns the row as it is stored."""

        def moved(path: str, name: str) -> None:
            self._storage.put(folder / path, f"{self._out}/{name}")

        return _renamed(row, n, moved)

    def copied(self, earlier: Document, file: Document) -> dict[str, Any] | None:
        """The row of the same file in an earlier job, its pictures copied here; None where it is gone."""
        n = file["n"]
        try:
            rows = json.loads(self._storage.read(f"{earlier['out']}/{ROWS}"))
            number = next(one["n"] for one in earlier["files"] if one["sha256"] == file["sha256"])
            row = rows[number] | {"file": file["name"]}
            if row["verdict"] == "unable_to_evaluate":  # a second try may succeed
                return None

            def copied(name: str, to: str) -> None:
                self._storage.copy(f"{earlier['out']}/{name}", f"{self._out}/{to}")

            return _renamed(row, n, copied)
        except (FileNotFoundError, StopIteration):
            return None

    def write(self, rows: Sequence[dict[str, Any]], detector: str, protocol: Protocol) -> None:
        """Writes the rows and the page, which needs no other file."""
        pictures = [_still(row) for row in rows]
        page = page_of(pictures, detector, protocol, self._embedded)
        self._storage.write(f"{self._out}/{REPORT}", page.encode("utf-8", "backslashreplace"))
        self._storage.write(f"{self._out}/{ROWS}", json.dumps(rows).encode())

    def _embedded(self, name: str) -> str:
        """A picture as a data URI."""
        if not name:
            return ""
        content = base64.b64encode(self._storage.read(f"{self._out}/{name}")).decode()
        return f"data:{_TYPES[name.rpartition('.')[2]]};base64,{content}"


def _renamed(row: dict[str, Any], n: int, move: Callable[[str, str], None]) -> dict[str, Any]:
    """A row whose pictures have the names of file ``n``; ``move`` is told of each."""
    made = json.loads(json.dumps(row))
    for holder, field, stem in _pictures(made, n):
        if (path := holder[field]) is not None:
            name = f"{stem}{Path(path).suffix}"
            move(path, name)
            holder[field] = name
    return made


def _pictures(row: dict[str, Any], n: int) -> Iterator[tuple[dict, str, str]]:
    for field in PICTURES:
        yield row, field, f"{field}-{n}"
    for one in row["evidence"]:
        yield one, "picture", f"evidence-{n}-{one['name']}"
    for track in row["tracks"]:
        yield track, "crop", f"face-{n}-{track['track']}"
        yield track, "heat", f"face-{n}-{track['track']}-heat"


def _still(row: dict[str, Any]) -> dict[str, Any]:
    """The row with a video's poster in place of its copy, which is too large for a page."""
    return row if row["kind"] != "video" else row | {"kind": "image", "annotated": row["poster"], "poster": None}
