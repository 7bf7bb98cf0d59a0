"""Pictures of any size and shape of pixel fit one canvas, and their boxes with them."""

from fractions import Fraction

import numpy as np
import pytest

from fdetect_jax.media.fit import Fit, on_canvas, squared
from fdetect_jax.media.limits import Limits


@pytest.mark.parametrize(
    ("aspect", "wanted"),
    [
        (None, (720, 576)),
        (Fraction(1), (720, 576)),
        (Fraction(64, 45), (1024, 576)),
        (Fraction(8, 9), (720, 648)),
        (Fraction(2), (1440, 576)),
        (Fraction(5), (720, 576)),
        (Fraction(1, 5), (720, 576)),
        (Fraction(2**31 - 1), (720, 576)),
        (Fraction(-4, 3), (720, 576)),
        (Fraction(0), (720, 576)),
    ],
)
def test_pixels_become_square(aspect, wanted):
    assert squared((720, 576), aspect, Limits()) == wanted


def test_a_picture_at_the_limit_shrinks_instead():
    limits = Limits(frame_pixels=720 * 576)
    assert squared((720, 576), Fraction(4, 3), limits) == (720, 432)
    assert squared((720, 576), Fraction(3, 4), limits) == (540, 576)
    assert squared((1, 1), Fraction(4), Limits(frame_pixels=1)) == (1, 1)


@pytest.mark.parametrize(
    ("size", "place"), [((40, 20), (0, 0, 80, 40)), ((20, 20), (20, 0, 60, 40)), ((160, 20), (0, 15, 80, 25))]
)
def test_a_picture_keeps_its_shape_and_its_box(size, place):
    pixels = np.full((size[1], size[0], 3), 200, np.uint8)
    canvas = on_canvas(pixels, (80, 40))
    assert canvas.shape == (40, 80, 3)
    left, top, right, bottom = place
    assert (canvas[top:bottom, left:right] == 200).all()
    assert int(canvas.sum()) == 200 * 3 * (right - left) * (bottom - top)
    assert Fit.of(size, (80, 40)).box((0, 0, *size)) == pytest.approx(place)


def test_a_picture_of_the_canvas_stays_as_it_is():
    pixels = np.zeros((40, 80, 3), np.uint8)
    assert on_canvas(pixels, (80, 40)) is pixels
    assert Fit.of((80, 40), (80, 40)).box((1.5, 2, 3, 4.25)) == (1.5, 2, 3, 4.25)
