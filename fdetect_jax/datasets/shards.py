"""A tfds data set at rest in ArrayRecord: random access to its records, without TensorFlow."""

import contextlib
from collections.abc import Iterator
from functools import cached_property
from operator import index as whole
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from fdetect_jax.errors import UnreadableRecord, UserError


class Shards:
    """The records of one split; cheap to send to a worker process."""

    def __init__(self, folder: str | Path, split: str):
        """folder: as ``tfds.builder_from_directory`` takes it."""
        self._folder, self._split = Path(folder), split

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """The record ``index`` in [0, len), decoded.

        Raises UnreadableRecord, naming the shard and the record in it, where the stored bytes cannot be read or
        decoded; IndexError out of range.
        """
        index, records = whole(index), self._records
        if not 0 <= index < len(records):
            raise IndexError(f"index: found {index}, wanted one in [0, {len(records)})")
        try:
            return records[index]
        except (ImportError, MemoryError):  # these say nothing about the record
            raise
        except Exception as error:  # of ArrayRecord, protocol buffers or the image decoder
            message = f"{self._place(index)} cannot be read: {type(error).__name__}: {error}"
            raise UnreadableRecord(message) from error

    def _place(self, index: int) -> str:
        info = self._builder.info.splits[self._split]
        shard = 0
        while index >= info.shard_lengths[shard]:
            index -= info.shard_lengths[shard]
            shard += 1
        return f"{info.filepaths[shard]}: record {index} of {info.shard_lengths[shard]}"

    @cached_property
    def _builder(self) -> tfds.core.DatasetBuilder:
        with _opening(self._folder):
            return tfds.builder_from_directory(self._folder)

    @cached_property
    def _records(self) -> Any:
        with _opening(self._folder):
            return self._builder.as_data_source(split=self._split)

    def __getstate__(self) -> dict:
        return {"_folder": self._folder, "_split": self._split}


@contextlib.contextmanager
def _opening(folder: Path) -> Iterator[None]:
    """Raises UserError, naming the folder, for whatever tfds raises about damaged files in it."""
    try:
        yield
    except (ImportError, MemoryError, UserError):
        raise
    except Exception as error:
        why = f"{type(error).__name__}: {' '.join(str(error).split()):.300}"
        raise UserError(f"{folder}: its shards cannot be opened ({why}), wanted them as they were written") from error
