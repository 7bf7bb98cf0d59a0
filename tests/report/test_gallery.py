"""Pictures brought into the squares of a gallery."""

import cv2
import numpy as np
import pytest

from fdetect_jax.report.gallery import Gallery, difference, framed, gallery_png


def pictures(size=24, count=9):
    rng = np.random.default_rng(1)
    real, fake = (rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8) for _ in range(2))
    return {"real": real, "adversary": fake, "difference ×8": difference(real, fake)}


@pytest.mark.parametrize("shape", [(40, 20), (20, 40), (300, 150), (150, 300)])
def test_proportions_are_kept_and_the_rest_is_white(shape):
    square = framed(np.full((*shape, 3), 50, np.uint8), 64)
    assert square.shape == (64, 64, 3)
    assert square.dtype == np.uint8
    picture = square[:, 16:48] if shape[0] > shape[1] else square[16:48]
    assert (picture == 50).all()
    assert (square == 50).sum() == picture.size
    assert set(np.unique(square)) == {50, 255}


def test_masks_become_grey():
    square = framed(np.array([[0.0, 1.0], [0.5, 0.25]], np.float32), 2)
    np.testing.assert_array_equal(square, np.repeat([[[0], [255]], [[128], [64]]], 3, axis=2))
    assert (framed(np.ones((4, 4), np.uint8), 4) == 255).all()


def test_a_sliver_stays_visible():
    assert (framed(np.zeros((1, 500, 3), np.uint8), 32) == 0).any()


def test_difference_is_amplified_and_clipped():
    a, b = np.uint8([[0, 10, 255]]), np.uint8([[3, 0, 0]])
    np.testing.assert_array_equal(difference(a, b), [[24, 80, 255]])
    np.testing.assert_array_equal(difference(a, b, gain=1), [[3, 10, 255]])


def test_contact_sheet_keeps_pixels(tmp_path):
    columns = pictures(size=80, count=2)
    gallery_png(columns, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    height, width = sheet.shape[:2]
    assert width == 6 + 3 * 86
    assert height == 26 + 2 * 86
    np.testing.assert_array_equal(sheet[26:106, 6:86], columns["real"][0])
    np.testing.assert_array_equal(sheet[112:192, 92:172], columns["adversary"][1])
    assert sheet[:26].min() < 128, "no labels"


@pytest.mark.parametrize(
    ("columns", "scores", "message"),
    [
        ({}, {}, "at least one column"),
        ({"real": np.zeros((2, 8, 8, 3), np.float32)}, {}, "'real' must be .* uint8"),
        ({"a": np.zeros((2, 8, 8, 3), np.uint8), "b": np.zeros((1, 8, 8, 3), np.uint8)}, {}, "equally many"),
        ({"real": np.zeros((2, 8, 8, 3), np.uint8)}, {"fake": np.zeros(2)}, "'fake'"),
        ({"real": np.zeros((2, 8, 8, 3), np.uint8)}, {"real": np.zeros(3)}, r"\(2,\), found \(3,\)"),
    ],
)
def test_gallery_refuses_what_does_not_line_up(columns, scores, message):
    with pytest.raises(ValueError, match=message):
        Gallery(columns, scores)
