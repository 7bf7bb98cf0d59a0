"""Geometry of the 68 landmarks: their vertices on MediaPipe's mesh, the forehead above them, the mask of the face.

iBUG order, as seen in the image: jaw 0-16 from the left ear over the chin (8) to the right ear, brows 17-21
and 22-26, nose bridge 27-30 and base 31-35, eyes 36-41 and 42-47, outer lips 48-59, inner lips 60-67.
"""

import cv2
import numpy as np

# fmt: off
# For each iBUG point the vertex of the 468-point mesh at the same anatomical place. Jaw vertices are those of
# the mesh's face oval nearest to 17 points spaced evenly between the eye corners' height, measured on the
# median of 102 frontal faces.
MESH_TO_68 = np.array([
    127, 234, 93, 132, 172, 136, 149, 148, 152, 377, 378, 365, 397, 361, 323, 454, 356,
    70, 63, 105, 66, 107, 336, 296, 334, 293, 300,
    168, 197, 5, 4, 98, 97, 2, 326, 327,
    33, 160, 158, 133, 153, 144, 362, 385, 387, 263, 373, 380,
    61, 39, 37, 0, 267, 269, 291, 405, 314, 17, 84, 181,
    78, 81, 13, 311, 308, 402, 14, 178,
])
# The index of each point after mirroring the image.
MIRRORED_68 = np.array([
    *range(16, -1, -1), *range(26, 16, -1), *range(27, 31), *range(35, 30, -1),
    45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40,
    *range(54, 47, -1), *range(59, 54, -1), *range(64, 59, -1), *range(67, 64, -1),
])
# fmt: on
JAW, BROWS = slice(0, 17), slice(17, 27)
LEFT_EYE, RIGHT_EYE = slice(36, 42), slice(42, 48)  # left and right in the image
_FOREHEAD = 0.45  # brow to mid forehead, in units of (middle of the brows to base of the nose)
_SUBPIXEL_BITS = 4
_SMALLEST_FACE = 0.01  # share of the image's area; landmarks that enclose less are treated as broken


def eyes(landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(68, 2) -> centres (2,) of the left and the right eye (in the image)."""
    return landmarks[LEFT_EYE].mean(0), landmarks[RIGHT_EYE].mean(0)


def forehead(landmarks: np.ndarray) -> np.ndarray:
    """(68, 2) -> (10, 2): the brow points, raised towards the hairline along the face's own axis."""
    brows = landmarks[BROWS]
    up = brows.mean(0) - landmarks[33]
    return brows + np.float32(_FOREHEAD) * up


def mirror(landmarks: np.ndarray, width: int) -> np.ndarray:
    """(68, 2) of an image ``width`` pixels wide -> (68, 2) of its mirror image, still in iBUG order."""
    return landmarks[MIRRORED_68] * [-1, 1] + [width - 1, 0]


def facing(landmarks: np.ndarray) -> float:
    """(68, 2) -> position of the nose tip between the ends of the jaw: -1 left, 0 middle, 1 right."""
    across = landmarks[16] - landmarks[0]
    middle = (landmarks[0] + landmarks[16]) / 2
    return float(2 * (landmarks[30] - middle) @ across / max(across @ across, 1e-12))


def usable(landmarks: np.ndarray, size: int) -> bool:
    """(68, 2) of an image of ``size`` pixels: whether they are finite, near the image, and enclose 1 % of it."""
    if not np.isfinite(landmarks).all() or np.abs(landmarks).max() > 4 * size:
        return False
    outline = cv2.convexHull(landmarks[np.r_[JAW, BROWS]].astype(np.float32))
    return cv2.contourArea(outline) > _SMALLEST_FACE * size**2


def face_mask(landmarks: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """(68, 2) pixels of a crop -> uint8 of ``shape`` (H, W), 1 in the hull of jaw, brows and lower forehead.

    All 0 for landmarks that are not finite.
    """
    mask = np.zeros(shape, np.uint8)
    if not np.isfinite(landmarks).all():
        return mask
    points = np.concatenate([landmarks[JAW], landmarks[BROWS], forehead(landmarks)]).astype(np.float32)
    hull = cv2.convexHull(points).reshape(-1, 2)
    reach = 4 * max(shape)  # points farther away would overflow OpenCV's integers
    fixed = np.round(np.clip(hull, -reach, reach) * (1 << _SUBPIXEL_BITS)).astype(np.int32)
    cv2.fillConvexPoly(mask, fixed, 1, lineType=cv2.LINE_8, shift=_SUBPIXEL_BITS)
    return mask
