"""Frames the pairs of forgeries that start from context crops: mirrors, crops and resizes them to the recipe."""

import numpy as np

from fdetect_jax.faces.crop import CropRecipe, face_area, stretched
from fdetect_jax.faces.landmarks import face_mask, mirror
from fdetect_jax.types import Example, ForgedPair

Area = tuple[int, int, int, int]


def draw_frame(
    rng: np.random.Generator, face: Example, recipe: CropRecipe | None, training: bool
) -> tuple[Example, Area]:
    """The face, mirrored with probability 1/2 in training, and (x0, y0, x1, y1) of its face crop.

    A context crop (with ``box``) is cropped with random margins in training, with serving's margins otherwise; for any
    other image the crop is the whole image.
    """
    if training and rng.random() < 0.5:
        face = mirrored(face)
    if "box" in face:
        return face, face_area(face, recipe, rng if training else None)
    height, width = face["image"].shape[:2]
    return face, (0, 0, width, height)


def mirrored(face: Example) -> Example:
    """Mirrors as SBI's code does: the image's columns are reversed, and x becomes W - x."""
    width = face["image"].shape[1]
    other = face | {"image": face["image"][:, ::-1], "landmarks": mirror(face["landmarks"], width + 1)}
    if "box" in face:
        x0, y0, x1, y1 = face["box"]
        other["box"] = np.array([width - x1, y0, width - x0, y1], np.float32)
    return other


def framed_pair(
    real: np.ndarray, fake: np.ndarray, mask: np.ndarray, landmarks: np.ndarray, recipe: CropRecipe | None
) -> ForgedPair:
    """Face crops, all of one (H, W[, 3]), resized to the recipe's size; unchanged without a recipe.

    landmarks: (68, 2), in pixels of these crops.
    """
    height, width = mask.shape
    if recipe is None:
        return ForgedPair(real, fake, mask, face_mask(landmarks, (height, width)))
    (real, affine), (fake, _), (mask, _) = (stretched(one, (0, 0, width, height), recipe) for one in (real, fake, mask))
    face = face_mask(landmarks @ affine[:, :2].T + affine[:, 2], (recipe.size, recipe.size))
    return ForgedPair(real, fake, np.clip(mask, 0, 1), face)  # averages may round to more than 1
