"""What a mask's shape is taken for, on shapes whose measures are known."""

import cv2
import numpy as np
import pytest

from fdetect_jax.inference.mask_shape import of_masks, shape_of

SIZE = 128


def drawn(*polygons):
    mask = np.zeros((SIZE, SIZE), np.uint8)
    for polygon in polygons:
        cv2.fillPoly(mask, [np.array(polygon, np.int32)], 1)
    return mask.astype(np.float32)


def rectangle(angle=0.0):
    return drawn(np.round(cv2.boxPoints(((64, 64), (60, 80), angle))))


def ellipse():
    mask = np.zeros((SIZE, SIZE), np.float32)
    cv2.ellipse(mask, (64, 64), (30, 42), 0, 0, 360, 1, -1)
    return mask


def test_a_rectangle_of_pixels_is_one():
    mask = np.zeros((10, 20))
    mask[2:6, 5:15] = 0.5
    shape = shape_of(mask)
    assert (shape.share, shape.pieces) == (0.2, 1)
    assert (shape.rectangularity, shape.convexity) == pytest.approx((1, 1))


def test_a_triangle_fills_half_of_its_rectangle_and_all_of_its_hull():
    shape = shape_of(drawn([(10, 10), (110, 10), (10, 110)]))
    assert shape.rectangularity == pytest.approx(0.5, abs=0.02)
    assert shape.convexity == pytest.approx(1, abs=0.02)


def test_an_ellipse():
    shape = shape_of(ellipse())
    assert shape.rectangularity == pytest.approx(np.pi / 4, abs=0.02)
    assert shape.convexity > 0.97


def test_bays_lower_the_convexity():
    """An L of two arms a third as wide as long: 5/9 of its square, and 5/7 of its hull."""
    shape = shape_of(drawn([(20, 20), (49, 20), (49, 80), (109, 80), (109, 109), (20, 109)]))
    assert shape.rectangularity == pytest.approx(5 / 9, abs=0.02)
    assert shape.convexity == pytest.approx(5 / 7, abs=0.02)


def test_specks_are_no_pieces():
    two = drawn([(10, 10), (50, 10), (50, 50), (10, 50)], [(70, 70), (110, 70), (110, 110), (70, 110)])
    assert shape_of(two).pieces == 2
    speck = rectangle()
    speck[2:4, 2:4] = 1
    assert shape_of(speck).pieces == 1
    assert shape_of(np.zeros((8, 8))) == shape_of(np.full((8, 8), 0.49))
    assert shape_of(np.zeros((8, 8))).pieces == 0


@pytest.mark.parametrize(
    ("mask", "hint"),
    [
        (rectangle(), "rectangle, as the pasted crops of Deepfakes"),
        (rectangle(20), "rectangle, as the pasted crops of Deepfakes"),
        (ellipse(), "as the polygons of FaceSwap"),
        (drawn([(30, 20), (98, 20), (110, 60), (64, 115), (18, 60)]), "as the polygons of FaceSwap"),
        (drawn([(20, 20), (49, 20), (49, 80), (109, 80), (109, 109), (20, 109)]), "parts of a face were changed"),
        (rectangle() * (np.abs(np.arange(SIZE) - 64) > 3)[:, None], "2 separate pieces, as reenactment"),
    ],
)
def test_the_words_name_the_method(mask, hint):
    found = of_masks(mask[None], np.array([0.9]))
    assert hint in found.words
    assert "a hint at the method, no proof" in found.words
    assert (found.name, found.speaks_for, found.strength) == ("mask", "neither", 0)
    assert found.value == pytest.approx(mask.mean())
    assert f"marks {mask.mean():.0%} of the crop of the face as altered" in found.words


def test_of_several_faces_the_median_and_the_likeliest_fake_count():
    masks = np.stack([np.zeros((SIZE, SIZE)), rectangle(), ellipse()])
    found = of_masks(masks, np.array([0.1, 0.5, 0.8]))
    assert found.value == pytest.approx(np.median(masks.mean(axis=(1, 2))))
    assert "3 faces that look most fake (median)" in found.words
    assert "FaceSwap" in found.words
    nothing = of_masks(masks, np.array([0.8, 0.5, 0.1]))
    assert "hint" not in nothing.words  # of the face that looks most fake nothing is marked
