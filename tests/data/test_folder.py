"""A folder of photographs becomes a cached, random access source."""

import json
import multiprocessing
import os
import pickle
import shutil

import cv2
import numpy as np
import pytest

from fdetect_jax.data import folder as module
from fdetect_jax.data import pipeline
from fdetect_jax.data.folder import SPLITS, FaceFolder, prepare_folder
from fdetect_jax.datasets import photo_crops
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.crop import RECIPES, context_crop, crop, make_recipe
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.photos import read_photo

RECIPE = RECIPES["aligned64"]


def _draw(path, person, picture=0):
    path.parent.mkdir(parents=True, exist_ok=True)
    sim = FaceSim(split="val", size=128, identities=40, per_identity=2)
    cv2.imwrite(str(path), sim[2 * person + picture]["image"][..., ::-1])


@pytest.fixture(scope="module")
def people(faces, tmp_path_factory):
    """12 people with two pictures each, a broken photo, one without a face, a text; prepared once."""
    root = tmp_path_factory.mktemp("people")
    for person in range(12):
        for picture in range(2):
            _draw(root / f"p{person:02d}" / f"{picture}.PNG", person, picture)
    (root / "p03" / "broken.jpg").write_bytes(b"nothing")
    cv2.imwrite(str(root / "p04" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))
    (root / "notes.txt").write_text("no photo")
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _open(people, cache, split, **options):
    return FaceFolder(people, split, RECIPE, (0.5, 0.25, 0.25), cache=cache, **options)


def test_what_is_written(people, cache, capsys):
    done = prepare_folder(people, RECIPE, cache)
    card = json.loads((done / "card.json").read_text())
    assert card["recipe"] == RECIPE.to_dict()
    assert (card["photos"], card["crops"], card["identities"]) == (26, 24, 12)
    assert (card["quarantined"], card["other_files"]) == (2, 1)
    assert card["fingerprint"] == done.name
    rejected = {item["file"]: item["reason"] for item in json.loads((done / "quarantine.json").read_text())}
    assert set(rejected) == {"p03/broken.jpg", "p04/wall.png"}
    assert rejected["p04/wall.png"] == "no face"
    assert "2 quarantined" in capsys.readouterr().out
    assert [path.name for path in cache.iterdir()] == [done.name]


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


def test_loose_crops_are_kept_and_cut_as_serving_does(people, cache, faces):
    recipe, all_train = make_recipe("sbi", 64), (1.0, 0.0, 0.0)
    wide, tight = (FaceFolder(people, "train", recipe, all_train, cache=cache, context=way) for way in (True, False))
    assert wide.fingerprint != tight.fingerprint
    assert wide.size == tight.size == 64
    for index, path in ((0, "p00/0.PNG"), (23, "p11/1.PNG")):
        photo = read_photo(people / path)
        face = faces.detect(photo)[0]
        for source, wanted in ((wide, context_crop(photo, face, recipe)), (tight, crop(photo, face, recipe))):
            found = source[index]
            assert found.keys() == {*wanted, "identity"}
            np.testing.assert_array_equal(found["image"], wanted["image"])
            for name in wanted:
                np.testing.assert_allclose(found[name], wanted[name], atol=1e-4)
            assert found["identity"] == int(path[1:3])
    shutil.rmtree(wide._folder)


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
        _draw(tmp_path / "root" / f"p{person}" / "0.png", person)
    done = prepare_folder(tmp_path / "root", RECIPE, tmp_path / "cache")
    before = [_open(tmp_path / "root", tmp_path / "cache", "train", seed=seed)._rows.tolist() for seed in range(4)]
    _draw(tmp_path / "root" / "a" / "0.png", 7)
    monkeypatch.setattr(module, "prepare_folder", lambda *_: done)
    after = [_open(tmp_path / "root", tmp_path / "cache", "train", seed=seed)._rows.tolist() for seed in range(4)]
    assert after == before


def test_the_second_time_nothing_is_detected(people, cache, monkeypatch):
    first = prepare_folder(people, RECIPE, cache)
    monkeypatch.setattr(module, "crop_photos", lambda *_: pytest.fail("detected again"))
    assert prepare_folder(str(people), RECIPE, cache) == first


def test_recipe_and_photos_name_the_cache(people, cache):
    photos, _ = photo_crops.find_photos(people)
    name = module._fingerprint(people, photos, RECIPE)
    assert name != module._fingerprint(people, photos, RECIPES["paper"])
    assert name != module._fingerprint(people, photos[1:], RECIPE)
    path = people / photos[0]
    before = path.stat()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000))
    changed = module._fingerprint(people, photos, RECIPE)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert name != changed
    assert name == module._fingerprint(people, photos, RECIPE)


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
        _draw(tmp_path / "in" / f"{person}.png", person)
    source = FaceFolder(tmp_path / "in", "train", RECIPE, (1.0, 0.0, 0.0), cache=tmp_path / "cache")
    assert [int(source[i]["identity"]) for i in range(3)] == [0, 1, 2]


def test_folders_named_as_splits_are_the_splits(faces, tmp_path):
    for person, split in enumerate(["train", "train", "val", "test"]):
        _draw(tmp_path / "photos" / split / f"{person}.png", person)
    found = {split: _open(tmp_path / "photos", tmp_path / "cache", split) for split in SPLITS}
    assert {split: len(source) for split, source in found.items()} == {"train": 2, "val": 1, "test": 1}
    assert len({int(source[i]["identity"]) for source in found.values() for i in range(len(source))}) == 4


def test_several_processes_give_the_same_crops(people, tmp_path, monkeypatch, cache):
    monkeypatch.setattr(photo_crops, "_A_WORKER", 10)
    monkeypatch.setattr(photo_crops.os, "cpu_count", lambda: 2)
    alone, together = (FaceFolder(people, "train", RECIPE, (1.0, 0.0, 0.0), cache=where) for where in (cache, tmp_path))
    assert alone.fingerprint == together.fingerprint
    for index in range(24):
        for name in ("image", "mask", "landmarks", "identity"):
            np.testing.assert_array_equal(alone[index][name], together[index][name])


def test_a_photo_may_kill_its_process(people):
    photos, _ = photo_crops.find_photos(people)
    results = photo_crops.crop_photos(people, photos, RECIPE)
    found = [next(results)]
    for process in multiprocessing.active_children():
        if process.name == "pebble_pool_worker":
            process.kill()
    found.extend(results)
    died = [one for one in found[1:] if one == Rejected("its process died (SIGKILL)")]
    assert len(found) == len(photos)
    assert len(died) <= 1  # the one that was at work, if any
    assert sum(isinstance(one, photo_crops.Crop) for one in found) >= 23


def test_an_interrupt_leaves_nothing(people, tmp_path, monkeypatch):
    def interrupted(root, photos, recipe):
        yield from list(photo_crops.crop_photos(root, photos[:3], recipe))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "crop_photos", interrupted)
    with pytest.raises(KeyboardInterrupt):
        prepare_folder(people, RECIPE, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_what_killed_runs_left_is_swept_away_after_a_day(tmp_path):
    old, new = tmp_path / ".unfinished-old", tmp_path / ".unfinished-new"
    for left in (old, new):
        left.mkdir()
        (left / "shard").write_bytes(b"0")
    os.utime(old, (0, 0))
    module._sweep(tmp_path)
    assert not old.exists()
    assert new.exists()


def test_no_usable_face(faces, tmp_path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))
    with pytest.raises(ValueError, match=r"data\.root: found 1 photos .*no face: 1.*wanted at least one"):
        prepare_folder(tmp_path / "in", RECIPE, tmp_path / "cache")
    assert list((tmp_path / "cache").iterdir()) == []


def test_errors_come_before_work(tmp_path, people, cache, monkeypatch):
    monkeypatch.setattr(module, "crop_photos", lambda *_: pytest.fail("worked"))
    with pytest.raises(ValueError, match=r"data\.root: found nothing at"):
        FaceFolder(tmp_path / "none", "train")
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"data\.root: found a file at"):
        FaceFolder(tmp_path / "file", "train")
    with pytest.raises(ValueError, match=r"data\.root: found 1 files and no photograph"):
        FaceFolder(tmp_path, "train")
    with pytest.raises(ValueError, match=r"data\.split: found 'dev'"):
        FaceFolder(people, "dev")
    with pytest.raises(ValueError, match=r"data\.fractions: found"):
        FaceFolder(people, "val", fractions=(0.9, 0.2, 0.2))


def test_an_empty_split_is_an_error(people, cache):
    with pytest.raises(ValueError, match=r"none of the 12 people .* split 'val'"):
        FaceFolder(people, "val", RECIPE, (1.0, 0.0, 0.0), cache=cache)


def test_hidden_and_other_files_are_no_photos(tmp_path):
    for name in ("b.JPG", "a/c.webp", "._b.jpg", ".hidden/x.png", "a/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    assert photo_crops.find_photos(tmp_path) == (["a/c.webp", "b.JPG"], 2)
