"""TensorFlow's checkpoints (V2): an index file in, tensors not yet loaded out. TensorFlow is not needed.

MODEL.index is a table in LevelDB's format (its ``doc/table_format.md``): names in order, each with a protocol buffer
that says type, shape and place of an array in MODEL.data-00000-of-00001 beside it (``tensor_bundle.proto``).
TensorFlow writes these tables without compression. Older checkpoints of one file (V1) are not read. Checksums are not
checked.
"""

import math
from collections.abc import Iterator
from pathlib import Path

import ml_dtypes
import numpy as np

from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor

MAGIC = (0xDB4775248B80FB57).to_bytes(8, "little")  # the last bytes of a table
_FOOTER = 48  # bytes
_MOST = 1 << 26  # bytes of an index; that of a ResNet-152 has 80,000
_DTYPES = {
    1: "<f4",
    2: "<f8",
    3: "<i4",
    4: "u1",
    5: "<i2",
    6: "i1",
    9: "<i8",
    10: "?",
    14: ml_dtypes.bfloat16,
    19: "<f2",
}
_VARINT, _BYTES = 0, 2  # how a field is written
_FIXED = {1: 8, 5: 4}


def is_index(path: Path) -> bool:
    """Whether a file ends as a table does."""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - len(MAGIC)))
        return file.read() == MAGIC


def read(path: Path) -> dict[str, Tensor]:
    """The arrays of a checkpoint by the names of its variables; entries of other types than numbers are left out.

    path: of the index.

    Raises:
      CheckpointError: damaged, or its data is not beside it.
    """
    if path.stat().st_size > _MOST:
        raise CheckpointError(f"an index of {path.stat().st_size} bytes, wanted {_MOST} at most")
    try:
        entries = dict(_table(path.read_bytes()))
        header = _message(entries.pop(b"", b""))
        shards = _one(header, 1)
        if _one(header, 2):
            raise CheckpointError("written on a big-endian machine, wanted little-endian")
        return {name.decode(): tensor for name, entry in entries.items() if (tensor := _tensor(path, shards, entry))}
    except (IndexError, ValueError, TypeError, OverflowError) as error:
        raise CheckpointError(f"damaged index of a TensorFlow checkpoint ({type(error).__name__}: {error})") from None


def _tensor(path: Path, shards: int, entry: bytes) -> Tensor | None:
    fields = _message(entry)
    if (kind := _one(fields, 1)) not in _DTYPES:
        return None
    dtype, shard, start, size = np.dtype(_DTYPES[kind]), *(_one(fields, number) for number in (3, 4, 5))
    shape = tuple(_one(_message(side), 1) for side in _message(fields[2][0]).get(2, [])) if 2 in fields else ()
    file = path.with_name(f"{path.name.removesuffix('.index')}.data-{shard:05d}-of-{shards:05d}")
    if fields.get(7) or math.prod(shape) * dtype.itemsize != size:
        raise CheckpointError(f"an array of shape {shape} in {size} bytes or in slices, wanted whole ones")
    if not file.is_file() or file.stat().st_size < start + size:
        raise CheckpointError(f"found no whole {file.name} beside it, wanted the checkpoint's data")

    def load() -> bytes:
        with file.open("rb") as data:
            data.seek(start)
            return data.read(size)

    strides = tuple(math.prod(shape[axis + 1 :]) for axis in range(len(shape)))
    return Tensor(Storage(dtype, math.prod(shape), load), 0, shape, strides)


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Key and value of every entry."""
    footer = data[-_FOOTER:]
    _, at = _handle(footer, 0)
    (index, _) = _handle(footer, at)
    for _, value in _block(data, *index):
        yield from _block(data, *_handle(value, 0)[0])


def _handle(data: bytes, at: int) -> tuple[tuple[int, int], int]:
    """((offset, size) of a block, where the next field begins)."""
    offset, at = _varint(data, at)
    size, at = _varint(data, at)
    return (offset, size), at


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    block, kind = data[offset : offset + size], data[offset + size]
    if kind:
        raise CheckpointError("a compressed index, wanted one as TensorFlow writes it")
    end, at, key = size - 4 * (int.from_bytes(block[-4:], "little") + 1), 0, b""
    while at < end:
        shared, at = _varint(block, at)
        own, at = _varint(block, at)
        length, at = _varint(block, at)
        key = key[:shared] + block[at : at + own]
        yield key, block[at + own : at + own + length]
        at += own + length


def _varint(data: bytes, at: int) -> tuple[int, int]:
    """(a number of 7 bits a byte, where the next field begins)."""
    value = shift = 0
    while True:
        value |= (data[at] & 127) << shift
        at, shift = at + 1, shift + 7
        if data[at - 1] < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _message(data: bytes) -> dict[int, list]:
    """The fields of a protocol buffer by number: numbers, and bytes of text or of messages."""
    fields, at = {}, 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, kind = tag >> 3, tag & 7
        if kind == _VARINT:
            value, at = _varint(data, at)
        else:
            length, at = _varint(data, at) if kind == _BYTES else (_FIXED[kind], at)
            value, at = data[at : at + length], at + length
        fields.setdefault(number, []).append(value)
    return fields


def _one(fields: dict[int, list], number: int) -> int:
    value = fields.get(number, [0])[0]
    if not isinstance(value, int):
        raise ValueError(f"field {number} is no number")
    return value
