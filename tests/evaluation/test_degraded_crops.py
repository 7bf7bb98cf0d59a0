"""Crops of degraded pictures in a file: pictures are degraded whole, clip by clip, and cut as they were when clean."""

import dataclasses
import zlib

import cv2
import numpy as np
import pytest

from fdetect_jax.evaluation import degraded_crops
from fdetect_jax.evaluation.degrade import CONDITIONS, brightness, degraded, jpeg
from fdetect_jax.evaluation.degraded_crops import CLIP, DegradedCrops, extract_degraded_faces, read_degraded
from fdetect_jax.faces.crop import RECIPES, crop
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.limits import Rejected, UnreadableMedia
from fdetect_jax.media.video import Sampling

RECIPE = RECIPES["aligned64"]
FACES = ((3, 5), (40, 24))  # corners


def cut(picture, corner):
    x, y = corner
    return picture[y : y + 32, x : x + 32]


def pictures(count, size=80):
    drawn = FaceSim(split="test", size=size, identities=count, per_identity=1)
    return [drawn[number]["image"] for number in range(count)]


def written(path, shown, seed=4, name="a"):
    crops = DegradedCrops(path, cut, seed, name)
    for row, (picture, corner) in enumerate((picture, corner) for picture in shown for corner in FACES):
        found, clean = crops.add(picture, corner)
        assert found == row
        np.testing.assert_array_equal(clean, cut(picture, corner))
    crops.end_clip()
    return read_degraded(path, 32)


def wanted(clip, first_row, seed=4, name="a"):
    """(2 K, 41, 32, 32, 3) of the K pictures of one clip."""
    versions = [clip, *degraded(clip, (seed, zlib.crc32(name.encode()), first_row))]
    return np.array([[cut(version[n], face) for version in versions] for n in range(len(clip)) for face in FACES])


def test_whole_pictures_are_degraded_in_clips(tmp_path):
    shown = pictures(CLIP + 2)
    found = written(tmp_path / "0", shown)
    assert found.shape == (2 * len(shown), 41, 32, 32, 3)
    np.testing.assert_array_equal(found[: 2 * CLIP], wanted(shown[:CLIP], 0))
    np.testing.assert_array_equal(found[2 * CLIP :], wanted(shown[CLIP:], 2 * CLIP))


def test_another_size_begins_another_clip(tmp_path):
    shown = pictures(2) + pictures(2, size=96)
    found = written(tmp_path / "0", shown)
    np.testing.assert_array_equal(found, np.concatenate([wanted(shown[:2], 0), wanted(shown[2:], 4)]))


def test_large_pictures_make_short_clips(tmp_path, monkeypatch):
    shown = pictures(3)
    monkeypatch.setattr(degraded_crops, "_CLIP_BYTES", shown[0].nbytes - 1)
    found = written(tmp_path / "0", shown)
    np.testing.assert_array_equal(found, np.concatenate([wanted(shown[n : n + 1], 2 * n) for n in range(3)]))


def test_noise_follows_seed_and_name_and_nothing_else(tmp_path):
    shown = pictures(1)
    first = np.array(written(tmp_path / "0", shown))
    np.testing.assert_array_equal(written(tmp_path / "1", shown), first)
    for change in ({"seed": 5}, {"name": "b"}):
        differ = (written(tmp_path / "2", shown, **change) != first).any(axis=(0, 2, 3, 4))
        assert np.flatnonzero(differ).tolist() == [21, 22, 23, 24, 25]


def test_what_a_process_left_when_it_died_is_overwritten(tmp_path):
    (tmp_path / "0").write_bytes(b"half")
    assert len(written(tmp_path / "0", pictures(1))) == 2


def test_too_many_crops_are_refused_before_they_are_made(tmp_path, monkeypatch):
    monkeypatch.setattr(degraded_crops, "_FILE_BYTES", 3 * 41 * 32 * 32 * 3)
    with pytest.raises(UnreadableMedia, match=r"over 3 face crops to degrade, .*: sample fewer frames"):
        written(tmp_path / "0", pictures(2))
    assert not (tmp_path / "0").exists()


def test_degraded_frames_are_cut_by_the_faces_of_the_clean_ones(tmp_path, faces):
    drawn = FaceSim(split="test", size=128, identities=3, per_identity=1)
    small = cv2.resize(drawn[0]["image"], (96, 96))
    image = np.full((256, 400, 3), 60, np.uint8)
    image[40:136, 20:116], image[60:188, 220:348] = small, drawn[1]["image"]
    cv2.imwrite(str(tmp_path / "two.png"), image[..., ::-1])
    (tmp_path / "bad.png").write_bytes(b"")
    (tmp_path / "scratch").mkdir()
    files = [(tmp_path / "bad.png", "bad"), (tmp_path / "two.png", "two")]
    how = (tmp_path / "scratch", RECIPE, Sampling(count=4), "largest")
    bad, seen = extract_degraded_faces(files, *how, workers=1, seconds=60)
    assert bad == Rejected("empty")
    (found,) = seen.crops
    largest = faces.detect(image)[0]
    assert found.box == largest.box
    rows = read_degraded(tmp_path / "scratch" / "1", 64)
    assert len(rows) == 2  # before the largest was chosen
    versions = rows[found.example["row"]]
    np.testing.assert_array_equal(versions[0], found.example["image"])
    np.testing.assert_array_equal(versions[0], crop(image, largest, RECIPE)["image"])
    for name, value, change in (("jpeg", 40, jpeg), ("brightness", 0.25, brightness)):
        wanted = crop(change(image, value), largest, RECIPE)["image"]
        np.testing.assert_array_equal(versions[1 + CONDITIONS.index((name, value))], wanted)


def test_a_recipe_of_another_detector_is_refused_before_any_work(tmp_path):
    other = dataclasses.replace(RECIPE, detector_hash="0")
    with pytest.raises(ValueError, match=r"recipe\.detector"):
        extract_degraded_faces([], tmp_path, other, Sampling(count=4))
