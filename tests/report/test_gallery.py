"""Pictures brought into the squares of a gallery."""

import numpy as np
import pytest

from fdetect_jax.report.gallery import framed


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
