"""Places pictures of any size and shape of pixel on one canvas. In: sizes, pixels or boxes. Out: the same, fitted.

All sizes are (width, height) in pixels.
"""

from fractions import Fraction
from typing import NamedTuple

import cv2
import numpy as np

from fdetect_jax.media.limits import Limits

Size = tuple[int, int]

_LONGEST = 4  # sides of a pixel; an anamorphic lens doubles, broadcasts reach 2.9, and more is damage


def squared(size: Size, aspect: Fraction | None, limits: Limits) -> Size:
    """The size with square pixels of a picture that is stored with others.

    The shorter side grows; the other one shrinks where the picture would pass ``limits.frame_pixels``.

    Args:
        size: as stored. aspect: width of a stored pixel divided by its height; None counts as 1, and so does a value
            outside [1/4, 4]. limits: of the frame.
    """
    width, height = size
    if not aspect or not Fraction(1, _LONGEST) <= aspect <= _LONGEST:
        return size
    grows = width * height * max(aspect, 1 / aspect) <= limits.frame_pixels
    if (aspect > 1) == grows:
        return max(1, round(width * aspect)), height
    return width, max(1, round(height / aspect))


def resized(pixels: np.ndarray, size: Size) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3) uint8 of ``size``; the same array where nothing changes."""
    if (pixels.shape[1], pixels.shape[0]) == size:
        return pixels
    smaller = size[0] < pixels.shape[1] or size[1] < pixels.shape[0]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR)


class Fit(NamedTuple):
    """Where a picture lies on a canvas: as large as it can be, in the middle, its shape kept.

    size: of the picture there. left, top: its corner. scale: from its own pixels to the canvas's.
    """

    size: Size
    left: int
    top: int
    scale: tuple[float, float]

    @classmethod
    def of(cls, size: Size, canvas: Size) -> "Fit":
        scale = min(canvas[0] / size[0], canvas[1] / size[1])
        width, height = (min(max(1, round(scale * side)), most) for side, most in zip(size, canvas, strict=True))
        place = (canvas[0] - width) // 2, (canvas[1] - height) // 2
        return cls((width, height), *place, (width / size[0], height / size[1]))

    def box(self, box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
        """(x0, y0, x1, y1) in the picture's pixels -> in the canvas's."""
        (across, down), (x0, y0, x1, y1) = self.scale, box
        return self.left + across * x0, self.top + down * y0, self.left + across * x1, self.top + down * y1


def on_canvas(pixels: np.ndarray, canvas: Size) -> np.ndarray:
    """(H, W, 3) uint8 -> (height, width, 3) uint8 of the size ``canvas``, black beside the picture."""
    if (pixels.shape[1], pixels.shape[0]) == canvas:
        return pixels
    fit = Fit.of((pixels.shape[1], pixels.shape[0]), canvas)
    filled = np.zeros((canvas[1], canvas[0], 3), np.uint8)
    filled[fit.top : fit.top + fit.size[1], fit.left : fit.left + fit.size[0]] = resized(pixels, fit.size)
    return filled
