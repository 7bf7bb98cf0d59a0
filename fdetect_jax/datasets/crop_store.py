"""Crops at rest: a tfds dataset in ArrayRecord. In: encoded crops. Out: random access to Examples, without
TensorFlow.
"""

import contextlib
import io
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np
import tensorflow_datasets as tfds

from fdetect_jax.datasets.photo_crops import Crop
from fdetect_jax.datasets.shards import Shards
from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.faces.landmarks import face_mask
from fdetect_jax.files import printable
from fdetect_jax.types import Example

SPLIT = "photos"  # tfds keeps one split; people are divided into train, val and test on reading


class OwnInfo(tfds.core.DatasetInfo):
    """What is known of a data set that was made here: no public bucket is asked, and no folder for the answer is left
    in the system's temporary one."""

    def initialize_from_bucket(self) -> None:
        """Nothing is known elsewhere."""


class FaceCrops(tfds.core.GeneratorBasedBuilder):
    """image, landmarks, identity, relative path of the photo, and box of a context crop; in the order of the rows."""

    VERSION = tfds.core.Version("2.0.0")

    def __init__(self, rows: Iterable[tuple[Crop, int, str]], recipe: CropRecipe, data_dir: Path):
        """rows: (crop, identity, file). recipe: how they were cut."""
        self._rows, self._recipe = rows, recipe
        super().__init__(data_dir=data_dir, file_format="array_record")

    def _info(self) -> tfds.core.DatasetInfo:
        context = self._recipe.training_margins is not None
        side = None if context else self._recipe.size
        features = {
            "image": tfds.features.Image(shape=(side, side, 3), encoding_format="png"),
            "landmarks": tfds.features.Tensor(shape=(68, 2), dtype=np.float32),
            "identity": np.int32,
            "file": tfds.features.Text(),
        }
        if context:
            features["box"] = tfds.features.Tensor(shape=(4,), dtype=np.float32)
        return OwnInfo(builder=self, features=tfds.features.FeaturesDict(features), disable_shuffling=True)

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict:
        return {SPLIT: self._generate_examples()}

    def _generate_examples(self) -> Iterator[tuple[int, dict]]:
        for number, (crop, identity, file) in enumerate(self._rows):
            # Bytes in a file object are stored as they are; TensorFlow would be needed only to encode arrays.
            row = {"image": io.BytesIO(crop.image), "landmarks": crop.landmarks, "identity": identity}
            row["file"] = printable(file)
            yield number, row if crop.box is None else row | {"box": crop.box}


def write_crops(rows: Iterable[tuple[Crop, int, str]], recipe: CropRecipe, folder: Path) -> Path:
    """Writes shards below ``folder`` and returns the folder that holds them."""
    builder = FaceCrops(rows, recipe, folder)
    tfds.disable_progress_bar()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # tfds reports a download, and there is none
            builder.download_and_prepare()
    finally:
        tfds.enable_progress_bar()
    return Path(builder.data_dir)


def read_crops(folder: Path) -> dict[str, Crop]:
    """What ``write_crops`` was given, by the name of the file."""
    found = {}
    records = Shards(folder, SPLIT)
    for number in range(len(records)):
        record = records[number]
        encoded = cv2.imencode(".png", record["image"][..., ::-1])[1].tobytes()
        name = record["file"]
        name = name.decode() if isinstance(name, bytes) else name
        found[name] = Crop(encoded, record["landmarks"], record.get("box"))
    return found


class CropReader:
    """Random access to what ``write_crops`` wrote."""

    def __init__(self, folder: Path):
        self._records = Shards(folder, SPLIT)

    def __len__(self) -> int:
        return len(self._records)

    def __getitem__(self, index: int) -> Example:
        """The crop ``index``, with ``mask`` or, for a context crop, ``box``. Raises as ``Shards`` does."""
        record = self._records[index]
        image, landmarks, identity = record["image"], record["landmarks"], np.int32(record["identity"])
        if "box" in record:
            return Example(image=image, landmarks=landmarks, box=record["box"], identity=identity)
        return Example(image=image, landmarks=landmarks, mask=face_mask(landmarks, image.shape[:2]), identity=identity)
