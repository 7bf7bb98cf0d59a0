"""A folder of photographs as a source: people, splits, crops, and worker processes."""

import json
import pickle
import shutil

import numpy as np
import pytest

from fdetect_jax.data import folder as module
from fdetect_jax.data import pipeline
from fdetect_jax.data.folder import SPLITS, FaceFolder
from fdetect_jax.datasets.photos import prepare_folder
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES, context_crop, crop, make_recipe
from fdetect_jax.media.photos import read_photo
from tests.datasets.trees import write_people, write_photo

RECIPE = RECIPES["aligned64"]


@pytest.fixture(scope="module")
def people(faces, tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _open(people, cache, split, **options):
    return FaceFolder(people, split, RECIPE, (0.5, 0.25, 0.25), cache=cache, **options)


def test_crops_are_the_ones_the_recipe_cuts(people, cache, faces):
    source = FaceFolder(people, "train", RECIPE, (1.0, 0.0, 0.0), cache=cache)
    assert len(source) == 24
    for index, path in ((0, "p00/0.PNG"), (23, "p11/1.PNG")):
        photo = read_photo(people / path)
        wanted = crop(photo, faces.detect(photo)[0], RECIPE)
        found = source[index]
        for name in ("image", "mask"):
            np.testing.assert_array_equal(found[name], wanted[name])
        np.testing.assert_allclose(found["landmarks"], wanted["landmarks"], atol=1e-4)
        assert found["identity"] == int(path[1:3])
        assert found["identity"].dtype == np.int32
    with pytest.raises(IndexError):
        source[24]


def test_context_crops_are_kept_and_cut_as_serving_does(people, cache, faces):
    recipe, all_train = make_recipe("sbi", 64), (1.0, 0.0, 0.0)
    context, served = (
        FaceFolder(people, "train", recipe, all_train, cache=cache, context=way) for way in (True, False)
    )
    assert context.fingerprint != served.fingerprint
    assert context.size == served.size == 64
    for index, path in ((0, "p00/0.PNG"), (23, "p11/1.PNG")):
        photo = read_photo(people / path)
        face = faces.detect(photo)[0]
        for source, wanted in ((context, context_crop(photo, face, recipe)), (served, crop(photo, face, recipe))):
            found = source[index]
            assert found.keys() == {*wanted, "identity"}
            np.testing.assert_array_equal(found["image"], wanted["image"])
            for name in wanted:
                np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
            assert found["identity"] == int(path[1:3])
    shutil.rmtree(context._folder)


def test_splits_share_nobody_and_cover_everybody(people, cache):
    splits = [_open(people, cache, split) for split in SPLITS]
    identities = [{int(source[i]["identity"]) for i in range(len(source))} for source in splits]
    assert sum(map(len, splits)) == 24
    assert sorted(number for part in identities for number in part) == list(range(12))
    assert len({source.fingerprint for source in splits}) == 3
    assert all(source.size == 64 for source in splits)


def test_seed_and_names_decide_the_split(people, cache):
    rows = {seed: _open(people, cache, "train", seed=seed)._rows.tolist() for seed in (0, 1, 2)}
    assert rows[0] == _open(people, cache, "train")._rows.tolist()
    assert len({tuple(value) for value in rows.values()}) > 1


def test_people_who_come_while_it_works_move_nobody(faces, tmp_path, monkeypatch):
    for person in range(6):
        write_photo(tmp_path / "root" / f"p{person}" / "0.png", person)
    done = prepare_folder(tmp_path / "root", RECIPE, tmp_path / "cache")
    before = [_open(tmp_path / "root", tmp_path / "cache", "train", seed=seed)._rows.tolist() for seed in range(4)]
    write_photo(tmp_path / "root" / "a" / "0.png", 7)
    monkeypatch.setattr(module, "prepare_folder", lambda *_: done)
    after = [_open(tmp_path / "root", tmp_path / "cache", "train", seed=seed)._rows.tolist() for seed in range(4)]
    assert after == before


def test_it_travels_to_workers_without_its_reader(people, cache):
    source = _open(people, cache, "train")
    wanted = source[3]
    again = pickle.loads(pickle.dumps(source))
    assert "_reader" not in again.__dict__
    np.testing.assert_array_equal(again[3]["image"], wanted["image"])
    assert again == source


def test_worker_processes_read_it_and_go_on_from_a_saved_place(people, cache):
    source = _open(people, cache, "train")
    batches = pipeline.train_batches(source, 2, seed=0, workers=2)
    next(batches)
    place = json.loads(json.dumps(batches.get_state()))
    wanted = [next(batches)["image"] for _ in range(3)]
    again = pipeline.train_batches(source, 2, seed=0, workers=2)
    again.set_state(place)
    for image in wanted:
        np.testing.assert_array_equal(next(again)["image"], image)


def test_without_subfolders_every_photo_is_a_person(faces, tmp_path):
    for person in range(3):
        write_photo(tmp_path / "in" / f"{person}.png", person)
    source = FaceFolder(tmp_path / "in", "train", RECIPE, (1.0, 0.0, 0.0), cache=tmp_path / "cache")
    assert [int(source[i]["identity"]) for i in range(3)] == [0, 1, 2]


def test_folders_named_as_splits_are_the_splits(faces, tmp_path):
    for person, split in enumerate(["train", "train", "val", "test"]):
        write_photo(tmp_path / "photos" / split / f"{person}.png", person)
    found = {split: _open(tmp_path / "photos", tmp_path / "cache", split) for split in SPLITS}
    assert {split: len(source) for split, source in found.items()} == {"train": 2, "val": 1, "test": 1}
    assert len({int(source[i]["identity"]) for source in found.values() for i in range(len(source))}) == 4


def test_the_same_photographs_elsewhere_are_the_same_data(people, cache, tmp_path, monkeypatch):
    first = _open(people, cache, "train")
    shutil.copytree(people, tmp_path / "other", copy_function=shutil.copyfile)  # new times
    again = _open(tmp_path / "other", cache, "train")
    assert again.fingerprint == first.fingerprint
    assert again._folder == first._folder


def test_errors_come_before_work(people, monkeypatch):
    monkeypatch.setattr(module, "prepare_folder", lambda *_: pytest.fail("worked"))
    with pytest.raises(UserError, match=r"data\.split: found 'dev'"):
        FaceFolder(people, "dev")
    with pytest.raises(UserError, match=r"data\.fractions: found"):
        FaceFolder(people, "val", fractions=(0.9, 0.2, 0.2))


def test_an_empty_split_is_an_error(people, cache):
    with pytest.raises(ValueError, match=r"none of the 12 people .* split 'val'"):
        FaceFolder(people, "val", RECIPE, (1.0, 0.0, 0.0), cache=cache)
