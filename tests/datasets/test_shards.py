"""Records at rest: sent to other processes, and named when they are damaged."""

import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow_datasets as tfds

from fdetect_jax.datasets.crop_store import CropReader, write_crops
from fdetect_jax.datasets.photo_crops import Crop
from fdetect_jax.datasets.shards import Shards
from fdetect_jax.errors import UnreadableRecord
from fdetect_jax.faces.crop import RECIPES


@pytest.fixture
def folder(tmp_path):
    """Two shards of ten records."""
    rng = np.random.default_rng(0)
    info = tfds.features.FeaturesDict({"number": np.int32, "noise": tfds.features.Tensor(shape=(500,), dtype=np.uint8)})
    rows = [{"number": i, "noise": rng.integers(0, 256, 500, np.uint8)} for i in range(20)]
    builder = _Builder(rows, info, tmp_path)
    builder.download_and_prepare()
    return Path(builder.data_dir)


class _Builder(tfds.core.ShardBasedBuilder):
    VERSION = tfds.core.Version("1.0.0")

    def __init__(self, rows, features, folder):
        self._rows, self._features = rows, features
        super().__init__(data_dir=folder, file_format="array_record")

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=self._features, disable_shuffling=True)

    def _shard_iterators_per_split(self, dl_manager):
        return {"faces": [lambda s=start: iter(list(enumerate(self._rows))[s : s + 10]) for start in (0, 10)]}


def test_random_access_also_in_another_process(folder):
    records = pickle.loads(pickle.dumps(Shards(folder, "faces")))
    assert [int(records[i]["number"]) for i in (19, 0, 10)] == [19, 0, 10]
    assert len(records) == 20


def test_a_damaged_record_is_named_with_its_shard(folder):
    (shard,) = folder.glob("*00001-of-00002")
    content = bytearray(shard.read_bytes())
    content[3000] ^= 1
    shard.write_bytes(content)
    records, damaged = Shards(folder, "faces"), []
    for index in range(20):
        try:
            records[index]
        except UnreadableRecord as error:
            damaged.append((index, str(error)))
    assert damaged
    for index, message in damaged:
        assert message.startswith(f"{shard}: record {index - 10} of 10 cannot be read: ")


def test_past_the_end_is_no_damage(folder):
    records = Shards(folder, "faces")
    for index in (20, -1):
        with pytest.raises(IndexError, match=rf"found {index}, wanted one in \[0, 20\)"):
            records[index]
    with pytest.raises(TypeError):
        records[0.5]


@pytest.mark.parametrize("error", [MemoryError, ImportError])
def test_errors_that_say_nothing_about_a_record_stay_as_they_are(folder, monkeypatch, error):
    records = Shards(folder, "faces")

    class Failing:
        def __len__(self):
            return 20

        def __getitem__(self, index):
            raise error("no")

    monkeypatch.setitem(records.__dict__, "_records", Failing())
    with pytest.raises(error):
        records[3]


def test_a_crop_that_is_no_image_is_named_and_the_others_are_read(tmp_path):
    image = cv2.imencode(".png", np.full((64, 64, 3), 9, np.uint8))[1].tobytes()
    landmarks = np.random.default_rng(0).uniform(10, 50, (68, 2)).astype(np.float32)
    rows = [(Crop(content, landmarks, None), number, f"{number}.png") for number, content in enumerate((image, b"x"))]
    reader = CropReader(write_crops(rows, RECIPES["aligned64"], tmp_path))
    assert (reader[0]["image"] == 9).all()
    with pytest.raises(UnreadableRecord, match=r"array_record-00000-of-00001: record 1 of 2 cannot be read: ") as found:
        reader[1]
    again = pickle.loads(pickle.dumps(found.value))  # worker processes send it on
    assert (type(again), str(again)) == (UnreadableRecord, str(found.value))
