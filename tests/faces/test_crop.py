"""The crop's geometry, its smoothness when shrinking, and the recipe as a value."""

import dataclasses
import json

import cv2
import numpy as np
import pytest

from fdetect_jax.faces.crop import (
    RECIPES,
    REGIONS,
    CropRecipe,
    context_crop,
    crop,
    face_area,
    face_crop,
    make_recipe,
    stretched,
    views,
)
from fdetect_jax.faces.finder import Face
from fdetect_jax.faces.landmarks import eyes
from fdetect_jax.facesim.faces import FaceSim


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
@pytest.mark.parametrize("region", [*REGIONS, "loose box"])
def test_landmarks_and_pixels_move_together(size, region):
    image, face = _picture(turn=0.4)
    recipe = CropRecipe(size, 1.4, region.split()[-1], "linear", (0.05, 0.2) if "loose" in region else None)
    example = crop(image, face, recipe)
    assert example["image"].shape == (size, size, 3)
    assert example["landmarks"].dtype == np.float32
    # The picture's colours are its coordinates, so the crop's colour at a landmark says which point it shows.
    there, here = example["landmarks"], face.landmarks
    seen = cv2.remap(example["image"], there[None, :, 0], there[None, :, 1], cv2.INTER_LINEAR)[0, :, :2]
    inside = ((there > 1) & (there < size - 2)).all(1)
    assert inside.sum() > 40
    np.testing.assert_allclose((seen * (200 / 255))[inside], here[inside], atol=1.5)


def test_level_makes_the_eyes_level_and_only_then():
    image, face = _picture(turn=0.4)
    for region, angle in (("level", 0.0), ("square", 0.4)):
        left, right = eyes(crop(image, face, CropRecipe(64, 1.3, region))["landmarks"])
        assert np.arctan2(*(right - left)[::-1]) == pytest.approx(angle, abs=1e-3)


def test_scale_is_the_square_over_the_box():
    image, face = _picture()
    tight, loose = (crop(image, face, CropRecipe(64, scale))["landmarks"] for scale in (1.0, 2.0))
    np.testing.assert_allclose(np.ptp(tight, axis=0).max(), 64, rtol=1e-4)
    np.testing.assert_allclose(np.ptp(loose, axis=0).max(), 32, rtol=1e-4)


def test_shrinking_does_not_alias():
    stripes = np.zeros((800, 800, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the crop can show: grey is the only honest answer
    points = FaceSim(split="test", size=128, identities=1, per_identity=1)[0]["landmarks"] * 4 + 100
    for region in REGIONS:
        shown = crop(stripes, _face(points), CropRecipe(64, 1.2, region))["image"]
        assert np.abs(shown.astype(int) - 127).max() < 16


def test_over_the_edge_the_picture_is_mirrored():
    image = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    # A box whose square starts 16 pixels left of the image and is copied pixel by pixel.
    face = Face((-16.5, -0.5, 47.5, 63.5), 0.9, np.zeros((6, 2), np.float32), None)
    shown = crop(image, face, CropRecipe(64, 1.0))["image"]
    np.testing.assert_array_equal(shown[:, 16:], image[:, :48])
    np.testing.assert_array_equal(shown[:, :16], image[:, 16:0:-1])


def test_without_landmarks_there_is_only_the_image_and_key_points_level_it():
    image, face = _picture(turn=0.4)
    bare = Face(face.box, face.score, face.keypoints, None)
    recipe = CropRecipe(64, 1.2, "level")
    example = crop(image, bare, recipe)
    assert set(example) == {"image"}
    np.testing.assert_array_equal(example["image"], crop(image, face, recipe)["image"])


def test_recipes_survive_json_and_are_told_apart():
    prints = set()
    for recipe in [*RECIPES.values(), CropRecipe(64, 1.15), CropRecipe(64, 1.15, "level", "linear")]:
        again = CropRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
        assert again == recipe
        assert again.fingerprint() == recipe.fingerprint()
        prints.add(recipe.fingerprint())
    assert len(prints) == len(RECIPES) + 2
    assert {name: recipe.size for name, recipe in RECIPES.items()} == {
        "paper": 380,
        "sbi": 380,
        "fwa": 224,
        "ff++": 299,
        "framed": 256,
        "aligned": 256,
        "aligned64": 64,
        "aligned1024": 1024,
    }


def test_a_recipe_by_name_and_size():
    assert make_recipe("sbi") == RECIPES["sbi"]
    assert make_recipe("sbi", 128) == dataclasses.replace(RECIPES["sbi"], size=128)
    with pytest.raises(ValueError, match=r"recipe: found 'tight', wanted one of \['aligned'"):
        make_recipe("tight")


@pytest.mark.parametrize(
    ("field", "values"),
    [
        ("size", (4, 1.0)),
        ("scale", (64, 0.0)),
        ("region", (64, 1.0, "round")),
        ("interpolation", (64, 1.0, "level", "nearest")),
        ("training_margins", (64, 1.0, "level", "linear", (0.05, 0.2))),
        ("training_margins", (64, 1.0, "box", "linear", (0.2, 0.05))),
        ("training_margins", (64, 1.0, "box", "linear", (-0.1, 0.2))),
    ],
)
def test_a_wrong_field_is_named(field, values):
    with pytest.raises(ValueError, match=rf"recipe\.{field}: found"):
        CropRecipe(*values)


def _noise(height=300, width=260, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def test_sbi_serves_the_box_and_an_eighth_of_it_on_each_side():
    image, face = _noise(), Face((80.0, 100.0, 160.0, 220.0), 0.9, np.zeros((6, 2), np.float32), None)
    wanted = cv2.resize(image[85:236, 70:171], (380, 380), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop(image, face, RECIPES["sbi"])["image"], wanted)


def test_sbi_stops_at_the_image_s_edge():
    image, face = _noise(), Face((-20.0, 100.0, 160.0, 310.0), 0.9, np.zeros((6, 2), np.float32), None)
    wanted = cv2.resize(image[73:, :183], (380, 380), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop(image, face, RECIPES["sbi"])["image"], wanted)


def test_sbi_trains_on_margins_of_5_to_20_percent_each_by_itself():
    example = {"image": np.zeros((3000, 3000, 3), np.uint8), "box": np.float32([1000, 1000, 2000, 1800])}
    rng, recipe = np.random.default_rng(0), make_recipe("sbi", 64)
    areas = np.array([face_area(example, recipe, rng) for _ in range(2000)])
    margins = np.abs(areas - [1000, 1000, 2000, 1800]) / [1000, 800, 1000, 800]
    assert margins.min() >= 0.05
    assert margins.max() <= 0.2 + 1 / 800
    np.testing.assert_allclose(
        np.quantile(margins, [0.01, 0.5, 0.99], axis=0).T, [[0.0515, 0.125, 0.1985]] * 4, atol=0.007
    )
    assert np.abs(np.corrcoef(margins.T) - np.eye(4)).max() < 0.08
    assert face_area(example, recipe) == (875, 900, 2126, 1901)


def _with_landmarks():
    """A face whose landmarks fill (100, 80) to (180, 180); its box is another one."""
    points = np.linspace((100, 80), (180, 180), 68, dtype=np.float32)
    return Face((90.0, 70.0, 170.0, 150.0), 0.9, np.zeros((6, 2), np.float32), points)


def test_fwa_serves_the_middle_of_its_margins():
    """Of up to 10 pixels at the sides, 20 above and 10 below."""
    image, face = _noise(), _with_landmarks()
    wanted = cv2.resize(image[70:186, 95:186], (224, 224), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop(image, face, RECIPES["fwa"])["image"], wanted)


def test_fwa_trains_on_one_margin_for_both_sides_and_half_of_that_above_below():
    example = {"image": np.zeros((3000, 3000, 3), np.uint8), "box": np.float32([1000, 1000, 1800, 2000])}
    rng, recipe = np.random.default_rng(0), make_recipe("fwa", 64)
    margins = np.array([face_area(example, recipe, rng) for _ in range(2000)]) * [-1, -1, 1, 1] + [
        1000,
        1000,
        -1800,
        -2000,
    ]
    left, above, right, below = margins.T
    assert np.abs(left - right).max() <= 1
    assert np.abs(above / 2 - below).max() <= 1
    np.testing.assert_allclose(np.quantile(left, [0.01, 0.5, 0.99]), [1, 50, 99], atol=4)
    np.testing.assert_allclose(np.quantile(above, [0.01, 0.5, 0.99]), [2, 100, 198], atol=8)
    assert abs(np.corrcoef(left, above)[0, 1]) < 0.08


def test_views_are_the_crops_that_fwa_s_code_draws():
    """Its margins at the sides and above for the seeds 0 to 9; the last row and column are within the crop here."""
    draws = [(5, 0), (5, 11), (8, 15), (8, 3), (7, 5), (3, 14), (9, 3), (4, 3), (3, 17), (5, 1)]
    image, face, recipe = _noise(), _with_landmarks(), RECIPES["fwa"]
    found = views(image, face, recipe, 10)
    assert found.shape == (10, 224, 224, 3)
    for one, (x, y) in zip(found, draws, strict=True):
        area = (100 - x, 80 - y, 180 + x + 1, int(180 + y / 2) + 1)
        np.testing.assert_array_equal(one, stretched(image, area, recipe)[0])


def test_views_of_other_recipes_are_training_s_draws():
    image, face = _picture()
    recipe = make_recipe("sbi", 64)
    wanted = [face_crop(context_crop(image, face, recipe), recipe, np.random.default_rng(seed)) for seed in range(3)]
    np.testing.assert_array_equal(views(image, face, recipe, 3), [one["image"] for one in wanted])
    with pytest.raises(ValueError, match=r"recipe\.training_margins: found None"):
        views(image, face, RECIPES["paper"], 2)


def test_a_loose_crop_is_sbi_s_region():
    image, face = _picture()
    found = context_crop(image, face, RECIPES["sbi"])
    x0, y0, x1, y1 = np.r_[face.landmarks.min(0), face.landmarks.max(0)].astype(float)
    w, h = x1 - x0, y1 - y0
    left, top = max(0, int(x0 - w / 2)), max(0, int(y0 - h))
    right, bottom = min(200, int(x1 + w / 2) + 1), min(200, int(y1 + 0.4 * h) + 1)
    np.testing.assert_array_equal(found["image"], image[top:bottom, left:right])
    np.testing.assert_allclose(found["landmarks"], face.landmarks - [left, top], atol=1e-4)
    np.testing.assert_allclose(found["box"], np.array(face.box) - [left, top, left, top], atol=1e-4)


def test_a_large_face_is_shrunk_until_the_smallest_crop_fills_the_size():
    image, face = _picture()
    found = context_crop(image, face, make_recipe("sbi", 32))
    assert (found["box"][2:] - found["box"][:2]).max() * 1.1 == pytest.approx(32, rel=0.02)
    small = crop(image, face, make_recipe("sbi", 32))
    whole = crop(image, face, dataclasses.replace(make_recipe("sbi", 32), training_margins=None))
    assert np.abs(small["image"].astype(int) - whole["image"]).max() < 12
    np.testing.assert_allclose(small["landmarks"], whole["landmarks"], atol=0.6)


def test_serving_cuts_what_training_would_with_serving_s_margins():
    image, face = _picture()
    for size in (32, 64, 380):
        recipe = make_recipe("sbi", size)
        one, two = crop(image, face, recipe), face_crop(context_crop(image, face, recipe), recipe)
        assert one.keys() == two.keys() == {"image", "landmarks", "mask"}
        for name in one:
            np.testing.assert_array_equal(one[name], two[name])


def test_loose_crops_are_for_recipes_with_training_margins():
    image, face = _picture()
    with pytest.raises(ValueError, match=r"recipe\.training_margins: found None of 'square'"):
        context_crop(image, face, RECIPES["paper"])


@pytest.mark.parametrize(
    ("box", "area"),
    [
        ((80, 100, 160, 200), (55, 85, 185, 215)),
        ((-10, -20, 60, 80), (0, 0, 130, 130)),  # the corner is moved into the image, the side is kept
        ((190, 100, 250, 180), (168, 88, 260, 180)),  # the side ends at the edge
    ],
)
def test_ffpp_s_square_lies_inside(box, area):
    image, face = _noise(), Face((*map(float, box),), 0.9, np.zeros((6, 2), np.float32), None)
    x0, y0, x1, y1 = area
    wanted = cv2.resize(image[y0:y1, x0:x1], (299, 299), interpolation=cv2.INTER_LINEAR)
    np.testing.assert_array_equal(crop(image, face, RECIPES["ff++"])["image"], wanted)


def test_aligned_brings_five_points_to_the_template():
    # A face whose points are the template's, turned, scaled and moved: the way back must be exact.
    image, face = _picture(size=400)
    on112 = [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
    turn = 0.8 * np.array([[np.cos(0.3), -np.sin(0.3)], [np.sin(0.3), np.cos(0.3)]])
    landmarks = face.landmarks.copy()
    landmarks[[37, 44, 30, 49, 55]] = np.array(on112) @ turn.T + [120, 90]
    found = crop(image, dataclasses.replace(face, landmarks=landmarks), RECIPES["aligned"])["landmarks"]
    wanted = (np.array(on112) * 256 / 112 + 0.15 * 256) / 1.3
    np.testing.assert_allclose(found[[37, 44, 30, 49, 55]], wanted, atol=1e-3)
    points = np.array([*on112[:3], np.mean(on112[3:], 0), (0, 0), (0, 0)]) @ turn.T + [120, 90]
    bare = dataclasses.replace(face, landmarks=None, keypoints=points.astype(np.float32))
    by_key_points = crop(image, bare, RECIPES["aligned"])["image"]
    whole = crop(image, dataclasses.replace(face, landmarks=landmarks), RECIPES["aligned"])["image"]
    assert np.abs(by_key_points.astype(int) - whole).max() <= 1


def test_aligned_is_black_where_the_photo_ends():
    image, face = np.full((200, 200, 3), 255, np.uint8), _picture()[1]
    moved = dataclasses.replace(face, landmarks=face.landmarks - [90, 0])
    assert (crop(image, moved, RECIPES["aligned"])["image"][128, :8] == 0).all()


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


@pytest.mark.parametrize(
    ("height", "width", "whole"), [(180, 180, True), (180, 190, True), (180, 240, False), (260, 260, False)]
)
def test_a_crop_is_taken_as_it_is_framed(height, width, whole):
    """A face of 100 pixels: an image of at most 2 sides of it is a crop; of any other the square is cut."""
    image = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    face = Face((40.0, 30.0, 140.0, 130.0), 0.9, np.zeros((6, 2), np.float32), None)
    recipe = make_recipe("framed", 90)
    shown = crop(image, face, recipe)["image"]
    square = crop(image, face, dataclasses.replace(recipe, region="square"))["image"]
    assert np.array_equal(shown, square) == (not whole)
    if whole:
        np.testing.assert_allclose(shown, cv2.resize(image, (90, 90), interpolation=cv2.INTER_AREA), atol=1)
