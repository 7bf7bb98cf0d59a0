"""Faces of many files come back in order, and a bad file gives its reason."""

import dataclasses

import cv2
import numpy as np
import pytest

from fdetect_jax.faces.clips import faces_of
from fdetect_jax.faces.crop import RECIPES, crop, make_recipe, views
from fdetect_jax.faces.extract import extract_faces
from fdetect_jax.facesim.faces import FaceSim
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


def test_views_are_drawn_alike_in_every_process(tmp_path, faces):
    drawn = FaceSim(split="test", size=128, identities=1, per_identity=1)[0]["image"]
    cv2.imwrite(str(tmp_path / "a.png"), drawn[..., ::-1])
    recipe = make_recipe("fwa", 64)
    found = extract_faces([tmp_path / "a.png"] * 2, recipe, Sampling(count=4), "all", 3, workers=2, seconds=60)
    (face,) = faces.detect(drawn)
    for seen in found:
        np.testing.assert_array_equal(seen.crops[0].example["views"], views(drawn, face, recipe, 3))
        np.testing.assert_array_equal(seen.crops[0].example["image"], crop(drawn, face, recipe)["image"])
    with pytest.raises(ValueError, match="views: found 3, wanted 1"):
        extract_faces([], RECIPE, Sampling(count=4), "all", 3)


def test_a_recipe_of_another_detector_is_refused_before_any_work():
    other = dataclasses.replace(RECIPE, detector_hash="0")
    with pytest.raises(ValueError, match=r"recipe\.detector"):
        extract_faces([], other, Sampling(count=4))
