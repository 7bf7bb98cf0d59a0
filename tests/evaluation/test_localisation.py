"""Figures of masks against closed forms, and against their definition pixel by pixel."""

import numpy as np
import pytest

from fdetect_jax.evaluation.localisation import FIGURES, cosine, figures_of, iinc, iou


def square(x0, x1, size=8):
    """(1, size, size) bool, True in columns x0 to x1."""
    mask = np.zeros((1, size, size), bool)
    mask[:, :, x0:x1] = True
    return mask


def test_iou_of_overlapping_and_of_empty_masks():
    assert iou(square(0, 4), square(2, 6)) == pytest.approx(2 / 6)
    assert iou(square(0, 4), square(0, 4)) == 1
    assert iou(square(0, 4), square(4, 8)) == 0
    assert iou(square(0, 0), square(0, 0)) == 1
    assert iou(square(0, 0), square(0, 4)) == 0


def test_iinc():
    # Half and half of the area, a quarter in common: I = 1/4, U = 3/4.
    assert iinc(square(0, 4), square(2, 6)) == pytest.approx((2 - 1 / 2 - 1 / 2) / (3 - 3 / 4))
    assert iinc(square(0, 4), square(0, 4)) == 0
    assert iinc(square(0, 4), square(4, 8)) == pytest.approx(2 / (3 - 1))
    assert iinc(square(0, 2), square(0, 8)) == pytest.approx((2 - 1 - 1 / 4) / (3 - 1))
    assert iinc(square(0, 0), square(0, 0)) == 0
    assert iinc(square(0, 0), square(0, 4)) == pytest.approx(1 / (3 - 1 / 2))
    assert iinc(square(0, 4), square(0, 0)) == pytest.approx(1 / (3 - 1 / 2))


def test_cosine():
    assert cosine(square(0, 4), square(2, 6)) == pytest.approx(0.5)
    assert cosine(0.3 * square(0, 4), 0.9 * square(0, 4)) == pytest.approx(1)
    assert cosine(square(0, 4), square(4, 8)) == 0
    assert cosine(square(0, 0), square(0, 0)) == 1
    assert cosine(square(0, 0), square(0, 4)) == 0


def test_faces_do_not_see_each_other():
    found, wanted = np.concatenate([square(0, 4), square(0, 8)]), np.concatenate([square(0, 4), square(0, 4)])
    both = figures_of(found, wanted, found)
    assert list(both) == [column.name for column in FIGURES]
    for name, values in both.items():
        for row in (0, 1):
            alone = figures_of(found[row : row + 1], wanted[row : row + 1], found[row : row + 1])
            np.testing.assert_allclose(alone[name], values[row : row + 1], err_msg=name)
    assert both["iou"].tolist() == [1, 0.5]
    assert both["pixel_accuracy"].tolist() == [1, 0.5]
    assert both["real_share"].tolist() == [0.5, 1]


def test_a_coarse_map_is_measured_on_its_grid_and_at_the_size_of_the_mask():
    """The left half, on a grid of two cells; the true mask ends a pixel before the middle."""
    found = np.array([[[1.0, 0.0], [1.0, 0.0]]])
    wanted = square(0, 3).astype(np.float32)
    figures = figures_of(found, wanted, np.zeros_like(found))
    # On the grid the left cell is altered in three of four columns, so it counts as altered.
    assert (figures["pbca"], figures["iinc"]) == (1, 0)
    assert figures["cosine"] == pytest.approx(1)
    # At the size of the mask the map crosses 0.5 in the middle: columns 0 to 3.
    assert figures["iou"] == pytest.approx(3 / 4)
    assert figures["pixel_accuracy"] == pytest.approx(7 / 8)
    assert figures["real_share"] == 0


def test_a_pixel_is_altered_from_one_half_on():
    found, wanted = np.full((1, 4, 4), 0.5), np.full((1, 4, 4), 0.49)
    figures = figures_of(found, wanted, found)
    assert (figures["iou"], figures["pixel_accuracy"], figures["pbca"]) == (0, 0, 0)
    assert figures["cosine"] == pytest.approx(1)
    assert figures_of(found, found, found)["iou"] == 1
