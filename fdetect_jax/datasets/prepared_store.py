"""Prepared crops at rest: a tfds data set in ArrayRecord, written without TensorFlow. In: records. Out: shards.

Which file goes into which shard is fixed before any work, and a shard's bytes depend on its files alone: one process,
many, or Apache Beam on many machines write the same.
"""

import contextlib
import dataclasses
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import tensorflow_datasets as tfds
from tensorflow_datasets.core import file_adapters, writer
from tensorflow_datasets.proto import tf_example_pb2

from fdetect_jax.datasets import records
from fdetect_jax.datasets.crop_store import OwnInfo
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.files import printable

_UNKNOWN = cv2.imencode(".png", np.zeros((1, 1), np.uint8))[1].tobytes()


@dataclasses.dataclass(frozen=True)
class Entry:
    """A file to go into a shard: how its record is made, and the fields that all of its crops share."""

    task: records.Task
    video: str
    label: int
    method: str
    source: str
    identity: int


@dataclasses.dataclass(frozen=True)
class Shard:
    """Yields the crops of its files, in order; files without a record are cropped first, on the calling machine."""

    entries: tuple[Entry, ...]
    workers: int
    seconds: float

    def __call__(self) -> Iterator[tuple[int, dict[str, Any]]]:
        records.finish([one.task for one in self.entries], self.workers, self.seconds)
        number = 0
        for one in self.entries:
            record = records.read(one.task.record)
            for k, image in enumerate(record.images):
                yield number, _example(one, record, k, image)
                number += 1


class PreparedFaces(tfds.core.ShardBasedBuilder):
    """Crops with landmarks, where they were altered, and where they come from.

    image: (H, W, 3), of the recipe's size unless it is a context crop. altered: (H, W, 1) in {0, 1}, where
    altered_known; else one black pixel. landmarks: (68, 2), nan where there are none. box: (4,) of the face in a
    context crop, else nan. face: (4,) its box in the frame. label: 0 real, 1 fake. identity: a number over all
    splits. video: its name among all data sets. frame: its index. time: seconds. track: equal for one person of a
    video. score: the detector's.
    """

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, split: str, shards: Sequence[Shard], recipe: CropRecipe, data_dir: Path):
        self._shards, self._recipe = {split: list(shards)}, recipe
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        side = None if self._recipe.training_margins is not None else self._recipe.size
        features = {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
            "altered": tfds.features.Image(shape=(None, None, 1), encoding_format="png"),
            "altered_known": np.bool_,
            "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
            "box": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "face": tfds.features.Tensor(shape=(4,), dtype=np.float32),
            "label": np.int32,
            "identity": np.int32,
            "method": tfds.features.Text(),
            "source": tfds.features.Text(),
            "video": tfds.features.Text(),
            "frame": np.int32,
            "time": np.float32,
            "track": np.int32,
            "score": np.float32,
        }
        return OwnInfo(builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True)

    def _shard_iterators_per_split(self, dl_manager: tfds.download.DownloadManager) -> dict[str, list[Shard]]:
        return self._shards

    def _example_writer(self) -> writer.ExampleWriter:
        return _Deterministic(file_adapters.FileFormat.ARRAY_RECORD)


class _Deterministic(writer.ExampleWriter):
    """Protocol buffers keep a map in an order of the moment: the same example has other bytes in another process."""

    def write(self, path: os.PathLike, examples: Iterable[tuple[int, bytes]]):
        return super().write(path, ((key, _sorted(example)) for key, example in examples))


def write_shards(
    split: str, shards: Sequence[Shard], recipe: CropRecipe, folder: Path, beam: Sequence[str] | None
) -> tfds.core.DatasetBuilder:
    """Writes the shards of one split below ``folder``.

    Args:
        beam: None: here, one after another. Else the options of an Apache Beam pipeline, such as
            ["--runner=FlinkRunner", …], each shard a piece of work; ``folder``, records and media must be the same
            paths on every machine.

    Raises:
        UserError: Apache Beam is not installed.
    """
    builder = PreparedFaces(split, shards, recipe, folder)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # tfds reports a download, and there is none
            builder.download_and_prepare(download_config=None if beam is None else _beam(beam))
    finally:
        tfds.enable_progress_bar()
    return builder


def _beam(options: Sequence[str]) -> tfds.download.DownloadConfig:
    try:
        from apache_beam.options.pipeline_options import PipelineOptions, StandardOptions
    except ImportError:
        raise UserError("--beam: found no apache_beam, wanted `pip install fdetect-jax[beam]`") from None
    pipeline = PipelineOptions(list(options))
    runner = pipeline.view_as(StandardOptions).runner or "DirectRunner"
    return tfds.download.DownloadConfig(beam_runner=runner, beam_options=pipeline)


def _sorted(example: bytes) -> bytes:
    return tf_example_pb2.Example.FromString(example).SerializeToString(deterministic=True)


def _example(one: Entry, record: records.Record, k: int, image: bytes) -> dict[str, Any]:
    # Bytes in a file object are stored as they are; TensorFlow would be needed only to encode arrays.
    return {
        "image": io.BytesIO(image),
        "altered": io.BytesIO(record.altered[k] or _UNKNOWN),
        "altered_known": bool(record.altered[k]),
        "landmarks": record.landmarks[k],
        "box": record.box[k],
        "face": record.face[k],
        "label": one.label,
        "identity": one.identity,
        "method": printable(one.method),
        "source": printable(one.source),
        "video": printable(one.video),
        "frame": record.frame[k],
        "time": record.time[k],
        "track": record.track[k],
        "score": record.score[k],
    }
