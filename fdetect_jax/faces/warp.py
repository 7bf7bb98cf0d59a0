"""Crops a rotated square, and fits a similarity between two sets of points. In: (H, W, 3) uint8. Out: (S, S, 3) uint8
and the map from image to crop.

Coordinates are (x, y) with integer values at pixel centres.
"""

import cv2
import numpy as np


def turned_square(
    image: np.ndarray,
    centre: np.ndarray,
    side: float,
    angle: float,
    size: int,
    interpolation: int = cv2.INTER_LINEAR,
    border: int = cv2.BORDER_REFLECT_101,
) -> tuple[np.ndarray, np.ndarray]:
    """Crops the square of ``side`` pixels around ``centre``, its x axis turned by ``angle``, resized to ``size``.

    When shrinking, the region is first reduced by area averaging (no aliasing); then one affine warp follows.

    Args:
        centre: (2,) pixels. side: > 0, pixels of ``image``. angle: radians, positive from x towards y.
        interpolation, border: OpenCV's flags for the warp.

    Returns:
        crop (size, size, 3) uint8, and affine (2, 3) float64 with ``crop_point = affine @ (x, y, 1)``.
    """
    factor = size / side
    turn = factor * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    affine = np.c_[turn, (size - 1) / 2 - turn @ np.asarray(centre, np.float64)]
    if factor >= 1:
        return cv2.warpAffine(image, affine, (size, size), flags=interpolation, borderMode=border), affine
    region, origin = _region(image, centre, side)
    height, width = region.shape[:2]
    small = max(1, round(width * factor)), max(1, round(height * factor))
    shrunk = cv2.resize(region, small, interpolation=cv2.INTER_AREA)
    ratio = np.array([small[0] / width, small[1] / height])
    # image = origin + (shrunk + 1/2) / ratio - 1/2, so this composes to shrunk -> crop.
    linear = affine[:, :2] / ratio
    offset = affine[:, :2] @ (origin + 0.5 / ratio - 0.5) + affine[:, 2]
    crop = cv2.warpAffine(shrunk, np.c_[linear, offset], (size, size), flags=interpolation, borderMode=border)
    return crop, affine


def similarity(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift that map ``before`` onto ``after``, both (N, 2), with the least squared error.

    Umeyama (1991) without mirroring. Returns (2, 3) float64; not finite if all points of ``before`` coincide.
    """
    # In complex numbers a similarity is one product and one sum.
    start, end = before @ [1, 1j], after @ [1, 1j]
    spread = start - start.mean()
    with np.errstate(divide="ignore", invalid="ignore"):
        factor = np.vdot(spread, end - end.mean()) / np.vdot(spread, spread)
    shift = end.mean() - factor * start.mean()
    return np.array([[factor.real, -factor.imag, shift.real], [factor.imag, factor.real, shift.imag]])


def _region(image: np.ndarray, centre: np.ndarray, side: float) -> tuple[np.ndarray, np.ndarray]:
    # The circle around the square, plus a few target pixels for the interpolation kernel. The region ends at the
    # image's edge, so that the warp's border rule sees the true edge.
    reach = side * 0.75 + 4
    height, width = image.shape[:2]
    low = np.clip(np.floor(np.asarray(centre) - reach), 0, [width - 1, height - 1]).astype(int)
    high = np.clip(np.ceil(np.asarray(centre) + reach) + 1, low + 1, [width, height]).astype(int)
    return image[low[1] : high[1], low[0] : high[0]], low.astype(np.float64)
