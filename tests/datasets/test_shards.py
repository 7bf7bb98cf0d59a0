"""Records at rest: sent to other processes, and named when they are damaged."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from fdetect_jax.datasets.shards import Shards


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
        except ValueError as error:
            damaged.append((index, str(error)))
    assert damaged
    for index, message in damaged:
        assert message.startswith(f"{shard}: record {index - 10} of 10 cannot be read: ")
