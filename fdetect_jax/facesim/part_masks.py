"""Masks of parts of drawn faces, and the maps that such masks are sums of. In: drawn faces. Out: maps.

    python -m fdetect_jax.facesim.part_masks FILE

writes the maps that are bundled as FFD's templates (``assets/ffd``).
"""

import sys
from pathlib import Path

import cv2
import numpy as np
from safetensors.numpy import save

from fdetect_jax.faces.landmarks import BROWS, JAW, LEFT_EYE, RIGHT_EYE, face_mask, forehead
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.files import write_atomic
from fdetect_jax.types import Example

MAPS, SIZE, FACES = 10, 19, 100  # number and side of the maps that are bundled, and the people that they come from
_SIDE = 76  # pixels of the drawn faces
_WIDER = 0.06  # by which a part is larger than its landmarks, as a share of the image's side
_NOSE, _MOUTH = slice(27, 36), slice(48, 68)
_HALVES = slice(27, 31)  # the ridge of the nose, between the left and the right half


def part_masks(face: Example) -> dict[str, np.ndarray]:
    """Part -> (S, S) uint8 in {0, 1}: eyes, brows, nose, mouth, the face, its four halves, and the whole image."""
    points, size = face["landmarks"], face["image"].shape[0]
    whole = face_mask(points, (size, size))
    y, x = np.mgrid[:size, :size]
    (x0, y0), (x1, y1) = points[_HALVES][0], points[_HALVES][-1]
    left = (x - x0) * (y1 - y0) < (y - y0) * (x1 - x0)
    above = (x - points[30][0]) * (x1 - x0) + (y - points[30][1]) * (y1 - y0) < 0
    wide = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * round(_WIDER * size) + 1,) * 2)

    def hulls(*outlines: np.ndarray) -> np.ndarray:
        mask = np.zeros((size, size), np.uint8)
        for outline in outlines:
            cv2.fillConvexPoly(mask, np.round(cv2.convexHull(outline.astype(np.float32))).astype(np.int32), 1)
        return cv2.dilate(mask, wide)

    return {
        "eyes": hulls(points[LEFT_EYE], points[RIGHT_EYE]),
        "brows": hulls(points[BROWS][:5], points[BROWS][5:]),
        "forehead": hulls(np.concatenate([points[BROWS], forehead(points)])),
        "nose": hulls(points[_NOSE]),
        "mouth": hulls(points[_MOUTH]),
        "jaw": hulls(np.concatenate([points[JAW][3:14], points[_MOUTH]])),
        "face": whole,
        "left": whole * left,
        "right": whole * ~left,
        "upper": whole * above,
        "lower": whole * ~above,
        "image": np.ones_like(whole),
    }


def template_maps() -> np.ndarray:
    """(10, 19, 19) float32: the mean of the masks of all parts of 100 drawn people, and nine principal components.

    A component's largest absolute value is 1, and positive.
    """
    faces = FaceSim(size=_SIDE, identities=FACES, per_identity=1)
    masks = [mask.astype(np.float32) for index in range(FACES) for mask in part_masks(faces[index]).values()]
    flat = np.stack([cv2.resize(mask, (SIZE, SIZE), interpolation=cv2.INTER_AREA).ravel() for mask in masks])
    mean = flat.mean(0)
    components = np.linalg.svd(flat - mean, full_matrices=False)[2][: MAPS - 1]
    peaks = np.take_along_axis(components, np.abs(components).argmax(1)[:, None], 1)
    return np.concatenate([mean[None], components / peaks]).reshape(MAPS, SIZE, SIZE).astype(np.float32)


if __name__ == "__main__":
    write_atomic(Path(sys.argv[1]), save({"maps": template_maps()}))
