"""Weights in self-describing safetensors files. In: variables. Out: a file, and back.

The metadata holds ``kind``, ``config`` (JSON), ``dtype`` and notes of the writer (source, licence, …).
"""

import json
import os
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from fdetect_jax.errors import UserError
from fdetect_jax.files import write_atomic


class WeightsError(UserError):
    """A weights file that cannot be used; the message names the file, the value found and the value wanted."""


def save(path: str | os.PathLike, kind: str, config: dict, variables: Any, dtype=np.float32, **notes: str) -> None:
    """Writes ``variables`` (a nested dict of arrays) atomically, floats as ``dtype``; equal input gives equal bytes."""
    flat = flax.traverse_util.flatten_dict(dict(variables), sep="/")
    tensors = {}
    for name, value in flat.items():
        array = np.asarray(value)
        kept = dtype if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype
        tensors[name] = np.array(array, kept, order="C")  # ascontiguousarray would give a scalar an axis
    metadata = {"kind": kind, "config": json.dumps(config, sort_keys=True), "dtype": np.dtype(dtype).name, **notes}
    write_atomic(path, _ordered(serialize(tensors, metadata)))


def annotate(path: str | os.PathLike, output: str | os.PathLike, **notes: str) -> None:
    """Copies a weights file, its arrays bit for bit, and adds notes to its metadata. Raises like ``describe``."""
    describe(path)
    write_atomic(output, _ordered(Path(path).read_bytes(), **notes))


def _ordered(file: bytes, **notes: str) -> bytes:
    """The safetensors file with sorted metadata: the library writes them in a random order."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    header["__metadata__"] = dict(sorted((header["__metadata__"] | notes).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + file[end:]


def describe(path: str | os.PathLike, kind: str | None = None) -> tuple[dict, dict]:
    """(config, metadata) of a file, from its header alone. Raises like ``read``."""
    config, _, metadata = _open(path, kind, tensors=False)
    return config, metadata


def read(path: str | os.PathLike, kind: str | None = None) -> tuple[dict, dict, dict]:
    """Reads (config, variables as float32, metadata).

    Raises:
      WeightsError: no such file, not safetensors, no description, or another kind than ``kind``.
    """
    return _open(path, kind, tensors=True)


def _open(path: str | os.PathLike, kind: str | None, tensors: bool) -> tuple[dict, dict, dict]:
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, wanted safetensors weights" + (f" of kind {kind!r}" if kind else ""))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            flat = {name: file.get_tensor(name) for name in file.keys() if tensors}  # noqa: SIM118
    except SafetensorError as error:
        if path.suffix in (".pt", ".pth", ".tar", ".pkl", ".bin", ".ckpt"):
            output = path.with_name(f"{path.name.split('.')[0]}.safetensors")
            command = f"fdetect convert KIND --input {path} --output {output}"
            raise WeightsError(f"{path}: a checkpoint of another program, wanted what `{command}` writes") from None
        raise WeightsError(f"{path}: not a safetensors file ({error})") from None
    if "kind" not in metadata or "config" not in metadata:
        raise WeightsError(
            f"{path}: found no description (kind, config) in its metadata, wanted a file written by fdetect; "
            "`fdetect convert KIND` makes one of a public checkpoint"
        )
    if kind is not None and metadata["kind"] != kind:
        raise WeightsError(f"{path}: found weights of kind {metadata['kind']!r}, wanted {kind!r}")
    try:
        config = json.loads(metadata["config"])
    except json.JSONDecodeError:
        raise WeightsError(f"{path}: found the config {metadata['config']!r} in its metadata, wanted JSON") from None
    for name, value in flat.items():
        if jnp.issubdtype(value.dtype, jnp.floating):  # NumPy does not count bfloat16 as floating
            flat[name] = value.astype(np.float32)
    return config, flax.traverse_util.unflatten_dict(flat, sep="/"), metadata
