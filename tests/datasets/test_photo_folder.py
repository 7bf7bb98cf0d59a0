"""A folder of photographs becomes a cache of face crops: by content, once, by several processes at once."""

import json
import multiprocessing
import os
import shutil
import subprocess
import sys

import cv2
import numpy as np
import pytest

from fdetect_jax.data.folder import FaceFolder
from fdetect_jax.datasets import photo_crops
from fdetect_jax.datasets import photos as module
from fdetect_jax.datasets.crop_diary import CropDiary
from fdetect_jax.datasets.crop_store import read_crops
from fdetect_jax.datasets.photos import prepare_folder, published_splits, read_people
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.media.limits import Rejected
from tests.datasets.trees import write_people, write_photo

RECIPE = RECIPES["aligned64"]


@pytest.fixture(scope="module")
def people(faces, tmp_path_factory):
    return write_people(tmp_path_factory.mktemp("people"))


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def _caches(folder):
    """All that lies in a folder of caches, but not the index of hashes and what a stopped job goes on from."""
    return [path for path in folder.iterdir() if not path.name.startswith((".hashes-", ".crops-"))]


def test_what_is_written(people, cache, capsys):
    done = prepare_folder(people, RECIPE, cache)
    card = json.loads((done / "card.json").read_text())
    assert card["recipe"] == RECIPE.to_dict()
    assert (card["photos"], card["crops"], card["identities"]) == (26, 24, 12)
    assert (card["quarantined"], card["left_out"]) == (2, {"no photograph": 1})
    assert card["fingerprint"] == done.name
    rejected = {item["file"]: item["reason"] for item in json.loads((done / "quarantine.json").read_text())}
    assert set(rejected) == {"p03/broken.jpg", "p04/wall.png"}
    assert rejected["p04/wall.png"] == "no face"
    assert "2 quarantined" in capsys.readouterr().out
    assert _caches(cache) == [done]
    identities, names = read_people(done)
    assert (identities.tolist(), len(names)) == ([person for person in range(12) for _ in range(2)], 12)


def test_the_second_time_nothing_is_detected(people, cache, monkeypatch):
    first = prepare_folder(people, RECIPE, cache)
    monkeypatch.setattr(module, "crop_photos", lambda *_: pytest.fail("detected again"))
    assert prepare_folder(str(people), RECIPE, cache) == first


def test_recipe_paths_and_content_name_the_cache(tmp_path):
    for name in ("p0/a.png", "p0/b.png", "p1/c.png"):
        (tmp_path / "one" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "one" / name).write_bytes(name.encode())

    def name(root, recipe=RECIPE, cache="cache"):
        found, _ = photo_crops.find_photos(tmp_path / root)
        return module._fingerprint(tmp_path / root, found, recipe, tmp_path / cache)

    first = name("one")
    shutil.copytree(tmp_path / "one", tmp_path / "two", copy_function=shutil.copyfile)  # new times
    assert name("two") == name("one", cache="another") == first
    assert name("one", RECIPES["paper"]) != first
    (tmp_path / "two" / "p1" / "c.png").rename(tmp_path / "two" / "p1" / "d.png")
    assert name("two") != first
    (tmp_path / "two" / "p1" / "d.png").rename(tmp_path / "two" / "p1" / "c.png")
    assert name("two") == first
    (tmp_path / "two" / "p1" / "c.png").write_bytes(b"p1/C.png")
    assert name("two") != first
    (tmp_path / "two" / "p1" / "c.png").unlink()
    assert name("two") != first


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


_TOGETHER = """
import sys, time
from pathlib import Path
from fdetect_jax.datasets import photos
from fdetect_jax.faces.crop import RECIPES

crop_photos, root, cache = photos.crop_photos, Path(sys.argv[1]), Path(sys.argv[2])

def at_once(*arguments):
    while len(list(cache.glob(".unfinished-*"))) < 2:
        time.sleep(0.01)
    yield from crop_photos(*arguments)

photos.crop_photos = at_once
print(photos.prepare_folder(root, RECIPES["aligned64"], cache))
"""


def test_two_processes_at_once_end_with_the_same_cache(faces, tmp_path):
    for person in range(2):
        write_photo(tmp_path / "in" / f"{person}.png", person)
    command = [sys.executable, "-c", _TOGETHER, str(tmp_path / "in"), str(tmp_path / "cache")]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    found = {process.communicate(timeout=200)[0].splitlines()[-1] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    (done,) = _caches(tmp_path / "cache")
    assert found == {str(done)}
    assert len(FaceFolder(tmp_path / "in", "train", RECIPE, (1.0, 0.0, 0.0), cache=tmp_path / "cache")) == 2


def test_a_stopped_call_is_continued(people, cache, tmp_path, monkeypatch):
    asked = []

    def interrupted(root, photos, recipe):
        asked.append(photos)
        yield from list(photo_crops.crop_photos(root, photos[:9], recipe))
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "crop_photos", interrupted)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            prepare_folder(people, RECIPE, tmp_path)
    assert _caches(tmp_path) == []
    _, second = sorted(tmp_path.glob(".crops-*"), key=lambda path: path.stat().st_mtime_ns)
    second.write_bytes(second.read_bytes()[:-1])  # the last row, cut off by a kill
    monkeypatch.setattr(module, "crop_photos", lambda *how: asked.append(how[1]) or photo_crops.crop_photos(*how))
    done = prepare_folder(people, RECIPE, tmp_path)
    assert [len(photos) for photos in asked] == [26, 17, 9]
    whole = prepare_folder(people, RECIPE, cache)
    assert (done / "card.json").read_text() == (whole / "card.json").read_text()
    found, wanted = read_crops(done), read_crops(whole)
    assert {photo: crop.image for photo, crop in found.items()} == {photo: crop.image for photo, crop in wanted.items()}
    assert all(np.array_equal(crop.landmarks, wanted[photo].landmarks) for photo, crop in found.items())
    assert not list(tmp_path.glob(".crops-*"))


def test_old_diaries_go(people, tmp_path):
    old, new = tmp_path / ".crops-0-0", tmp_path / ".crops-0-1"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (0, 0))
    with CropDiary(tmp_path, "1") as diary:
        diary.add("a.png", Rejected("took over 60 seconds", passing=True))
        assert old.exists()
        diary.add("b.png", Rejected("no face"))
    assert not old.exists()
    assert new.exists()
    with CropDiary(tmp_path, "1") as diary:
        assert "a.png" not in diary
        assert diary["b.png"] == Rejected("no face")


def test_no_usable_face(faces, tmp_path):
    (tmp_path / "in").mkdir()
    cv2.imwrite(str(tmp_path / "in" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))
    with pytest.raises(ValueError, match=r"data\.root: found 1 photos .*no face: 1.*wanted at least one"):
        prepare_folder(tmp_path / "in", RECIPE, tmp_path / "cache")
    assert _caches(tmp_path / "cache") == []


def test_errors_come_before_work(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "crop_photos", lambda *_: pytest.fail("worked"))
    with pytest.raises(UserError, match=r"data\.root: found nothing at"):
        prepare_folder(tmp_path / "none", RECIPE)
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"data\.root: found a file at"):
        prepare_folder(tmp_path / "file", RECIPE)
    with pytest.raises(UserError, match=r"data\.root: found no photograph under .*left out, no photograph: 1 \("):
        prepare_folder(tmp_path, RECIPE)


def test_what_may_pass_is_tried_again(people, tmp_path, monkeypatch):
    """A killed process leaves another data set than the whole one, and the next call makes the whole one."""
    crop = module.crop_photos

    def killed(root, photos, recipe):
        for photo, one in zip(photos, crop(root, photos, recipe), strict=True):
            yield Rejected("its process died (SIGKILL)", passing=True) if photo == "p05/1.PNG" else one

    with monkeypatch.context() as patched:
        patched.setattr(module, "crop_photos", killed)
        partial = prepare_folder(people, RECIPE, tmp_path)
        assert prepare_folder(people, RECIPE, tmp_path) == partial
    asked = []

    def watched(root, photos, recipe):
        asked.append(photos)
        return crop(root, photos, recipe)

    monkeypatch.setattr(module, "crop_photos", watched)
    whole = prepare_folder(people, RECIPE, tmp_path)
    assert whole != partial
    assert asked[0] == ["p05/1.PNG"]
    assert partial.name.startswith(f"{whole.name}-")
    mended, fresh = (
        FaceFolder(people, "train", RECIPE, (1.0, 0.0, 0.0), cache=where) for where in (tmp_path, tmp_path / "fresh")
    )
    assert len(mended) == len(fresh) == 24
    assert mended.fingerprint == fresh.fingerprint
    for index in range(24):
        np.testing.assert_array_equal(mended[index]["image"], fresh[index]["image"])


def test_folders_named_as_splits():
    assert published_splits(["train/ann", "val/bob"]) == ["train", "val"]
    assert published_splits(["train/ann", "bob"]) is None
    assert list(module._folders_taken(["train/ann/1.png", "val/bob/2.png"])) == [
        "its folders train, val are taken for splits"
    ]
    assert list(module._folders_taken(["train/ann/1.png", "extra/2.png", "3.png"])) == [
        "its folders are taken for people, train too, because 3.png, extra is no split"
    ]
    assert list(module._folders_taken(["ann/1.png", "bob/2.png"])) == []


def test_hidden_and_other_files_are_no_photos(tmp_path):
    for name in ("b.JPG", "a/c.webp", "._b.jpg", ".hidden/x.png", "a/readme.md"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    photos, left_out = photo_crops.find_photos(tmp_path)
    assert photos == ["a/c.webp", "b.JPG"]
    counts = {reason: sorted(map(str, paths)) for reason, paths in left_out.left_out.items()}
    assert counts == {"hidden": ["._b.jpg", ".hidden"], "no photograph": ["a/readme.md"]}
