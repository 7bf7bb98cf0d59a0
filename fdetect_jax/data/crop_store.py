"""Crops at rest: a tfds dataset in ArrayRecord. In: encoded crops. Out: random access to Examples, without
TensorFlow.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds

from fdetect_jax.data.photo_crops import Crop
from fdetect_jax.types import Example

SPLIT = "photos"  # tfds keeps one split; people are divided into train, val and test on reading


class FaceCrops(tfds.core.GeneratorBasedBuilder):
    """image, mask, landmarks, identity and the photo's relative path, in the order given."""

    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, rows: Iterable[tuple[Crop, int, str]], size: int, data_dir: Path):
        """rows: (crop, identity, file). size: side of the crops in pixels."""
        self._rows, self._size = rows, size
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        square = (self._size, self._size)
        features = {
            "image": tfds.features.Image(shape=(*square, 3), encoding_format="png"),
            "mask": tfds.features.Image(shape=(*square, 1), encoding_format="png"),
            "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
            "identity": np.int32,
            "file": tfds.features.Text(),
        }
        return tfds.core.DatasetInfo(
            builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for number, (crop, identity, file) in enumerate(self._rows):
            # Bytes in a file object are stored as they are; TensorFlow would be needed only to encode arrays.
            yield (
                number,
                {
                    "image": io.BytesIO(crop.image),
                    "mask": io.BytesIO(crop.mask),
                    "landmarks": crop.landmarks,
                    "identity": identity,
                    "file": file,
                },
            )


def write_crops(rows: Iterable[tuple[Crop, int, str]], size: int, folder: Path) -> Path:
    """Writes shards below ``folder`` and returns the folder that holds them."""
    builder = FaceCrops(rows, size, folder)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # tfds reports a download, and there is none
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    return Path(builder.data_dir)


class CropReader:
    """Random access to what ``write_crops`` wrote."""

    def __init__(self, folder: Path):
        self._records = tfds.builder_from_directory(folder).as_data_source(split=SPLIT)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        record = self._records[index]
        return Example(
            image=record["image"],
            landmarks=record["landmarks"],
            mask=record["mask"][..., 0],
            identity=np.int32(record["identity"]),
        )
