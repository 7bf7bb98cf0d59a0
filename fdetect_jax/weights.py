"""Weights in self-describing safetensors files. In: variables. Out: a file, and back.

The metadata holds ``kind``, ``config`` (JSON), ``dtype`` and notes of the writer (source, licence, …).
"""

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import flax.linen as nn
import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save as serialize

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import write_atomic

_DTYPES = ("F64", "F32", "F16", "BF16", "I64", "I32", "I16", "I8", "U64", "U32", "U16", "U8", "BOOL")


class WeightsError(UserError):
    """A weights file that cannot be used; the message names the file, the value found and the value wanted."""


def save(
    path: str | os.PathLike,
    kind: str,
    config: dict,
    variables: Any,
    dtype=np.float32,
    dtypes: Mapping[str, Any] | None = None,
    **notes: str,
) -> None:
    """Writes ``variables`` (a nested dict of arrays) atomically, floats as ``dtype``; equal input gives equal bytes.

    dtypes: of the floats whose names begin so, such as "params/fc/", in place of ``dtype``.
    """
    flat = flax.traverse_util.flatten_dict(dict(variables), sep="/")
    tensors = {}
    for name, value in flat.items():
        array = np.asarray(value)
        own = next((own for start, own in (dtypes or {}).items() if name.startswith(start)), dtype)
        kept = own if jnp.issubdtype(array.dtype, jnp.floating) else array.dtype
        tensors[name] = np.array(array, kept, order="C")  # ascontiguousarray would give a scalar an axis
    metadata = {"kind": kind, "config": json.dumps(config, sort_keys=True), "dtype": np.dtype(dtype).name, **notes}
    write_atomic(path, _ordered(serialize(tensors, metadata)))


def annotate(
    path: str | os.PathLike, output: str | os.PathLike, arrays: Mapping[str, np.ndarray] | None = None, **notes: str
) -> None:
    """Copies a weights file, its arrays bit for bit, and adds notes to its metadata. Raises like ``describe``.

    arrays: float32, to add, or to put in the place of those of their names.
    """
    describe(path)
    file = Path(path).read_bytes()
    write_atomic(output, _ordered(_with(file, arrays) if arrays else file, **notes))


def _with(file: bytes, arrays: Mapping[str, np.ndarray]) -> bytes:
    """The safetensors file with these arrays after its own."""
    end = 8 + int.from_bytes(file[:8], "little")
    header = json.loads(file[8:end])
    entries, parts, place = {"__metadata__": header.pop("__metadata__", {})}, [], 0
    kept = {name: one for name, one in header.items() if name not in arrays}
    for name, one in sorted(kept.items(), key=lambda pair: pair[1]["data_offsets"]):
        first, last = one["data_offsets"]
        parts.append(file[end + first : end + last])
        entries[name] = one | {"data_offsets": [place, place := place + last - first]}
    for name, value in arrays.items():
        parts.append(np.array(value, "<f4", order="C").tobytes())
        last = place + len(parts[-1])
        entries[name] = {"dtype": "F32", "shape": list(np.shape(value)), "data_offsets": [place, last]}
        place = last
    text = json.dumps(entries).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(parts)


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


def difference(module: nn.Module, variables: Any, *inputs: Any) -> str:
    """Says of the first array that is not as the module wants it for these inputs what was found and what was wanted.

    ``variables`` may be anything; arrays beside the module's own do not matter. Returns "" where nothing differs, and
    the reason where the module's own fields, which a file gives, do not go together.
    """
    try:
        tree = jax.eval_shape(module.init, jax.random.key(0), *inputs)
    except Exception as error:  # of Flax, JAX and NumPy: the module's fields do not go together
        return f"its config gives no network: {' '.join(str(error).split()):.200}"
    variables = variables if isinstance(variables, dict) else {"all": variables}
    if loose := sorted(name for name, value in variables.items() if not isinstance(value, dict)):
        return f"{loose[0]:.200}: found an array, wanted a collection of them"
    found = flax.traverse_util.flatten_dict(variables, sep="/")
    for name, leaf in sorted(flax.traverse_util.flatten_dict(tree, sep="/").items()):
        shape = getattr(found.get(name), "shape", "nothing")
        if shape != leaf.shape:
            return f"{name}: found {shape}, wanted {leaf.shape}"
    return ""


def _check_names(path: Path, names: Sequence[str]) -> None:
    """Raises WeightsError unless the names are places in nested dicts."""
    above = {name[:end] for name in names for end, letter in enumerate(name) if letter == "/"}
    for name in names:
        if name in above or not all(name.split("/")):
            raise WeightsError(f"{path}: found an array called {name[:200]!r}, wanted names like params/fc/kernel")


def _open(path: str | os.PathLike, kind: str | None, tensors: bool) -> tuple[dict, dict, dict]:
    path = Path(path)
    if not path.is_file():
        raise WeightsError(f"{path}: no such file, wanted safetensors weights" + (f" of kind {kind!r}" if kind else ""))
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            names = list(file.keys()) if tensors else []
            _check_names(path, names)
            for name in names:
                if (dtype := file.get_slice(name).get_dtype()) not in _DTYPES:
                    raise WeightsError(f"{path}: {name}: found values of type {dtype}, wanted one of {_DTYPES}")
            flat = {name: file.get_tensor(name) for name in names}
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
        raise WeightsError(f"{path}: found weights of kind {metadata['kind']!r:.200}, wanted {kind!r}")
    try:
        config = from_json(metadata["config"])
    except ValueError:
        raise WeightsError(
            f"{path}: found the config {metadata['config']!r:.200} in its metadata, wanted JSON"
        ) from None
    for name, value in flat.items():
        if jnp.issubdtype(value.dtype, jnp.floating):  # NumPy does not count bfloat16 as floating
            flat[name] = value.astype(np.float32)
    return config, flax.traverse_util.unflatten_dict(flat, sep="/"), metadata
