"""Faces of many files come back in order, and a bad file gives its reason."""

import dataclasses

import cv2
import numpy as np
import pytest

from fdetect_jax.evaluation.degrade import CONDITIONS, brightness, jpeg
from fdetect_jax.evaluation.degraded_crops import read_degraded
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.media.clips import faces_of
from fdetect_jax.media.crop import RECIPES, crop
from fdetect_jax.media.extract import extract_degraded_faces, extract_faces
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.video import Sampling

RECIPE = RECIPES["aligned64"]


def test_files_in_order_with_their_crops_alone(tmp_path, faces):
    drawn = FaceSim(split="test", size=128, identities=3, per_identity=1)
    paths = [tmp_path / f"{number}.png" for number in range(3)]
    for number, path in enumerate(paths):
        cv2.imwrite(str(path), drawn[number]["image"][..., ::-1])
    bad = tmp_path / "bad.png"
    bad.write_bytes(b"")
    found = list(extract_faces([paths[0], bad, *paths[1:]], RECIPE, Sampling(count=4), workers=2, seconds=60))
    assert found.pop(1) == Rejected("empty")
    for path, seen in zip(paths, found, strict=True):
        wanted = faces_of(path, faces, RECIPE, Sampling(count=4))
        assert [list(one.example) for one in seen.crops] == [["image"]]
        np.testing.assert_array_equal(seen.crops[0].example["image"], wanted.crops[0].example["image"])


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
        extract_faces([], other, Sampling(count=4))
    with pytest.raises(ValueError, match=r"recipe\.detector"):
        extract_degraded_faces([], tmp_path, other, Sampling(count=4))
