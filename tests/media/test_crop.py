"""The crop's geometry, its smoothness when shrinking, and the recipe as a value."""

import json

import cv2
import numpy as np
import pytest

from fdetect_jax.data.facesim import FaceSim
from fdetect_jax.media.crop import RECIPES, CropRecipe, crop
from fdetect_jax.media.faces import Face
from fdetect_jax.media.landmarks import eyes


def _face(landmarks, angle=0.0):
    low, high = landmarks.min(0), landmarks.max(0)
    keypoints = np.array([*eyes(landmarks), *landmarks[[30, 62, 0, 16]]], np.float32)
    return Face((*map(float, low), *map(float, high)), 0.9, keypoints, landmarks)


def _picture(size=200, turn=0.0):
    """A smooth picture whose colours tell the place, and a face turned by ``turn`` in it."""
    y, x = np.mgrid[:size, :size].astype(np.float64)
    image = np.stack([x, y, (x + y) / 2], -1) * 255 / size
    points = FaceSim(split="test", size=128, identities=1, per_identity=1)[0]["landmarks"].astype(np.float64)
    left, right = eyes(points)
    turn -= np.arctan2(*(right - left)[::-1])
    spin = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    points = (points - points.mean(0)) @ spin.T * 0.6 + size / 2
    return np.round(image).astype(np.uint8), _face(points.astype(np.float32))


@pytest.mark.parametrize("size", [24, 64, 200])
@pytest.mark.parametrize("align", [False, True])
def test_landmarks_and_pixels_move_together(size, align):
    image, face = _picture(turn=0.4)
    example = crop(image, face, CropRecipe(size=size, scale=1.4, align=align, interpolation="linear"))
    assert example["image"].shape == (size, size, 3)
    assert example["landmarks"].dtype == np.float32
    # The picture's colours are its coordinates, so the crop's colour at a landmark says which point it shows.
    there, here = example["landmarks"], face.landmarks
    seen = cv2.remap(example["image"], there[None, :, 0], there[None, :, 1], cv2.INTER_LINEAR)[0, :, :2]
    inside = ((there > 1) & (there < size - 2)).all(1)
    assert inside.sum() > 40
    np.testing.assert_allclose((seen * (200 / 255))[inside], here[inside], atol=1.5)


def test_align_makes_the_eyes_level_and_only_then():
    image, face = _picture(turn=0.4)
    for align, angle in ((True, 0.0), (False, 0.4)):
        left, right = eyes(crop(image, face, CropRecipe(64, 1.3, align))["landmarks"])
        assert np.arctan2(*(right - left)[::-1]) == pytest.approx(angle, abs=1e-3)


def test_scale_is_the_square_over_the_box():
    image, face = _picture()
    tight, loose = (crop(image, face, CropRecipe(64, scale, False))["landmarks"] for scale in (1.0, 2.0))
    np.testing.assert_allclose(np.ptp(tight, axis=0).max(), 64, rtol=1e-4)
    np.testing.assert_allclose(np.ptp(loose, axis=0).max(), 32, rtol=1e-4)


def test_shrinking_does_not_alias():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the crop can show: grey is the only honest answer
    points = FaceSim(split="test", size=128, identities=1, per_identity=1)[0]["landmarks"] * 4 + 100
    for align in (False, True):
        shown = crop(stripes, _face(points), CropRecipe(64, 1.2, align))["image"]
        assert np.abs(shown.astype(int) - 127).max() < 16


def test_over_the_edge_the_picture_is_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    # A box whose square starts 16 pixels left of the image and is copied pixel by pixel.
    face = Face((-16.5, -0.5, 47.5, 63.5), 0.9, np.zeros((6, 2), np.float32), None)
    shown = crop(image, face, CropRecipe(64, 1.0, False))["image"]
    np.testing.assert_array_equal(shown[:, 16:], image[:, :48])
    np.testing.assert_array_equal(shown[:, :16], image[:, 16:0:-1])


def test_without_landmarks_there_is_only_the_image_and_key_points_level_it():
    image, face = _picture(turn=0.4)
    bare = Face(face.box, face.score, face.keypoints, None)
    recipe = CropRecipe(64, 1.2, True)
    example = crop(image, bare, recipe)
    assert set(example) == {"image"}
    np.testing.assert_array_equal(example["image"], crop(image, face, recipe)["image"])


def test_recipes_survive_json_and_are_told_apart():
    prints = set()
    for recipe in [*RECIPES.values(), CropRecipe(64, 1.15, False), CropRecipe(64, 1.15, True, "linear")]:
        again = CropRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
        assert again == recipe
        assert again.fingerprint() == recipe.fingerprint()
        prints.add(recipe.fingerprint())
    assert len(prints) == len(RECIPES) + 2
    assert RECIPES["paper"].size == 380
    assert RECIPES["aligned64"].align


@pytest.mark.parametrize(
    ("field", "values"),
    [("size", (4, 1.0)), ("scale", (64, 0.0)), ("interpolation", (64, 1.0, True, "nearest"))],
)
def test_a_wrong_field_is_named(field, values):
    with pytest.raises(ValueError, match=rf"recipe\.{field}: found"):
        CropRecipe(*(*values, True)[: max(3, len(values))])


def test_a_recipe_of_another_detector_is_refused():
    values = RECIPES["paper"].to_dict() | {"detector_hash": "0" * 16}
    with pytest.raises(ValueError, match=r"recipe\.detector: found .*0000"):
        CropRecipe.from_dict(values).require_detector()
    with pytest.raises(ValueError, match="margin"):
        CropRecipe.from_dict(values | {"margin": 1})


def test_real_crops_show_the_whole_face(faces, shared):
    from fdetect_jax.media.photos import read_photo

    for path in sorted((shared / "data/faces/london").glob("*.jpg"))[:10]:
        photo = read_photo(path)
        example = crop(photo, faces.detect(photo)[0], RECIPES["aligned64"])
        assert example["landmarks"].min() > -2
        assert example["landmarks"].max() < 66
        assert 0.45 < example["mask"].mean() < 0.85
