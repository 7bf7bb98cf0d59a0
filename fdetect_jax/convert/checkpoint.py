"""Checkpoints of other projects: a file in, its nested dicts with tensors not yet loaded out. PyTorch is not needed.

Reads PyTorch's zip files and its older streams, NVlabs' pickles, safetensors, Keras' HDF5 and TensorFlow's checkpoints,
by the path of their index. Nothing in a file is executed.
"""

import io
import json
import math
import os
import zipfile
from pathlib import Path
from typing import Any, BinaryIO

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, safe_open

from fdetect_jax.convert import keras, pickles, tf_checkpoint
from fdetect_jax.convert.pickles import Persistent
from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor, brief

MAX_PICKLE = 1 << 28  # bytes of the pickle inside a zip file, whose tensors lie beside it
# Where a file keeps the weights of a network; averaged ones first, as whoever trained it evaluated those.
WRAPPERS = ("state_dict_ema", "model_ema", "ema_state_dict", "state_dict", "model", "model_state_dict", "net")
_MAX_VALUES = 1 << 48  # of one storage
_PICKLE_STARTS = (b"\x80", b"(", b"]", b"}", b")", b"c")  # a protocol, or how older ones begin
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_LEGACY_PROTOCOL = 1001
_ZIP_ERRORS = (zipfile.BadZipFile, OSError, NotImplementedError, RuntimeError, EOFError, ValueError)


def read_checkpoint(path: str | os.PathLike) -> Any:
    """What a checkpoint holds: nested dicts, lists and plain values, with `Tensor` and `Persistent` among them.

    Raises:
      CheckpointError: no such file, none of the six formats, damaged, or naming anything that is not weights.
    """
    path = Path(path)
    if not file_size(path):
        raise CheckpointError(f"{path}: an empty file, wanted a checkpoint")
    with path.open("rb") as file:
        start = file.read(16)
        file.seek(0)
        try:
            if start.startswith(b"PK"):
                return _read_zip(path)
            if start.startswith(keras.SIGNATURE):
                return keras.read(path)
            if tf_checkpoint.is_index(path):
                return tf_checkpoint.read(path)
            if start[8:9] == b"{":
                return _read_safetensors(path)
            if start[:1] in _PICKLE_STARTS:
                return _read_stream(file, path)
        except CheckpointError as error:
            raise CheckpointError(f"{path}: {error}") from None
    raise CheckpointError(
        f"{path}: begins with {start[:8]!r}, wanted a PyTorch checkpoint, an NVlabs pickle, safetensors, Keras' HDF5 "
        "or the index of a TensorFlow checkpoint"
    )


def file_size(path: str | os.PathLike) -> int:
    """Bytes of a checkpoint. Raises CheckpointError where there is no such file."""
    if not os.path.isfile(path):
        raise CheckpointError(f"{path}: no such file, wanted a checkpoint")
    return os.path.getsize(path)


def _read_zip(path: Path) -> Any:
    """PyTorch's format since 1.6: NAME/data.pkl, and NAME/data/KEY for every storage, none compressed."""
    try:
        archive = zipfile.ZipFile(path)  # stays open as long as a tensor may be read from it
        entries = {info.filename: info for info in archive.infolist()}
    except _ZIP_ERRORS as error:
        raise CheckpointError(f"truncated or damaged zip file ({error})") from None
    roots = [name.removesuffix("data.pkl") for name in entries if name.endswith("/data.pkl")]
    if len(roots) != 1:
        raise CheckpointError(f"a zip file with {len(roots)} data.pkl, wanted a PyTorch checkpoint with one")
    root = roots[0]

    def entry(name: str, limit: int) -> bytes:
        info = entries.get(root + name)
        if info is None:
            raise CheckpointError(f"truncated: holds no {root}{name}")
        if info.compress_type != zipfile.ZIP_STORED or info.file_size > limit:
            raise CheckpointError(f"{root}{name}: compressed or of {info.file_size} bytes, wanted {limit} at most")
        try:
            return archive.read(info)
        except _ZIP_ERRORS as error:
            raise CheckpointError(f"{root}{name}: truncated or damaged ({error})") from None

    if root + "byteorder" in entries and entry("byteorder", 16) != b"little":
        raise CheckpointError("written on a big-endian machine, wanted little-endian")

    def storage(found: Any) -> Storage:
        name, count = _storage_id(found)
        dtype = pickles.storage_dtype(found[1])
        return Storage(dtype, count, lambda: entry(f"data/{name}", count * dtype.itemsize))

    return pickles.read_bytes(entry("data.pkl", MAX_PICKLE), persistent=storage)


def _storage_id(found: Any) -> tuple[str, int]:
    """("storage", type, key, device, count, …) to (key, count)."""
    if not isinstance(found, tuple) or len(found) < 5 or found[0] != "storage":
        raise CheckpointError(f"points to {brief(found)}, wanted a storage")
    key, count = found[2], found[4]
    if not isinstance(count, int) or isinstance(count, bool) or not 0 <= count < _MAX_VALUES:
        raise CheckpointError(f"a storage of {brief(count)} values")
    return _storage_key(key), count


def _storage_key(key: Any) -> str:
    if not isinstance(key, str | int):
        raise CheckpointError(f"a storage is called {brief(key)}, wanted text or a number")
    return str(key)


def _read_stream(file: BinaryIO, path: Path | None) -> Any:
    """PyTorch's older format (pickles, then raw storages), or one plain pickle with such streams inside.

    path: where the stream lies, so that storages are read from it when wanted; None: it lies in memory.
    """
    nested = None if path is None else _one_tensor
    first = pickles.read(file, nested=nested)
    if not isinstance(first, int) or first != _LEGACY_MAGIC:
        if path is None:
            raise CheckpointError("a pickled tensor that is no PyTorch stream")
        return first
    version = pickles.read(file)
    if not isinstance(version, int) or version != _LEGACY_PROTOCOL:
        raise CheckpointError(f"not PyTorch's stream protocol {_LEGACY_PROTOCOL}")
    system = pickles.read(file)
    if not isinstance(system, dict) or system.get("little_endian") is not True:
        raise CheckpointError("written on a big-endian machine, wanted little-endian")
    storages: dict[str, Storage] = {}

    def storage(found: Any) -> Storage:
        name, count = _storage_id(found)
        if len(found) > 5 and found[5] is not None:
            raise CheckpointError("a storage that is a view of another, wanted whole ones")
        return storages.setdefault(name, Storage(pickles.storage_dtype(found[1]), count, bytes))

    value = pickles.read(file, persistent=storage)
    keys = pickles.read(file)
    if not isinstance(keys, list) or set(map(_storage_key, keys)) != set(storages) or len(keys) != len(storages):
        raise CheckpointError("truncated: its list of storages is not that of its tensors")
    for key in map(_storage_key, keys):
        found = storages[key]
        head = file.read(8)
        count = int.from_bytes(head, "little", signed=True)
        size = found.count * found.dtype.itemsize
        if len(head) != 8 or count != found.count:
            raise CheckpointError(f"truncated: found no storage {key} of {found.count} values")
        if path is None:
            found.read = _held(file.read(size))
        else:
            found.read = _at(path, file.tell(), size)
            if file.seek(size, io.SEEK_CUR) > path.stat().st_size:
                raise CheckpointError(f"truncated: the file ends within storage {key}")
    return value


def _held(data: bytes):
    return lambda: data


def _at(path: Path, start: int, size: int):
    def read() -> bytes:
        with path.open("rb") as file:
            file.seek(start)
            return file.read(size)

    return read


def _one_tensor(data: Any = b"") -> Any:
    """A storage that was pickled on its own, as NVlabs' pickles have them."""
    if not isinstance(data, bytes):
        raise CheckpointError("a pickled tensor that is not bytes")
    return _read_stream(io.BytesIO(data), None)


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        with safe_open(path, framework="numpy"):  # checks the header, and that the file is whole
            pass
    except SafetensorError as error:
        raise CheckpointError(f"truncated or damaged safetensors ({error})") from None
    with path.open("rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
    header.pop("__metadata__", None)
    out = {}
    for key, entry in header.items():
        if entry["dtype"] not in _SAFE_DTYPES:
            raise CheckpointError(f"{key}: found values of type {entry['dtype']}, wanted one of {sorted(_SAFE_DTYPES)}")
        start, end = entry["data_offsets"]
        shape = tuple(entry["shape"])
        storage = Storage(_SAFE_DTYPES[entry["dtype"]], math.prod(shape), _at(path, 8 + size + start, end - start))
        out[key] = Tensor(storage, 0, shape, tuple(math.prod(shape[i + 1 :]) for i in range(len(shape))))
    return out


_SAFE_DTYPES = {
    "F64": np.dtype("<f8"),
    "F32": np.dtype("<f4"),
    "F16": np.dtype("<f2"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "I64": np.dtype("<i8"),
    "I32": np.dtype("<i4"),
    "U8": np.dtype("u1"),
    "BOOL": np.dtype("?"),
}


def state_dict(found: Any, what: str) -> dict[str, Tensor]:
    """The tensors of a checkpoint, flat.

    Raises:
      CheckpointError: it holds no tensors there.
    """
    if not isinstance(found, dict):
        raise CheckpointError(f"{what}: found {type(found).__name__}, wanted a state dict")
    tensors = {key: value for key, value in found.items() if isinstance(key, str) and isinstance(value, Tensor)}
    if not tensors:
        keys = sorted(map(brief, found))[:12]
        raise CheckpointError(f"{what}: found no tensors but {', '.join(keys) or 'nothing'}, wanted a state dict")
    if strange := sorted(map(brief, found.keys() - tensors.keys()))[:12]:
        raise CheckpointError(f"{what}: found {', '.join(strange)} among the tensors, wanted a state dict")
    return tensors


def chosen_weights(found: Any, key: str | None) -> tuple[Any, str, list[str]]:
    """The weights of a file that keeps some under a key.

    Args:
      found: what `read_checkpoint` gives. key: which to take; None: the first of `WRAPPERS` that is there, and the
        whole file where none is.

    Returns:
      the weights, the key ("" for the whole file), and the other keys that could have been chosen.

    Raises:
      CheckpointError: no weights under that key; names those that are there.
    """
    known = [name for name in WRAPPERS if isinstance(found, dict) and isinstance(found.get(name), dict)]
    if key is None and not known:
        return found, "", []
    chosen = known[0] if key is None else key
    if not isinstance(found, dict) or not isinstance(found.get(chosen), dict):
        raise CheckpointError(f"weights key: found {key!r}, wanted one of {', '.join(known) or 'none: it has no keys'}")
    return found[chosen], chosen, [name for name in known if name != chosen]


def network_state(found: Any) -> dict[str, Tensor]:
    """The `state_dict` of a file of one network, alone or under one of `WRAPPERS`, without DataParallel's prefix."""
    state = state_dict(chosen_weights(found, None)[0], "checkpoint")
    return {key.removeprefix("module."): value for key, value in state.items()}


def module_state(found: Any, what: str) -> dict[str, Tensor]:
    """The state dict of a pickled module tree (`Persistent`), its keys joined by dots."""
    out: dict[str, Tensor] = {}
    waiting = [("", found)]
    for _ in range(100_000):
        if not waiting:
            return out
        prefix, module = waiting.pop()
        if not isinstance(module, Persistent):
            raise CheckpointError(f"{what}{prefix and '.' + prefix}: found {type(module).__name__}, wanted a module")
        for group in ("_parameters", "_buffers"):
            for name, value in _dict(module.state.get(group)).items():
                if isinstance(value, Tensor):
                    out[f"{prefix}{name}"] = value
        for name, child in _dict(module.state.get("_modules")).items():
            if child is not None:
                waiting.append((f"{prefix}{name}.", child))
    raise CheckpointError(f"{what}: more modules than a network has")


def module_at(found: Persistent, path: str) -> dict:
    """The attributes of a sub-module of a pickled module tree; empty where there is none."""
    for name in path.split("."):
        found = _dict(found.state.get("_modules")).get(name)
        if not isinstance(found, Persistent):
            return {}
    return found.state


def _dict(found: Any) -> dict:
    return found if isinstance(found, dict) else {}
