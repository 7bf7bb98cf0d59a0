"""Self-blended images: a face blended with a slightly changed copy of itself. In: one Example. Out: a ForgedPair.

Shiohara and Yamasaki, 2022 (arXiv 2204.08376), following their code. No donor is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.faces.landmarks import usable
from fdetect_jax.forgery.framing import draw_frame, framed_pair
from fdetect_jax.forgery.sbi_masks import HULLS, hull_mask, soften
from fdetect_jax.forgery.sbi_transforms import Augmentation, Colour, Detail, draw_affine, elastic, farthest
from fdetect_jax.types import Example, ForgedPair

_DRAWS = 10  # of a mask, until it covers some of the face


@dataclass(frozen=True)
class Blend:
    """A self-blended image before augmentation and face cropping.

    hull: (H, W) uint8 in {0, 1}, from the landmarks. mask: (H, W) float32 in [0, 1], deformed and softened.
    source, target, blended: (H, W, 3) uint8; blended is mask x source + (1 - mask) x target, truncated.
    """

    hull: np.ndarray
    mask: np.ndarray
    source: np.ndarray
    target: np.ndarray
    blended: np.ndarray


@dataclass(frozen=True)
class SelfBlend:
    """``(rng, face, donor) -> ForgedPair``; the donor is never drawn.

    A context crop (with ``box``) is reduced to the face crop at the end, with random margins in training; any other
    image keeps its framing. ``real`` is the target, which with probability 1/2 carries the change of colours and
    sharpness itself.

    recipe: of the face crop; may be None if images are framed already. training: mirror, draw the margins, and augment
    the pair; otherwise serving's crop, unaugmented.
    """

    recipe: CropRecipe | None
    training: bool

    def __call__(
        self, rng: np.random.Generator, face: Example, donor: Callable[[], Example] | None = None
    ) -> ForgedPair:
        return self.stages(rng, face)[1]

    def stages(self, rng: np.random.Generator, face: Example) -> tuple[Blend, ForgedPair]:
        """The blend, restricted to the area around the face crop, and the resulting pair."""
        face, area = draw_frame(rng, face, self.recipe, self.training)
        # Pixels outside the face crop that the shifts cannot move into it have no effect.
        height, width = face["image"].shape[:2]
        (dx, dy), (x0, y0, x1, y1) = farthest((height, width)), area
        part = slice(max(0, y0 - dy), min(height, y1 + dy)), slice(max(0, x0 - dx), min(width, x1 + dx))
        blend = self_blend(rng, face["image"], face["landmarks"], part)
        landmarks = face["landmarks"] - np.float32([x0, y0])
        x0, y0, x1, y1 = (np.array(area) - np.tile([part[1].start, part[0].start], 2)).tolist()
        images = [one[y0:y1, x0:x1] for one in (blend.target, blend.blended)]
        if self.training:  # after cropping, since the pixels outside would be discarded
            augment = Augmentation.draw(rng)
            images = [augment(np.ascontiguousarray(one)) for one in images]
        return blend, framed_pair(*images, blend.mask[y0:y1, x0:x1], landmarks, self.recipe)


def self_blend(rng: np.random.Generator, image: np.ndarray, landmarks: np.ndarray, part: tuple[slice, slice]) -> Blend:
    """Blends ``image`` with itself.

    Args:
        rng: the only source of randomness.
        image: (H, W, 3) uint8 RGB; in SBI a context crop of the face at its original resolution.
        landmarks: (68, 2). If they are broken, or ten masks in turn leave nothing of the face, an ellipse in the middle
            replaces them.
        part: rows and columns that are computed; the random numbers are those of the whole image.
    """
    hull, mask, affine = _moved_mask(rng, image.shape[:2], landmarks)
    target = np.ascontiguousarray(image[part])
    colour, detail = Colour.draw(rng, hsv=1.0, tone=1.0, limit=0.1), Detail.draw(rng)
    changed = detail(colour(target))
    source, target = (changed, target) if rng.random() < 0.5 else (target, changed)
    corner = np.array([part[1].start, part[0].start])
    affine[:, 2] += affine[:, :2] @ corner - corner
    source = cv2.warpAffine(source, affine, source.shape[1::-1], flags=cv2.INTER_LINEAR)
    mask = np.ascontiguousarray(mask[part])
    # Not m s + (1 - m) t: rounding would lower pixels that are equal in both by one level.
    blended = target + mask[..., None] * (source.astype(np.float32) - target)
    return Blend(hull[part], mask, source, target, blended.astype(np.uint8))


def _moved_mask(
    rng: np.random.Generator, shape: tuple[int, int], landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(hull, soft mask, affine of mask and source); drawn again if nothing of the face is left."""
    above = rng.random() >= 0.25
    draws = _DRAWS if usable(landmarks, min(shape)) else 0
    for _ in range(draws):
        hull = hull_mask(landmarks, HULLS[rng.integers(len(HULLS))], shape, above)
        mask, affine = _move(rng, hull)
        if mask is not None:
            return hull, mask, affine
    hull = np.zeros(shape, np.uint8)
    cv2.ellipse(hull, (shape[1] // 2, shape[0] // 2), (shape[1] // 4, shape[0] // 4), 0, 0, 360, 1, cv2.FILLED)
    return hull, *_move(rng, hull)


def _move(rng: np.random.Generator, hull: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
    affine = draw_affine(rng, hull.shape)
    moved = cv2.warpAffine(hull, affine, hull.shape[::-1], flags=cv2.INTER_NEAREST)
    return soften(rng, elastic(rng, moved)), affine
