"""The data set's own fakes: of the same person, at the same moment, every video alike, and the mask that came along."""

import itertools
import shutil
from collections import Counter

import numpy as np
import pytest
from small import run, small_baseline, without_generator

from configs.baseline import get_config
from fdetect_jax.config import check
from fdetect_jax.data.mixture import Mixture, Part
from fdetect_jax.data.pipeline import train_batches
from fdetect_jax.data.prepared import Prepared
from fdetect_jax.data.rows import Slot
from fdetect_jax.data.sources import make_source
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import make_recipe
from fdetect_jax.forgery import check_mix, make_forgery
from fdetect_jax.forgery.dataset_fakes import DatasetFakes
from fdetect_jax.media.video import Sampling
from fdetect_jax.types import FAKE, KINDS, REAL, UNKNOWN
from tests.datasets import trees


class Crops:
    """Crops of (identity, video, frame), which are the pixels as well."""

    size, recipe, fingerprint, video = 4, None, "crops", False

    def __init__(self, *origins, altered=None):
        self.origins, self.altered = np.array(origins, np.int32), altered

    def __len__(self):
        return len(self.origins)

    def __getitem__(self, index):
        identity, _, frame = self.origins[index]
        example = {"image": np.full((4, 4, 3), self.origins[index], np.uint8), "identity": identity, "frame": frame}
        return example if self.altered is None else example | {"altered": self.altered}


FAKES = Crops(*[(1, video, frame) for video in (3, 4) for frame in (0, 8, 16)], (2, 5, 0), (2, 5, 1), (2, 6, 9))


def drawn(identity, frame, fakes=FAKES, count=200):
    forge, rng = DatasetFakes(fakes), np.random.default_rng(0)
    face = {"image": np.zeros((4, 4, 3), np.uint8), "identity": np.int32(identity), "frame": np.int32(frame)}
    made = [forge(rng, face, None) for _ in range(count)]
    assert all(one.real is face["image"] for one in made)
    return Counter(tuple(one.fake[0, 0].tolist()) for one in made)


def test_the_kind_is_the_data_set_s_where_it_says():
    class Known(Crops):
        def __getitem__(self, index):
            return super().__getitem__(index) | {"kind": np.int32(KINDS.index("reenactment"))}

    for fakes, wanted in ((FAKES, UNKNOWN), (Known((1, 0, 0)), KINDS.index("reenactment"))):
        batches = train_batches(Crops((1, 0, 0)), 4, 0, (Slot(DatasetFakes(fakes)),), targets=("kind", "valid", "mask"))
        batch = next(batches)
        batches.close()
        assert batch["target/kind"].tolist() == [wanted] * 4
        assert batch["target/valid"].tolist() == [0.0] * 4  # nobody knows the mask
        assert (batch["target/mask"] == 255).all()


def test_the_same_person_at_the_nearest_moment_and_every_video_alike():
    found = drawn(1, 9)
    assert set(found) == {(1, 3, 8), (1, 4, 8)}
    assert 70 < found[1, 3, 8] < 130
    found = drawn(2, 1)  # one video is long and one has a single crop: neither is seen more often
    assert set(found) == {(2, 5, 1), (2, 6, 9)}
    assert 70 < found[2, 6, 9] < 130


def test_a_person_without_fakes_gets_anybody_s():
    assert {(identity, video) for identity, video, _ in drawn(7, 0)} == {(1, 3), (1, 4), (2, 5), (2, 6)}


def test_the_mask_is_the_data_set_s_or_unknown():
    face = {"image": np.zeros((4, 4, 3), np.uint8), "identity": np.int32(1), "frame": np.int32(0)}
    made = DatasetFakes(FAKES)(np.random.default_rng(0), face, None)
    assert made.mask is None
    altered = np.eye(4, dtype=np.uint8)
    made = DatasetFakes(Crops((1, 0, 0), altered=altered))(np.random.default_rng(0), face, None)
    assert made.mask.dtype == np.float32
    np.testing.assert_array_equal(made.mask, altered)


def test_a_mixture_keeps_to_the_part_of_the_face():
    def mixed(*sources):
        return Mixture(tuple(Part(name, source, 1.0) for name, source in zip("ab", sources, strict=True)))

    reals = mixed(Crops((1, 0, 0)), Crops((1, 10, 0)))
    fakes = mixed(Crops((1, 1, 0), (1, 1, 4)), Crops((1, 11, 0)))
    batches = train_batches(reals, 4, 0, (Slot(DatasetFakes(fakes)),))
    batch = next(batches)
    batches.close()
    np.testing.assert_array_equal(batch["forged"][:, 0, 0, 1], batch["image"][:, 0, 0, 1] + 1)
    assert set(batch["forged"][:, 0, 0, 1].tolist()) == {1, 11}


@pytest.fixture(scope="module")
def prepared(faces, tmp_path_factory):
    """Two people to train on, filmed once each, and two methods' fakes of the first; two to test and one's fake."""
    root = trees.splits(tmp_path_factory.mktemp("ff"), train=[["000", "001"]], test=[["002", "003"]])
    videos = "{}/c23/videos/{}.mp4"
    for number in range(4):
        trees.write_person(root / videos.format("original_sequences/youtube", f"00{number}"), number)
    fakes = (("Deepfakes", "000_001"), ("Face2Face", "000_001"), ("Deepfakes", "002_003"))
    for number, (method, name) in enumerate(fakes, 4):
        trees.write_person(root / videos.format(f"manipulated_sequences/{method}", name), number)
    output = tmp_path_factory.mktemp("prepared")
    return prepare("faceforensics", root, output, make_recipe("aligned64"), Sampling(count=2), workers=1)


def _config(root):
    config = without_generator(small_baseline(""))
    config.data = {"source": "prepared", "root": str(root), "recipe": "aligned64", "size": 64, "workers": 0}
    config.data.update(frames=0, max_unusable=0.0)
    config.forgery.mix.update(swap=0.0, given=1.0)
    return config


def test_prepared_crops_say_where_they_come_from_before_they_are_read(prepared):
    for label in (REAL, FAKE):
        source = Prepared(prepared, "train", labels=(label,))
        found = [(int(source[i]["identity"]), int(source[i]["frame"])) for i in range(len(source))]
        assert [tuple(row) for row in source.origins[:, [0, 2]].tolist()] == found
        assert len(set(source.origins[:, 1])) == 2


def test_training_on_dataset_fakes(prepared):
    config = _config(prepared)
    source = make_source(config.data, "train")
    forge, seen = make_forgery("given", {}, config.data, "train", source.recipe, True), set()
    fakes = {forge.fakes[i]["image"].tobytes(): forge.fakes[i] for i in range(len(forge.fakes))}
    batches = train_batches(source, 4, 0, (Slot(forge),), targets=("identity",))
    for _ in range(8):
        batch = next(batches)
        for image, forged, identity in zip(batch["image"], batch["forged"], batch["target/identity"], strict=True):
            fake = fakes[forged.tobytes()]
            seen.add((int(identity), int(fake["identity"]), fake["method"]))
            assert image.tobytes() not in fakes
    batches.close()
    first = {identity for _, identity, _ in seen}
    assert len(first) == 1  # nobody made a fake of the second person
    assert {method for _, _, method in seen} == {"Deepfakes", "Face2Face"}
    assert len({identity for identity, _, _ in seen}) == 2


def test_a_run_on_dataset_fakes_is_tested_on_them(prepared, tmp_path):
    config = _config(prepared)
    config.steps = 1
    tests = run(config, tmp_path)["tests"]
    assert list(tests) == ["swap", "sbi", "fwa", "given", "composite", "resample"]
    assert (tests["given"]["n_real"], tests["given"]["n_fake"]) == (4, 4)
    assert "Dataset fakes" in (tmp_path / "report.html").read_text()


def test_only_prepared_data_come_with_fakes():
    config = get_config()
    config.forgery.mix.given = 0.5
    with pytest.raises(UserError, match=r"^forgery\.mix\.given: found 0\.5, wanted 0: data\.source is 'facesim'"):
        check(config)
    mixed = get_config("mixture").data
    with pytest.raises(UserError, match=r"^forgery\.mix\.given: .*data\.parts\.\w+\.source is '(folder|facesim)'"):
        check_mix({"mix": {"given": 1.0}}, mixed)


def test_a_damaged_record_is_named_by_shard(prepared, tmp_path):
    folder = shutil.copytree(prepared, tmp_path / "damaged")
    (shard,) = folder.glob("*train.array_record*")
    content = bytearray(shard.read_bytes())
    content[1000::200] = bytes(len(content[1000::200]))
    shard.write_bytes(content)
    batches = train_batches(Prepared(folder, "train", labels=(REAL,)), 4, 0, workers=1)
    with pytest.raises(UserError, match=rf"data: face \d of 4: {shard}: record \d of 8 cannot be read"):
        list(itertools.islice(batches, 4))
