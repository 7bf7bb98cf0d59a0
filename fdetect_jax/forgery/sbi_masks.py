"""Masks of self-blended images: from landmarks to a hull, and from a hull to a soft mask.

Li et al., 2020 (Face X-ray) for the hulls; Shiohara and Yamasaki, 2022 (SBI, section 3.1) for the rest.
"""

import cv2
import numpy as np

from fdetect_jax.faces.landmarks import forehead

# fmt: off
_PARTS = {
    "dfl_full": ([*range(17), *range(48, 68)], [*range(27, 31), 33], [*range(17, 27), 0, 27, 16, 33]),
    "components": (
        [*range(9), 17], [*range(8, 17), 26], [17, 18, 19, 8], [24, 25, 26, 8], [*range(19, 25), 8],
        [*range(17, 22), 27, *range(31, 36), 8], [*range(22, 27), 27, *range(31, 36), 8], [*range(27, 36)],
    ),
}
# fmt: on
HULLS = ("dfl_full", "extended", "components", "facehull")
_SIDES = (192, 256)  # pixels; the mask is softened at a size drawn from this range
_KERNELS = range(5, 27, 2)
_SIGMAS = (5, 45)
_RATIOS = (0.25, 0.5, 0.75, 1.0, 1.0, 1.0)
_ONE = 1 - 1e-6  # a kernel that lies inside sums to 1 up to rounding


def hull_mask(landmarks: np.ndarray, hull: str, shape: tuple[int, int], above: bool = True) -> np.ndarray:
    """(68, 2) landmarks in pixels -> (H, W) uint8 in {0, 1}: the union of convex hulls over groups of them.

    Args:
        hull: one of ``HULLS``: "dfl_full" jaw, nose ridge and eyes; "components" eight parts of the face; "extended"
            the same with the brows raised; "facehull" all points, with the forehead's if ``above``. The original has
                13 points there from an 81-point predictor; this one uses ``faces.landmarks.forehead``.
        shape: (H, W).
    """
    points = landmarks.astype(np.int32)
    if hull == "facehull":
        parts = [np.concatenate([points, forehead(landmarks).astype(np.int32)]) if above else points]
    else:
        points = _raised(points) if hull == "extended" else points
        parts = [points[part] for part in _PARTS["components" if hull == "extended" else hull]]
    mask = np.zeros(shape, np.uint8)
    for part in parts:
        cv2.fillConvexPoly(mask, cv2.convexHull(np.ascontiguousarray(part)), 1)
    return mask


def soften(rng: np.random.Generator, hull: np.ndarray) -> np.ndarray | None:
    """Dynamic blending: (H, W) uint8 hull -> (H, W) float32 mask in [0, 1]; None if nothing of the hull is left.

    At 192 to 256 px per axis: blurred, cut back to where the whole kernel lay inside, blurred again, and multiplied by
    a ratio in {0.25, 0.5, 0.75, 1}. In float32 throughout: in uint8 the cut would have no effect.
    """
    width, height = (int(side) for side in rng.integers(_SIDES[0], _SIDES[1] + 1, 2))
    first, second = (int(kernel) for kernel in rng.choice(_KERNELS, 2))
    sigma, ratio = int(rng.integers(_SIGMAS[0], _SIGMAS[1] + 1)), float(rng.choice(_RATIOS))
    mask = cv2.resize(hull.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    mask = cv2.GaussianBlur(mask, (first, first), 0)
    mask = (mask >= _ONE * mask.max()).astype(np.float32) if mask.any() else mask
    if not mask.any():
        return None
    mask = cv2.GaussianBlur(mask, (second, second), sigma)
    mask *= ratio / mask.max()
    return cv2.resize(mask, hull.shape[::-1], interpolation=cv2.INTER_LINEAR)


def _raised(points: np.ndarray) -> np.ndarray:
    """Moves the brows up by half of their height over the eyes, in whole pixels."""
    left, right = (points[36] + points[0]) // 2, (points[16] + points[45]) // 2
    under = np.stack([(points[36] + left) // 2, *points[36:40], *points[42:46], (points[45] + right) // 2])
    raised = points.copy()
    raised[17:27] += (points[17:27] - under) // 2
    return raised
