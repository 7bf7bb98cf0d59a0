"""From a photo and a face to a square crop. In: (H, W, 3) uint8, Face, CropRecipe. Out: Example.

The recipe is stored with the data and in checkpoints, so that training and serving crop in the same way.
"""

from collections.abc import Callable
from dataclasses import asdict, dataclass, fields, replace
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.faces.finder import Face
from fdetect_jax.faces.landmarks import eyes, face_mask
from fdetect_jax.faces.models import models_hash
from fdetect_jax.faces.warp import similarity, turned_square
from fdetect_jax.fields import from_fields
from fdetect_jax.files import digest

if TYPE_CHECKING:  # types.py imports JAX, which the worker processes that crop do not load
    from fdetect_jax.types import Example

_INTERPOLATION = {"linear": cv2.INTER_LINEAR, "cubic": cv2.INTER_CUBIC, "lanczos": cv2.INTER_LANCZOS4}
# Left, top, right, bottom of a context crop, as shares of the landmarks' bounding box (SBI).
_CONTEXT_MARGINS = (0.5, 1.0, 0.5, 0.4)
_LOOSE = ("box", "landmarks")  # regions whose margins training may draw
# Left, top, right, bottom of "landmarks", over the margin drawn: up to 1/8 of the width, 1/5 of the height and half of
# what is above (FWA).
_SHAPE = np.array([1.0, 1.6, 1.0, 0.8])
_WIDEST = np.array([8, 5])  # of the landmarks' box the part that a margin may have at the sides, and above
# DeepfakeBench's template for a side of 1: eyes, nose tip, corners of the mouth; 112 px, moved 8 to the right.
_TEMPLATE = np.array(
    [(38.2946, 51.6963), (73.5318, 51.5014), (56.0252, 71.7366), (41.5493, 92.3655), (70.7299, 92.2041)]
)
_TEMPLATE = _TEMPLATE / 112
# Indices into the 68 landmarks, from 0. As in DeepfakeBench, each eye also uses one eyelid point too many, and the
# mouth one lip point too many.
_TEMPLATE_POINTS = [37, 44, 30, 49, 55]
_SQUARE = 1.1  # the longer side of an image that counts as square, over the shorter
_LARGEST = 4096  # side of a crop, pixels


@dataclass(frozen=True)
class CropRecipe:
    """How a crop is cut.

    size: side of the crop in pixels, 8 to 4096. region: the area that is cut out, one of ``REGIONS``:
        "square": the square around the box's centre; beyond the image's edge the image is mirrored;
        "level": the same, turned so that the eyes are level;
        "inside": the square, moved and shrunk until it lies inside the image (FaceForensics++);
        "box": the box, clipped to the image and stretched to a square; the aspect ratio is not kept (SBI);
        "landmarks": the same of the landmarks' bounding box, or of the box without them; the margin above is 1.6 times
            and the one below 0.8 times as large as those at the sides (FWA);
        "framed": the whole image where it is a crop of the face already (nearly square, and its shorter side at most
            ``scale`` + 0.5 sides of the box), else the square: for sets that hold crops;
        "template": the similarity transform that best maps five points onto DeepfakeBench's template, black outside.
    scale: side of the area / side of the box (the larger one, except for "box"; for "landmarks" their widths; for
        "template": side of the area / the template's 112 px), > 0. interpolation: "linear", "cubic" or "lanczos";
        shrinking first averages areas.
    training_margins: for "box", the range from which training draws the margin of each side, as a share of the box's
        side: 0 <= low <= high; for "landmarks" it draws one for both sides, and one for above and below, before they
        are multiplied. None: training crops as serving does. See ``context_crop``.
    detector, detector_hash: the face detector, and the hash of its model files.
    """

    size: int
    scale: float
    region: str = "square"
    interpolation: str = "cubic"
    training_margins: tuple[float, float] | None = None
    detector: str = "mediapipe-short-range+mesh468"
    detector_hash: str = models_hash()

    def __post_init__(self) -> None:
        if not 8 <= self.size <= _LARGEST:
            raise UserError(f"recipe.size: found {self.size}, wanted 8 to {_LARGEST}")
        if not self.scale > 0:
            raise UserError(f"recipe.scale: found {self.scale}, wanted a positive number")
        if self.region not in REGIONS:
            raise UserError(f"recipe.region: found {self.region!r}, wanted one of {sorted(REGIONS)}")
        if self.interpolation not in _INTERPOLATION:
            raise UserError(f"recipe.interpolation: found {self.interpolation!r}, wanted {sorted(_INTERPOLATION)}")
        if self.training_margins is not None:
            margins = tuple(self.training_margins)  # JSON has only lists
            if self.region not in _LOOSE or len(margins) != 2 or not 0 <= margins[0] <= margins[1]:
                wanted = "0 <= low <= high, and region 'box' or 'landmarks'"
                raise UserError(f"recipe.training_margins: found {margins} of {self.region!r}, wanted {wanted}")
            object.__setattr__(self, "training_margins", margins)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, fit for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "CropRecipe":
        """Inverse of ``to_dict``; unknown or missing fields raise UserError."""
        wanted = {field.name for field in fields(cls)}
        if set(values) != wanted:
            raise UserError(f"recipe: found fields {sorted(values)}, wanted {sorted(wanted)}")
        return from_fields(cls, values, "recipe")

    def fingerprint(self) -> str:
        """16 hex digits, equal for equal recipes on every machine."""
        return digest(self.to_dict())

    def require_detector(self) -> None:
        """Raises UserError unless the recipe was made with the face detector installed here."""
        here = CropRecipe(self.size, self.scale)
        if (self.detector, self.detector_hash) != (here.detector, here.detector_hash):
            raise UserError(
                f"recipe.detector: found {self.detector} ({self.detector_hash}), wanted {here.detector} "
                f"({here.detector_hash}), the one installed here"
            )


def crop(image: np.ndarray, face: Face, recipe: CropRecipe) -> "Example":
    """Crops ``face`` out of ``image`` as serving does, without randomness.

    Args:
        image: (H, W, 3) uint8 RGB.
        face: as ``Faces.detect`` returns it, in pixels of ``image``.
        recipe: see ``CropRecipe``.

    Returns:
        Example with image (S, S, 3) uint8; landmarks (68, 2) float32 and mask (S, S) uint8 too if the face has
        landmarks. Landmarks may lie outside the crop.
    """
    if recipe.training_margins is not None:  # through the same steps as training
        return face_crop(context_crop(image, face, recipe), recipe)
    pixels, affine = REGIONS[recipe.region](image, face, recipe)
    return _example(pixels, face.landmarks, affine, recipe)


def context_crop(image: np.ndarray, face: Face, recipe: CropRecipe) -> "Example":
    """A crop with room around the face, from which training draws face crops (SBI's margins and shifts).

    The landmarks' bounding box (w, h), widened by w/2 left and right, h above and 0.4 h below, clipped to the image.
    It is shrunk if even the smallest margins would give more than ``recipe.size`` pixels, and never enlarged.

    Args:
        image, face: as in ``crop``. recipe: with ``training_margins``.

    Returns:
        Example with image (H, W, 3) uint8 of any aspect; box (4,) float32 of the face in its pixels, and landmarks
        (68, 2) float32 if the face has them.
    """
    if recipe.training_margins is None:
        raise UserError(f"recipe.training_margins: found None of {recipe.region!r}, wanted a recipe like 'sbi'")
    box, around = _box_of(face, recipe), _around(face)
    least, most = recipe.training_margins
    one, two = _widened(around, _CONTEXT_MARGINS), _widened(box, _margins(recipe, max(most, _margin(recipe))))
    x0, y0, x1, y1 = _within(np.r_[np.minimum(one, two)[:2], np.maximum(one, two)[2:]], image)
    pixels = image[y0:y1, x0:x1]
    factor = min(1.0, recipe.size / ((1 + 2 * least) * max(box[2:] - box[:2])))
    if factor < 1:
        small = max(1, round(factor * (x1 - x0))), max(1, round(factor * (y1 - y0)))
        pixels = cv2.resize(pixels, small, interpolation=cv2.INTER_AREA)
    affine = _resizing((x0, y0, x1, y1), pixels.shape)
    example: Example = {"image": np.ascontiguousarray(pixels), "box": _moved(box.reshape(2, 2), affine).reshape(4)}
    if face.landmarks is not None:
        example["landmarks"] = _moved(face.landmarks, affine)
    return example


def face_crop(example: "Example", recipe: CropRecipe, rng: np.random.Generator | None = None) -> "Example":
    """A context crop -> the same as ``crop`` returns; with ``rng`` the margins are drawn as in training."""
    area = face_area(example, recipe, rng)
    pixels, affine = stretched(example["image"], area, recipe)
    return _example(pixels, example.get("landmarks"), affine, recipe)


def face_area(
    example: "Example", recipe: CropRecipe, rng: np.random.Generator | None = None
) -> tuple[int, int, int, int]:
    """(x0, y0, x1, y1) of the face crop in a context crop: serving's margins, or with ``rng`` those of training."""
    margins = _margins(recipe, _margin(recipe)) if rng is None else _drawn_margins(recipe, rng)
    return _within(_widened(example["box"].astype(np.float64), margins), example["image"])


def views(image: np.ndarray, face: Face, recipe: CropRecipe, count: int) -> np.ndarray:
    """The face in ``count`` crops whose margins are drawn as in training, from the seeds 0, 1, …: (count, S, S, 3).

    For "landmarks" the margins are those that FWA's code draws from these seeds, in pixels of the image. Arguments and
    errors as for ``context_crop``.
    """
    example, shown = context_crop(image, face, recipe), []
    box = _box_of(face, recipe)
    for seed in range(count):
        if recipe.region == "landmarks":
            margins = _fwa_margins(box, seed)
        else:
            margins = _drawn_margins(recipe, np.random.default_rng(seed))
        area = _within(_widened(example["box"].astype(np.float64), margins), example["image"])
        shown.append(stretched(example["image"], area, recipe)[0])
    return np.stack(shown)


def stretched(image: np.ndarray, area: tuple[int, int, int, int], recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    """``area`` of ``image``, (H, W[, 3]) uint8 or float32, as a square of ``recipe.size``, and its affine (2, 3)."""
    x0, y0, x1, y1 = area
    shrinks = min(x1 - x0, y1 - y0) >= recipe.size
    how = cv2.INTER_AREA if shrinks else _INTERPOLATION[recipe.interpolation]
    pixels = cv2.resize(image[y0:y1, x0:x1], (recipe.size, recipe.size), interpolation=how)
    return pixels, _resizing(area, pixels.shape)


def _square(image: np.ndarray, face: Face, recipe: CropRecipe, angle: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    side, how = recipe.scale * face.side, _INTERPOLATION[recipe.interpolation]
    return turned_square(image, face.centre, side, angle, recipe.size, how)


def _level(image: np.ndarray, face: Face, recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    left, right = face.keypoints[:2] if face.landmarks is None else eyes(face.landmarks)
    return _square(image, face, recipe, float(np.arctan2(right[1] - left[1], right[0] - left[0])))


def _inside(image: np.ndarray, face: Face, recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    side = int(recipe.scale * face.side)
    x0, y0 = np.clip((face.centre - side // 2).astype(int), 0, [width - 1, height - 1])
    side = max(1, min(side, width - x0, height - y0))
    return stretched(image, (x0, y0, x0 + side, y0 + side), recipe)


def _framed(image: np.ndarray, face: Face, recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    height, width = image.shape[:2]
    if max(height, width) > _SQUARE * min(height, width) or min(height, width) > (recipe.scale + 0.5) * face.side:
        return _square(image, face, recipe)
    return stretched(image, (0, 0, width, height), recipe)


def _box(image: np.ndarray, face: Face, recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    area = _within(_widened(_box_of(face, recipe), _margins(recipe, _margin(recipe))), image)
    return stretched(image, area, recipe)


def _template(image: np.ndarray, face: Face, recipe: CropRecipe) -> tuple[np.ndarray, np.ndarray]:
    if face.landmarks is None:  # the detector's key points have only one point for the mouth
        found, wanted = face.keypoints[:4], np.r_[_TEMPLATE[:3], _TEMPLATE[3:].mean(0, keepdims=True)]
    else:
        found, wanted = face.landmarks[_TEMPLATE_POINTS], _TEMPLATE
    wanted = recipe.size * (wanted + (recipe.scale - 1) / 2) / recipe.scale
    affine = similarity(found.astype(np.float64), wanted)
    factor, angle = np.hypot(*affine[0, :2]), np.arctan2(affine[0, 1], affine[0, 0])
    centre = np.linalg.solve(affine[:, :2], (recipe.size - 1) / 2 - affine[:, 2])
    how = _INTERPOLATION[recipe.interpolation]
    return turned_square(image, centre, recipe.size / factor, angle, recipe.size, how, cv2.BORDER_CONSTANT)


REGIONS: dict[str, Callable[[np.ndarray, Face, CropRecipe], tuple[np.ndarray, np.ndarray]]] = {
    "square": _square,
    "level": _level,
    "inside": _inside,
    "framed": _framed,
    "box": _box,
    "landmarks": _box,
    "template": _template,
}

RECIPES = {
    # The usual protocol for FaceForensics++ and similar sets, not rotated.
    "paper": CropRecipe(380, 1.3),
    # Shiohara and Yamasaki, 2022: 12.5 % on each side; in training 5 to 20 %.
    "sbi": CropRecipe(380, 1.25, "box", "linear", (0.05, 0.2)),
    # Li and Lyu, 2019: training and tests draw up to an eighth of the width; serving takes the middle.
    "fwa": CropRecipe(224, 1.125, "landmarks", "linear", (0.0, 0.125)),
    # Rössler et al., 2019.
    "ff++": CropRecipe(299, 1.3, "inside", "linear"),
    # Crops that a collection already holds, about 1.5 times the face.
    "framed": CropRecipe(256, 1.5, "framed"),
    # DeepfakeBench (Yan et al., 2023).
    "aligned": CropRecipe(256, 1.3, "template", "linear"),
    # A close crop, mid forehead to chin, for small networks and for the generator.
    "aligned64": CropRecipe(64, 1.15, "level"),
    "aligned1024": CropRecipe(1024, 1.15, "level"),
}


def make_recipe(name: str, size: int | None = None) -> CropRecipe:
    """The recipe of this name, at its own size or at ``size``; UserError for a name that is not in ``RECIPES``."""
    if name not in RECIPES:
        raise UserError(f"recipe: found {name!r}, wanted one of {sorted(RECIPES)}")
    return RECIPES[name] if size is None else replace(RECIPES[name], size=size)


def _margin(recipe: CropRecipe) -> float:
    """Serving's margin on each side, as a share of the box's side."""
    return (recipe.scale - 1) / 2


def _margins(recipe: CropRecipe, margin: float) -> np.ndarray:
    """Left, top, right and bottom, as shares of the box's sides, of one margin."""
    return margin * (_SHAPE if recipe.region == "landmarks" else np.ones(4))


def _drawn_margins(recipe: CropRecipe, rng: np.random.Generator) -> np.ndarray:
    low, high = recipe.training_margins or (0.0, 0.0)
    if recipe.region == "landmarks":
        return np.tile(rng.uniform(low, high, 2), 2) * _SHAPE
    return rng.uniform(low, high, 4)


def _fwa_margins(box: np.ndarray, seed: int) -> np.ndarray:
    """The margins of FWA's code at a test: whole pixels of a box, (4,), from 0, from NumPy's older generator."""
    rng, sides = np.random.RandomState(seed), box[2:] - box[:2]
    x, y = (rng.randint(max(1, int(side))) for side in sides / _WIDEST)
    return np.array([x, y, x, y / 2]) / np.tile(sides, 2)


def _around(face: Face) -> np.ndarray:
    """(x0, y0, x1, y1) of the landmarks, or of the box without them."""
    if face.landmarks is None:
        return np.array(face.box, np.float64)
    return np.r_[face.landmarks.min(0), face.landmarks.max(0)].astype(np.float64)


def _box_of(face: Face, recipe: CropRecipe) -> np.ndarray:
    """The box that a region's margins widen."""
    return _around(face) if recipe.region == "landmarks" else np.array(face.box, np.float64)


def _widened(box: np.ndarray, margins: "np.ndarray | tuple") -> np.ndarray:
    """box: (x0, y0, x1, y1). margins: left, top, right, bottom, as shares of its sides."""
    sides = np.tile(box[2:] - box[:2], 2)
    return box + sides * np.asarray(margins) * [-1, -1, 1, 1]


def _within(box: np.ndarray, image: np.ndarray) -> tuple[int, int, int, int]:
    """Whole pixels inside the image, at least one; rounded as in SBI."""
    height, width = image.shape[:2]
    low = np.clip(box[:2].astype(int), 0, [width - 1, height - 1])
    high = np.clip(box[2:].astype(int) + 1, low + 1, [width, height])
    return int(low[0]), int(low[1]), int(high[0]), int(high[1])


def _resizing(area: tuple[int, int, int, int], shape: tuple[int, ...]) -> np.ndarray:
    """The affine (2, 3) from an image to its ``area`` resized to ``shape``."""
    x0, y0, x1, y1 = area
    factor = np.array([shape[1] / (x1 - x0), shape[0] / (y1 - y0)])
    return np.c_[np.diag(factor), factor * (0.5 - np.array([x0, y0])) - 0.5]


def _moved(points: np.ndarray, affine: np.ndarray) -> np.ndarray:
    return (points @ affine[:, :2].T + affine[:, 2]).astype(np.float32)


def _example(pixels: np.ndarray, landmarks: np.ndarray | None, affine: np.ndarray, recipe: CropRecipe) -> "Example":
    if landmarks is None:
        return {"image": pixels}
    landmarks = _moved(landmarks, affine)
    return {"image": pixels, "landmarks": landmarks, "mask": face_mask(landmarks, (recipe.size, recipe.size))}
