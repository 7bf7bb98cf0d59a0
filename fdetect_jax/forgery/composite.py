"""Composites, a host forgery: part of another person's face, put on a face. In: two Examples. Out: a ForgedPair.

As editors make them by hand: eyes, nose, mouth, brows, half a face or the whole of it. The donor is warped landmark by
landmark; colours are matched more or less, and the part is blended with a soft edge, or by gradients (Perez et al.,
2003, as ``cv2.seamlessClone``). Half of the donors were sharpened, blurred or compressed before, as they come from
another camera.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.faces.landmarks import BROWS, LEFT_EYE, RIGHT_EYE, facing, forehead, mirror, usable
from fdetect_jax.forgery.blending import by_gradients, changed
from fdetect_jax.forgery.swap import match_colour, stand_in, warp_field
from fdetect_jax.types import Example, ForgedPair

_EYE, _OTHER = [*range(36, 42)], [*range(42, 48)]
# The landmarks of each part: one list for each hull that is put in.
PARTS: dict[str, tuple[list[int], ...]] = {
    "eyes": ([*_EYE, *range(17, 22)], [*_OTHER, *range(22, 27)]),
    "nose": ([*range(27, 36), 39, 42],),
    "mouth": ([*range(48, 60)],),
    "brows": ([*range(17, 22)], [*range(22, 27)]),
    "left half": ([*range(9), *range(17, 22), 27, 30, 33, 51, 57],),
    "right half": ([*range(8, 17), *range(22, 27), 27, 30, 33, 51, 57],),
    "lower half": ([*range(2, 15), 29],),
    "face": ([*range(27)],),
}
_SMALL = ("eyes", "nose", "mouth", "brows")
_WIDEN = (0.15, 0.45)  # of a small part, as a share of the distance between the eyes
_SOFTNESS = (0.004, 0.03)  # standard deviation of the edge, as a share of the image's side
_COLOUR = (0.3, 1.0)  # strength of the colour match
_GRADIENTS = 0.4  # probability of blending by gradients
_CHANGED = 0.5  # probability that the donor's sharpness is changed, and that it is compressed


@dataclass(frozen=True)
class Composite:
    """A composite before it is blended.

    source: (S', S', 3) uint8, the donor, mirrored if needed. warped: (S, S, 3) uint8, the donor on the target's
    landmarks, in the target's colours. mask: (S, S) float32 in [0, 1], the part with its soft edge.
    """

    source: np.ndarray
    warped: np.ndarray
    mask: np.ndarray


def composite(rng: np.random.Generator, target: Example, donor: Callable[[], Example]) -> ForgedPair:
    """Puts part of the donor's face on ``target``; see ``stages``."""
    return stages(rng, target, donor)[1]


def stages(rng: np.random.Generator, target: Example, donor: Callable[[], Example]) -> tuple[Composite, ForgedPair]:
    """What is blended, and the pair.

    Args:
        rng: the only source of randomness: the part, its edge, how it is blended, and what happened to the donor.
        target, donor: with image (S, S, 3) uint8 and landmarks (68, 2); the images' sizes may differ. Broken landmarks
            are replaced by an upright face in the middle of the image, of which an ellipse is put in.

    Returns:
        ``real`` is the target's image. ``mask`` is 1 on the part and falls to 0 over its edge; blended by gradients,
        the colours inside change everywhere.
    """
    source = donor()
    image, other = target["image"], source["image"]
    size = image.shape[0]
    onto, off = target["landmarks"], source["landmarks"]
    known = usable(onto, size) and usable(off, other.shape[0])
    if known and facing(onto) * facing(off) < 0:
        other, off = np.ascontiguousarray(other[:, ::-1]), mirror(off, other.shape[1])
    other = changed(rng, other, _CHANGED)
    name = str(rng.choice(list(PARTS)))
    mask = _part(rng, onto if known else None, name, size)
    if known:
        onto, off = (np.concatenate([points, forehead(points)]).astype(np.float64) for points in (onto, off))
    else:
        onto, off = stand_in(size), stand_in(other.shape[0])
    warped = cv2.remap(other, *warp_field(onto, off, size), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    matched = match_colour(warped, image, mask, rng.uniform(*_COLOUR))
    matched = np.clip(np.round(matched), 0, 255).astype(np.uint8)
    mixed = image + mask[..., None] * (matched.astype(np.float32) - image)
    fake = np.clip(np.round(mixed), 0, 255).astype(np.uint8)
    if rng.random() < _GRADIENTS:
        fake = by_gradients(image, matched, mask, fake)
    return Composite(other, matched, mask), ForgedPair(image, fake, mask, target.get("mask"))


def _part(rng: np.random.Generator, points: np.ndarray | None, name: str, size: int) -> np.ndarray:
    """The soft mask of a part, (S, S) float32 in [0, 1]; without landmarks an ellipse in the middle."""
    softness, widen = size * rng.uniform(*_SOFTNESS), rng.uniform(*_WIDEN)
    mask = np.zeros((size, size), np.float32)
    if points is None:
        cv2.ellipse(mask, (size // 2, size // 2), (size // 5, size // 4), 0, 0, 360, 1.0, cv2.FILLED)
        return cv2.GaussianBlur(mask, (0, 0), softness)
    apart = np.linalg.norm(points[LEFT_EYE].mean(0) - points[RIGHT_EYE].mean(0))
    for hull in PARTS[name]:
        outline = points[hull]
        if name == "face" and rng.random() < 0.5:
            outline = np.concatenate([outline, forehead(points)[BROWS.start - 17 : BROWS.stop - 17]])
        outline = cv2.convexHull(np.clip(outline, -size, 2 * size).astype(np.float32)).reshape(-1, 2)
        cv2.fillConvexPoly(mask, np.round(outline * 16).astype(np.int32), 1.0, shift=4)
    if name in _SMALL:
        reach = 2 * max(1, round(widen * apart / 2)) + 1
        mask = cv2.dilate(mask, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (reach, reach)))
    return cv2.GaussianBlur(mask, (0, 0), softness)
