"""Augmentation on the host, the same for a face and its fakes. In: uint8 images. Out: uint8 images of the same sizes.

One draw serves all images of a call. If a face and its fake were cropped, lit or compressed differently, a detector
could separate them by that difference.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import cv2
import numpy as np

from fdetect_jax.errors import UserError

_LIMITS = {"flip": 1, "translate": 0.5, "brightness": 1, "contrast": 1, "saturation": 1, "hue": 0.5}
_LIMITS |= {"blur": 1, "resample": 1, "jpeg": 1, "noise": 1, "webp": 1, "full_chroma": 1}
_RANGES = {
    "scale": (1e-3, 1e3),
    "blur_sigma": (1e-3, 1e3),
    "resample_factor": (1e-3, 1),
    "jpeg_quality": (1, 100),
    "noise_sigma": (1e-3, 255),
}
_SHRINK = (cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)
_ENLARGE = (cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4)


@dataclass(frozen=True)
class Augment:
    """The random changes, applied in this order; a zero (and ``scale`` (1, 1)) turns a part off completely.

    flip: probability of mirroring left and right.
    translate: largest shift, as a share of the side, in [0, 0.5]. scale: range of the zoom, > 0. Borders are mirrored.
    brightness: largest change of the mean, as a share of full scale. contrast, saturation: largest deviation of the
    factor from 1. hue: largest rotation of the hue, as a share of the circle, in [0, 0.5].
    blur: probability of a Gaussian blur; blur_sigma: range in pixels, > 0.
    resample: probability of shrinking and enlarging again; resample_factor: range of the shrunk size, in (0, 1].
    resample_kernels: whether the two kernels are drawn too; if not, areas are averaged and enlarged linearly.
    noise: probability of Gaussian noise; noise_sigma: range of its deviation, of 255.
    jpeg: probability of compression; jpeg_quality: range, in [1, 100]. webp: share of compressions that are WebP, not
    JPEG; full_chroma: share of JPEGs whose colours are not subsampled (4:4:4, else 4:2:0).
    """

    flip: float = 0.5
    translate: float = 0.03
    scale: tuple[float, float] = (0.95, 1.05)
    brightness: float = 0.1
    contrast: float = 0.1
    saturation: float = 0.1
    hue: float = 0.02
    blur: float = 0.1
    blur_sigma: tuple[float, float] = (0.3, 1.0)
    resample: float = 0.1
    resample_factor: tuple[float, float] = (0.5, 1.0)
    jpeg: float = 0.3
    jpeg_quality: tuple[int, int] = (40, 95)
    resample_kernels: bool = False
    noise: float = 0.0
    noise_sigma: tuple[float, float] = (1.0, 6.0)
    webp: float = 0.0
    full_chroma: float = 0.0

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            if len(value) != 2 or not low <= value[0] <= value[1] <= high:
                raise UserError(f"augment.{name}: found {value}, wanted low <= high, both in [{low}, {high}]")
        for name, high in _LIMITS.items():
            value = getattr(self, name)
            if not isinstance(value, int | float) or not 0 <= value <= high:
                raise UserError(f"augment.{name}: found {value}, wanted a number in [0, {high}]")

    @classmethod
    def off(cls) -> "Augment":
        """An augmentation that changes nothing."""
        return cls(scale=(1.0, 1.0), **dict.fromkeys(_LIMITS, 0.0))

    def __call__(
        self, rng: np.random.Generator, images: Sequence[np.ndarray], masks: Sequence[np.ndarray] = ()
    ) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Applies one draw to every image.

        Args:
            rng: the only source of randomness; the number of draws from it is always the same.
            images: (H, W, 3) uint8 RGB each. masks: (H, W) float32 each, moved with the images.

        Returns:
            The images and masks, changed, in the same number, shapes and types.
        """
        draw = _Draw(*rng.random(len(fields(_Draw))))
        return [self._change(self._move(image, draw), draw) for image in images], [self._move(m, draw) for m in masks]

    def _change(self, image: np.ndarray, draw: "_Draw") -> np.ndarray:
        image = self._colour(image, draw)
        if draw.blur < self.blur:
            image = cv2.GaussianBlur(image, (0, 0), _within(self.blur_sigma, draw.blur_sigma))
        if draw.resample < self.resample:
            kernels = _SHRINK[0], _ENLARGE[0]
            if self.resample_kernels:
                kernels = _SHRINK[int(4 * draw.shrink)], _ENLARGE[int(3 * draw.enlarge)]
            image = _resample(image, _within(self.resample_factor, draw.resample_factor), *kernels)
        if draw.noise < self.noise:
            own = np.random.default_rng(int(2**53 * draw.noise_seed))  # the same noise for every image of the call
            added = own.normal(0, _within(self.noise_sigma, draw.noise_sigma), image.shape)
            image = np.clip(np.round(image + added), 0, 255).astype(np.uint8)
        if draw.jpeg < self.jpeg:
            image = self._compress(image, draw)
        return np.ascontiguousarray(image)

    def _compress(self, image: np.ndarray, draw: "_Draw") -> np.ndarray:
        quality = round(_within(self.jpeg_quality, draw.jpeg_quality))
        suffix, options = ".jpg", [cv2.IMWRITE_JPEG_QUALITY, quality]
        if draw.webp < self.webp:
            suffix, options = ".webp", [cv2.IMWRITE_WEBP_QUALITY, quality]
        elif draw.full_chroma < self.full_chroma:
            options += [cv2.IMWRITE_JPEG_SAMPLING_FACTOR, cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]
        encoded = cv2.imencode(suffix, image[..., ::-1], options)[1]
        return cv2.imdecode(encoded, cv2.IMREAD_COLOR)[..., ::-1]

    def _move(self, image: np.ndarray, draw: "_Draw") -> np.ndarray:
        image = np.ascontiguousarray(image[:, ::-1] if draw.flip < self.flip else image)
        zoom = _within(self.scale, draw.scale)
        height, width = image.shape[:2]
        shift = np.array([_signed(draw.x) * width, _signed(draw.y) * height]) * self.translate
        if zoom == 1 and not shift.any():
            return image
        centre = np.array([width - 1, height - 1]) / 2
        affine = np.c_[zoom * np.eye(2), centre + shift - zoom * centre]
        return cv2.warpAffine(image, affine, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)

    def _colour(self, image: np.ndarray, draw: "_Draw") -> np.ndarray:
        brightness = self.brightness * _signed(draw.brightness)
        contrast = self.contrast * _signed(draw.contrast)
        saturation = self.saturation * _signed(draw.saturation)
        hue = self.hue * _signed(draw.hue)
        if not (brightness or contrast or saturation or hue):
            return image
        pixels = image.astype(np.float32) / 255
        if saturation or hue:
            hsv = cv2.cvtColor(pixels, cv2.COLOR_RGB2HSV)  # hue in degrees
            hsv[..., 0] = (hsv[..., 0] + 360 * hue) % 360
            hsv[..., 1] = np.clip(hsv[..., 1] * (1 + saturation), 0, 1)
            pixels = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)
        # Around mid grey, not around the image's mean, which differs between a face and its fake.
        pixels = (pixels - 0.5) * (1 + contrast) + 0.5 + brightness
        return np.clip(np.round(pixels * 255), 0, 255).astype(np.uint8)


@dataclass(frozen=True)
class _Draw:
    """Uniform numbers in [0, 1), one for each random choice."""

    flip: float
    x: float
    y: float
    scale: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    blur: float
    blur_sigma: float
    resample: float
    resample_factor: float
    jpeg: float
    jpeg_quality: float
    # Further choices stand here: the draws of those above stay as they were.
    shrink: float
    enlarge: float
    noise: float
    noise_sigma: float
    noise_seed: float
    webp: float
    full_chroma: float


def _within(bounds: tuple[float, float], draw: float) -> float:
    return bounds[0] + draw * (bounds[1] - bounds[0])


def _signed(draw: float) -> float:
    return 2 * draw - 1


def _resample(image: np.ndarray, factor: float, shrink: int, enlarge: int) -> np.ndarray:
    height, width = image.shape[:2]
    small = max(1, round(width * factor)), max(1, round(height * factor))
    shrunk = cv2.resize(image, small, interpolation=shrink)
    return cv2.resize(shrunk, (width, height), interpolation=enlarge)


FLIP = replace(Augment.off(), flip=0.5)
