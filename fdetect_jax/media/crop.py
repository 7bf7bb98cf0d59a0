"""From a photo and a face to a square crop. In: (H, W, 3) uint8, Face, CropRecipe. Out: Example.

The recipe is a value: it is stored with the data and in checkpoints, so that training and serving cut alike.
"""

import hashlib
import json
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fdetect_jax.media.faces import Face
from fdetect_jax.media.landmarks import eyes, face_mask
from fdetect_jax.media.models import models_hash
from fdetect_jax.media.warp import turned_square

if TYPE_CHECKING:  # types.py imports JAX, which the worker processes that crop do without
    from fdetect_jax.types import Example

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}


@dataclass(frozen=True)
class CropRecipe:
    """How a crop is cut.

    size: pixels of the crop's side, >= 8. scale: side of the square / larger side of the face's box, > 0.
    align: turn the square so that the eyes are level. interpolation: "linear", "cubic" or "lanczos";
    shrinking always averages areas first. detector, detector_hash: what finds the face, and the hash of its
    model files.
    """

    size: int
    scale: float
    align: bool
    interpolation: str = "cubic"
    detector: str = "mediapipe-short-range+mesh468"
    detector_hash: str = models_hash()

    def __post_init__(self) -> None:
        if self.size < 8:
            raise ValueError(f"recipe.size: found {self.size}, wanted at least 8")
        if not self.scale > 0:
            raise ValueError(f"recipe.scale: found {self.scale}, wanted a positive number")
        if self.interpolation not in _INTERPOLATION:
            raise ValueError(f"recipe.interpolation: found {self.interpolation!r}, wanted {sorted(_INTERPOLATION)}")

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CropRecipe":
        """Inverse of ``to_dict``; unknown or missing fields raise ValueError."""
        wanted = {field.name for field in fields(cls)}
        if set(values) != wanted:
            raise ValueError(f"recipe: found fields {sorted(values)}, wanted {sorted(wanted)}")
        return cls(**values)

    def fingerprint(self) -> str:
        """16 hex digits, equal for equal recipes on every machine."""
        return hashlib.sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def require_detector(self) -> None:
        """Raises ValueError unless this installation's detector is the one the recipe was made with."""
        here = CropRecipe(self.size, self.scale, self.align)
        if (self.detector, self.detector_hash) != (here.detector, here.detector_hash):
            raise ValueError(
                f"recipe.detector: found {self.detector} ({self.detector_hash}), wanted {here.detector} "
                f"({here.detector_hash}), the one installed here"
            )


# "paper": the usual protocol for FaceForensics++ and its kind, the face's box widened by 1.3, upright as
# filmed. "aligned64": tight, mid forehead to chin, for small networks and for the generator.
RECIPES = {
    "paper": CropRecipe(size=380, scale=1.3, align=False),
    "aligned64": CropRecipe(size=64, scale=1.15, align=True),
    "aligned1024": CropRecipe(size=1024, scale=1.15, align=True),
}


def crop(image: np.ndarray, face: Face, recipe: CropRecipe) -> "Example":
    """Cuts ``face`` out of ``image``.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: as ``Faces.detect`` gives it, in pixels of ``image``.
        recipe: see ``CropRecipe``.

    Returns:
        Example with image (S, S, 3) uint8, mirrored where it reaches over the edge; landmarks (68, 2) float32
        and mask (S, S) uint8 too if the face has landmarks. Landmarks may lie outside the crop.
    """
    angle = 0.0
    if recipe.align:
        left, right = face.keypoints[:2] if face.landmarks is None else eyes(face.landmarks)
        angle = float(np.arctan2(right[1] - left[1], right[0] - left[0]))
    side = recipe.scale * face.side
    pixels, affine = turned_square(image, face.centre, side, angle, recipe.size, _INTERPOLATION[recipe.interpolation])
    if face.landmarks is None:
        return {"image": pixels}
    landmarks = (face.landmarks @ affine[:, :2].T + affine[:, 2]).astype(np.float32)
    return {"image": pixels, "landmarks": landmarks, "mask": face_mask(landmarks, recipe.size)}
