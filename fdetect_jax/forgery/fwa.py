"""Face warping artefacts: part of a face loses detail, as if a generator of small faces had made it. In: one Example.
Out: a ForgedPair.

Li and Lyu, 2019 (arXiv 1811.00656), who released no code for training; the numbers are those of DeepfakeBench's version
(Yan et al., 2023). No donor is needed.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.faces.crop import CropRecipe
from fdetect_jax.faces.landmarks import usable
from fdetect_jax.faces.warp import similarity
from fdetect_jax.forgery.framing import draw_frame, framed_pair
from fdetect_jax.forgery.sbi_transforms import Augmentation
from fdetect_jax.types import Example, ForgedPair

# fmt: off
# Landmarks 17 to 67 of a mean face, in a square of side 1.
MEAN_FACE = np.stack([
    [.000213256, .0752622, .18113, .29077, .393397, .586856, .689483, .799124, .904991, .98004, .490127, .490127,
     .490127, .490127, .36688, .426036, .490127, .554217, .613373, .121737, .187122, .265825, .334606, .260918,
     .182743, .645647, .714428, .793132, .858516, .79751, .719335, .254149, .340985, .428858, .490127, .551395,
     .639268, .726104, .642159, .556721, .490127, .423532, .338094, .290379, .428096, .490127, .552157, .689874,
     .553364, .490127, .42689],
    [.106454, .038915, .0187482, .0344891, .0773906, .0773906, .0344891, .0187482, .038915, .106454, .203352, .307009,
     .409805, .515625, .587326, .609345, .628106, .609345, .587326, .216423, .178758, .179852, .231733, .245099,
     .244077, .231733, .179852, .178758, .216423, .244077, .245099, .780233, .745405, .727388, .742578, .727388,
     .745405, .780233, .864805, .902192, .909281, .902192, .864805, .784792, .778746, .785343, .778746, .784792,
     .824182, .831803, .824182],
], axis=1)
# fmt: on
SIZE = 256  # side of the aligned face, pixels
SCALES = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8)
HULLS = {
    "normal": [*range(68)],
    "inner": [*range(17, 68)],
    "inner without brows": [*range(27, 68)],
    "mouth": [*range(2, 15), 29],  # the lower half of the face
    "whole": [*range(27)],  # with brows raised and chin lowered
}
_CHIN, _BROWS = slice(5, 12), slice(18, 27)
_LOWER, _RAISE = 15, 0.25  # pixels; share of the height from the chin to the brows
_CHANCE = 0.9  # probability of each change of the mask
_GRID, _DEVIATION = 4, 20.0  # nodes per axis, pixels
_KERNELS = range(1, 19, 2)


@dataclass(frozen=True)
class Paste:
    """A face before pasting, not yet cropped or resized by a recipe.

    target: (H, W, 3) uint8, the image pasted onto. part: like it, the face after shrinking and enlarging. mask: (H, W)
    uint8 in {0, 1}, where to paste.
    """

    target: np.ndarray
    part: np.ndarray
    mask: np.ndarray


@dataclass(frozen=True)
class WarpArtefacts:
    """``(rng, face, donor) -> ForgedPair``; the donor is never drawn.

    Context crops and recipe as for ``SelfBlend``. The pasted part has less detail than the rest. In training it also
    lacks the colour changes and compression that face and fake share: the original augments the image it pastes onto.
    """

    recipe: CropRecipe | None
    training: bool

    def __call__(
        self, rng: np.random.Generator, face: Example, donor: Callable[[], Example] | None = None
    ) -> ForgedPair:
        return self.stages(rng, face)[1]

    def stages(self, rng: np.random.Generator, face: Example) -> tuple[Paste, ForgedPair]:
        """The input of the paste, and the resulting pair."""
        face, (x0, y0, x1, y1) = draw_frame(rng, face, self.recipe, self.training)
        real = np.ascontiguousarray(face["image"][y0:y1, x0:x1])
        landmarks = face["landmarks"] - np.float32([x0, y0])
        part, mask = coarse_part(rng, real, landmarks)
        if self.training:
            real = Augmentation.draw(rng)(real)
        fake = np.where(mask[..., None] > 0, part, real)
        forged = framed_pair(real, fake, mask.astype(np.float32), landmarks, self.recipe)
        return Paste(real, part, mask), forged


def coarse_part(rng: np.random.Generator, image: np.ndarray, landmarks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and (68, 2) -> the image via a small aligned face, and the paste mask, uint8 in {0, 1}.

    The face is aligned to 256 px, shrunk by a factor in {0.2 … 0.8}, blurred (5 x 5), enlarged, and warped back. The
    mask is warped separately, nearest neighbour: the original masks before interpolating, which leaves a dark rim.
    """
    aligning, hull = _aligned_hull(rng, image.shape[:2], landmarks)
    face = cv2.warpAffine(image, aligning, (SIZE, SIZE), flags=cv2.INTER_LINEAR)
    side = round(SIZE * float(rng.choice(SCALES)))
    small = cv2.GaussianBlur(cv2.resize(face, (side, side), interpolation=cv2.INTER_LINEAR), (5, 5), 0)
    face = cv2.resize(small, (SIZE, SIZE), interpolation=cv2.INTER_LINEAR)
    shape = image.shape[1::-1]
    back = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    part = cv2.warpAffine(face, aligning, shape, flags=back, borderMode=cv2.BORDER_REPLICATE)
    mask = cv2.warpAffine(hull, aligning, shape, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP)
    return part, mask


def hull_mask(points: np.ndarray, hull: str) -> np.ndarray:
    """(68, 2) in pixels of the aligned face -> (256, 256) uint8 in {0, 1}; hull: a key of ``HULLS``."""
    if hull == "whole":
        points = points.copy()
        height = points[9, 1] - points[22, 1]
        points[_CHIN, 1] += _LOWER
        points[_BROWS, 1] -= _RAISE * height
    mask = np.zeros((SIZE, SIZE), np.uint8)
    outline = cv2.convexHull(np.clip(points[HULLS[hull]], -SIZE, 2 * SIZE).astype(np.int32))
    cv2.fillConvexPoly(mask, outline, 1)
    return mask


def _aligned_hull(
    rng: np.random.Generator, shape: tuple[int, int], landmarks: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The (2, 3) from image to aligned face, and the hull there, deformed and widened."""
    if not usable(landmarks, min(shape)):
        hull = np.zeros((SIZE, SIZE), np.uint8)
        cv2.circle(hull, (SIZE // 2, SIZE // 2), SIZE // 2, 1, cv2.FILLED)
        half = min(shape) / 2  # use the middle of the image instead
        return SIZE / half * np.array([[1, 0, (half - shape[1]) / 2], [0, 1, (half - shape[0]) / 2]]), hull
    aligning = SIZE * similarity(landmarks[17:].astype(np.float64), MEAN_FACE)
    points = landmarks @ aligning[:, :2].T + aligning[:, 2]
    hull = hull_mask(points, list(HULLS)[rng.integers(len(HULLS))])
    if rng.random() < _CHANCE:
        hull = _deformed(rng, hull)
    hull *= hull_mask(points, "whole")
    if rng.random() < _CHANCE:  # every pixel that the blur reaches is pasted, so the blur widens the hull
        kernel = int(rng.choice(_KERNELS))
        hull = (cv2.GaussianBlur(255 * hull, (kernel, kernel), 0) > 0).astype(np.uint8)
    return aligning, hull


def _deformed(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """Moves the mask's nodes by 20 px deviation and interpolates linearly between them (the original: by triangles)."""
    moves = rng.normal(0, _DEVIATION, (2, _GRID, _GRID))
    apart = np.abs(np.linspace(0, _GRID - 1, SIZE)[:, None] - np.arange(_GRID))
    between = np.maximum(0, 1 - apart)
    dx, dy = (between @ moves @ between.T).astype(np.float32)
    y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32)
    return cv2.remap(mask, x + dx, y + dy, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REPLICATE)
