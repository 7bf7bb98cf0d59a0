"""What ``prepare`` notes beside its shards, read back. In: its folder. Out: the manifest, and what was left out.

Readers work with every row of them, so a file that somebody changed or damaged is refused here, with its name.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.fields import json_file, one_of, refuse
from fdetect_jax.types import FAKE, KINDS, REAL

MANIFEST, QUARANTINE = "manifest.json", "quarantine.json"
_WANTED = "what `fdetect prepare` wrote"
_PARTS = {
    "data_set": str,
    "recipe": dict,
    "sampling": dict,
    "faces": str,
    "counts": dict,
    "shards": dict,
    "files": list,
}
_FILE = dict.fromkeys(("file", "split", "method", "source", "identity", "video"), str) | {"label": int, "frames": int}
_LEFT_OUT = {"file": str, "split": str, "reason": str}


def read_manifest(folder: str | Path) -> dict[str, Any]:
    """The manifest of a prepared folder. Raises UserError where it has none, or none that can be used."""
    path = Path(folder) / MANIFEST
    if not path.is_file():
        raise UserError(f"{folder}: found no {MANIFEST}, wanted a folder that `fdetect prepare` finished")
    found = json_file(path, _WANTED)
    _check(found, _PARTS, str(path))
    for split, methods in found["counts"].items():
        _check(methods, {}, f"{path}: counts.{split}")
    for name, digest in found["shards"].items():
        _check({name: digest}, {name: str}, f"{path}: shards")
    for number, row in enumerate(found["files"]):
        place = f"{path}: files[{number}]"
        _check(row, _FILE, place)
        one_of(row, "label", (REAL, FAKE), place)
        if "kind" in row:  # earlier versions do not state it
            one_of(row, "kind", (*KINDS, "unknown"), place)
    return found


def read_quarantine(folder: str | Path) -> list[dict[str, Any]]:
    """The rows of what was left out; none where the file is missing. Raises UserError where it cannot be used."""
    path = Path(folder) / QUARANTINE
    rows = json_file(path, _WANTED) if path.is_file() else []
    if not isinstance(rows, list):
        refuse(str(path), rows, f"a list, {_WANTED}")
    for number, row in enumerate(rows):
        _check(row, _LEFT_OUT, f"{path}: [{number}]")
    return rows


def _check(found: Any, wanted: Mapping[str, type], place: str) -> None:
    """Raises UserError where ``found`` is no object with these fields of these types."""
    if not isinstance(found, dict):
        refuse(place, found, f"an object, {_WANTED}")
    for name, kind in wanted.items():
        if not isinstance(found.get(name), kind):
            refuse(f"{place}.{name}", found.get(name), f"a {kind.__name__}, {_WANTED}")
