"""The pixel operations of SBI: colours, sharpness, compression, and the shifts of source and mask. uint8 in, uint8 out.

A transform is drawn once from a random generator and applied to any number of images. Shiohara and
Yamasaki, 2022, with the numbers of their code, which uses albumentations 1.1.
"""

from dataclasses import dataclass

import cv2
import numpy as np

_SHIFT, _SHIFT_PROBABILITY = 20.0, 0.3
_HSV = 0.3
_QUALITY = (40, 100)
_TRANSLATE = np.array([0.03, 0.015])
_SCALE = (0.95, 1 / 0.95)
_ELASTIC_SIGMA, _ELASTIC_ALPHA = 7.0, 50.0
_REACH = 28  # pixels; SciPy truncates its Gaussian at 4 deviations
_FARTHEST = 9  # largest elastic displacement in pixels, whose deviation is 1.16 px
_VALUES = np.arange(256)


@dataclass(frozen=True)
class Colour:
    """Three changes in this order; each is skipped if None.

    shift: added to red, green, blue, in [-20, 20]. hsv: added to hue (of 180), saturation and value (of 256), in
    [-0.3, 0.3]. tone: (contrast, brightness), v -> contrast v + 255 brightness. Each result is clipped and truncated.
    """

    shift: tuple[float, float, float] | None = None
    hsv: tuple[float, float, float] | None = None
    tone: tuple[float, float] | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator, hsv: float, tone: float, limit: float) -> "Colour":
        """hsv, tone: probabilities; the shift's is 0.3. limit: largest change of contrast and of brightness."""
        chances, shift = rng.random(3), tuple(rng.uniform(-_SHIFT, _SHIFT, 3))
        turn, (contrast, brightness) = tuple(rng.uniform(-_HSV, _HSV, 3)), rng.uniform(-limit, limit, 2)
        return cls(
            shift if chances[0] < _SHIFT_PROBABILITY else None,
            turn if chances[1] < hsv else None,
            (1 + contrast, brightness) if chances[2] < tone else None,
        )

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> the same."""
        if self.shift is not None:
            image = cv2.LUT(image, _table(_VALUES[:, None] + np.array(self.shift)))
        if self.hsv is not None:
            # As in the original, the limits are in 8-bit levels and results are truncated: a positive change does
            # nothing, a negative one lowers by one level. (OpenCV's conversion to 8-bit HSV and back is lossy too.)
            table = _table(_VALUES[:, None] + np.array(self.hsv))
            table[0, :, 0] = np.mod(_VALUES + self.hsv[0], 180)
            image = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)
            image = cv2.cvtColor(cv2.LUT(image, table), cv2.COLOR_HSV2RGB)
        if self.tone is not None:
            contrast, brightness = self.tone
            image = cv2.LUT(image, _table(_VALUES * contrast + 255 * brightness))
        return image


@dataclass(frozen=True)
class Detail:
    """Changes the sharpness: shrinks by ``shrink`` in {2, 4} and enlarges again, or else sharpens.

    sharpen: (share, lightness): a 3 x 3 kernel of -1 with 8 + lightness in the middle, mixed in by share.
    """

    shrink: int | None = None
    sharpen: tuple[float, float] | None = None

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Detail":
        """Shrinks or sharpens, with probability 1/2 each; share in [0.2, 0.5], lightness in [0.5, 1]."""
        less, shrink = rng.random() < 0.5, int(rng.choice([2, 4]))
        share, lightness = rng.uniform(0.2, 0.5), rng.uniform(0.5, 1.0)
        return cls(shrink=shrink) if less else cls(sharpen=(share, lightness))

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 -> the same."""
        if self.sharpen is not None:
            share, lightness = self.sharpen
            kernel = np.full((3, 3), -share, np.float32)
            kernel[1, 1] = 1 - share + share * (8 + lightness)
            return cv2.filter2D(image, -1, kernel)
        height, width = image.shape[:2]
        small = max(1, width // self.shrink), max(1, height // self.shrink)
        small = cv2.resize(image, small, interpolation=cv2.INTER_NEAREST)
        return cv2.resize(small, (width, height), interpolation=cv2.INTER_LINEAR)


@dataclass(frozen=True)
class Augmentation:
    """Training's changes of a finished pair, the same for both. quality: of a JPEG, or None."""

    colour: Colour
    quality: int | None

    @classmethod
    def draw(cls, rng: np.random.Generator) -> "Augmentation":
        """Colours with probability 0.3 each and up to 0.3; JPEG of quality 40 to 100 with probability 1/2."""
        colour, compress = Colour.draw(rng, hsv=0.3, tone=0.3, limit=0.3), rng.random() < 0.5
        quality = int(rng.integers(_QUALITY[0], _QUALITY[1] + 1))
        return cls(colour, quality if compress else None)

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """(H, W, 3) uint8 RGB -> the same."""
        image = self.colour(image)
        if self.quality is None:
            return image
        # RGB is passed as BGR, as in the original: JPEG then subsamples chroma with red and blue exchanged.
        encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, self.quality])[1]
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)


def draw_affine(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    """(2, 3) in pixels of an image of ``shape`` (H, W): scaled about its centre, each axis independently, and shifted.

    Factors in [0.95, 1/0.95]; shifts within 3 % of the width and 1.5 % of the height.
    """
    size = np.array(shape[::-1])
    centre, factor = (size - 1) / 2, rng.uniform(*_SCALE, 2)
    shift = rng.uniform(-_TRANSLATE, _TRANSLATE) * size
    return np.c_[np.diag(factor), centre - factor * centre + shift]


def farthest(shape: tuple[int, int]) -> tuple[int, int]:
    """(x, y) pixels, rounded up: the largest shift of a point by any ``draw_affine`` of ``shape``."""
    x, y = np.array(shape[::-1]) * ((_SCALE[1] - 1) / 2 + _TRANSLATE)
    return int(x) + 2, int(y) + 2


def elastic(rng: np.random.Generator, mask: np.ndarray) -> np.ndarray:
    """(H, W) uint8 -> the same with its outline deformed by smooth noise of 1.16 px deviation, 7 px wide.

    The field is 50 times uniform noise in [-1, 1] under a Gaussian of 7 px; it is computed only where the mask is.
    """
    height, width = mask.shape
    x, y, w, h = cv2.boundingRect(mask)
    if not w:
        return mask
    x0, y0 = max(0, x - _FARTHEST), max(0, y - _FARTHEST)
    x1, y1 = min(width, x + w + _FARTHEST), min(height, y + h + _FARTHEST)
    # The noise extends by the Gaussian's radius; at the image's edge the border rule applies.
    left, top = min(x0, _REACH), min(y0, _REACH)
    shape = y1 - y0 + top + min(height - y1, _REACH), x1 - x0 + left + min(width - x1, _REACH)
    noise = rng.random((*shape, 2), np.float32)
    noise *= 2 * _ELASTIC_ALPHA
    noise -= _ELASTIC_ALPHA
    kernel = (2 * _REACH + 1,) * 2
    field = cv2.GaussianBlur(noise, kernel, _ELASTIC_SIGMA, borderType=cv2.BORDER_REFLECT)
    field = field[top : top + y1 - y0, left : left + x1 - x0]
    columns = field[..., 0] + np.arange(x0, x1, dtype=np.float32)
    rows = field[..., 1] + np.arange(y0, y1, dtype=np.float32)[:, None]
    moved = np.zeros_like(mask)
    moved[y0:y1, x0:x1] = cv2.remap(mask, columns, rows, cv2.INTER_NEAREST, borderMode=cv2.BORDER_REFLECT_101)
    return moved


def _table(values: np.ndarray) -> np.ndarray:
    """(256,) or (256, 3) results for each level -> the table for ``cv2.LUT``, (1, 256, 1 or 3) uint8."""
    return np.clip(values, 0, 255).astype(np.uint8).reshape(1, 256, -1)
