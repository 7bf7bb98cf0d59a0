"""A tfds data set at rest in ArrayRecord: random access to its records, without TensorFlow."""

from functools import cached_property
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from fdetect_jax.errors import UserError


class Shards:
    """The records of one split; cheap to send to a worker process.

    Indexing raises ValueError naming the shard and the record in it that cannot be read or decoded.
    """

    def __init__(self, folder: str | Path, split: str):
        """folder: as ``tfds.builder_from_directory`` takes it."""
        self._folder, self._split = Path(folder), split

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> dict[str, Any]:
        try:
            return self._records[index]
        except Exception as error:  # of ArrayRecord, protocol buffers or the image decoder
            raise UserError(f"{self._place(index)} cannot be read: {type(error).__name__}: {error}") from error

    def _place(self, index: int) -> str:
        info = self._builder.info.splits[self._split]
        for path, length in zip(info.filepaths, info.shard_lengths, strict=True):
            if index < length:
                return f"{path}: record {index} of {length}"
            index -= length
        return f"{self._folder}: record {index + len(self)}"

    @cached_property
    def _builder(self) -> tfds.core.DatasetBuilder:
        return tfds.builder_from_directory(self._folder)

    @cached_property
    def _records(self) -> Any:
        return self._builder.as_data_source(split=self._split)

    def __getstate__(self) -> dict:
        return {"_folder": self._folder, "_split": self._split}
