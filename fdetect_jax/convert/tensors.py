"""What checkpoints hold: tensors that are checked but not loaded, and the error of a checkpoint that cannot be used."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np

from fdetect_jax.errors import UserError

_MAX_AXES = 8
_SHOWN = 80  # characters of a value in a message


class CheckpointError(UserError):
    """A checkpoint that cannot be used; the message names the file, what was found and what was wanted."""


def brief(value: Any) -> str:
    """A value of a checkpoint for a message: text and numbers cut to 80 characters, of all else the type alone.

    The `repr` of a container of a checkpoint may never end, or recurse too deeply.
    """
    if isinstance(value, str) and value.isprintable():
        return f"'{value:.{_SHOWN}}'"
    if value is None or isinstance(value, bool | int | float | str | bytes):
        return f"{value!r:.{_SHOWN}}"
    return f"a {type(value).__name__}"


@dataclass
class Storage:
    """Flat values in the file. read: gives their bytes when they are wanted."""

    dtype: np.dtype
    count: int
    read: Callable[[], bytes]


@dataclass
class Tensor:
    """A strided view of a storage, not loaded. offset, shape and strides count values.

    Raises:
      CheckpointError: offset, shape and strides are not whole numbers from 0, or more than 8 axes.
    """

    storage: Storage
    offset: int
    shape: tuple[int, ...]
    strides: tuple[int, ...]

    def __post_init__(self):
        axes = (len(self.shape), len(self.strides))
        if axes[0] != axes[1] or axes[0] > _MAX_AXES:
            raise CheckpointError(f"a tensor has a shape of {axes[0]} axes and strides of {axes[1]}")
        for number in (self.offset, *self.shape, *self.strides):
            if not isinstance(number, int) or isinstance(number, bool) or number < 0:
                raise CheckpointError(
                    f"a tensor has {brief(number)} in its offset, shape or strides, wanted whole numbers from 0"
                )

    def array(self) -> np.ndarray:
        """A copy in memory, C order. Raises CheckpointError where the view leaves its storage."""
        size = int(np.prod(self.shape, dtype=object))
        last = self.offset + sum((n - 1) * s for n, s in zip(self.shape, self.strides, strict=True))
        if size and (last >= self.storage.count or size > self.storage.count):
            raise CheckpointError(f"a tensor of shape {self.shape} reaches beyond its {self.storage.count} values")
        data = self.storage.read()
        item = self.storage.dtype.itemsize
        if len(data) != self.storage.count * item:
            wanted = self.storage.count * item
            raise CheckpointError(f"truncated: a storage holds {len(data)} bytes, wanted {wanted}")
        if not size:
            return np.zeros(self.shape, self.storage.dtype)
        flat = np.frombuffer(data, self.storage.dtype)[self.offset :]
        return np.lib.stride_tricks.as_strided(flat, self.shape, tuple(s * item for s in self.strides)).copy()


DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
    "ShortStorage": np.dtype("<i2"),
    "CharStorage": np.dtype("i1"),
    "ByteStorage": np.dtype("u1"),
    "BoolStorage": np.dtype("?"),
}
