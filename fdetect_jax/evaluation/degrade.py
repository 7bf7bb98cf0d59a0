"""What happens to pictures on their way through the world, by five severities each. In: a clip, one size throughout, or
a still as a clip of one. Out: the same clip, degraded. Every parameter is in pixels or levels of the picture it meets.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction

import av
import cv2
import numpy as np

from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.x264 import steady

Clip = Sequence[np.ndarray]
_BAND = 1 << 20  # values of noise that are drawn at once: a photograph may have 192 million
_H264_SIDE = 16384
_LUMA = np.array([0.299, 0.587, 0.114])  # BT.601


@dataclass(frozen=True)
class Degradation:
    """One kind of damage.

    title: what a reader calls it. parameter: what ``values`` are. values: five, from mild to severe.
    apply: (frames (H, W, 3) uint8 RGB, value, rng) -> as many of the same size.
    """

    title: str
    parameter: str
    values: tuple[float, ...]
    apply: Callable[[Clip, float, np.random.Generator], list[np.ndarray]]

    def named(self, value: float) -> str:
        """For example "JPEG, quality 40"."""
        return f"{self.title}, {self.parameter} {value:g}"


def jpeg(image: np.ndarray, quality: float) -> np.ndarray:
    """Compressed as OpenCV does, with halved colour."""
    data = cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, int(quality)])[1]
    return np.ascontiguousarray(cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])


def resize(image: np.ndarray, share: float) -> np.ndarray:
    """Shrunk to a share of its sides by area averaging, and grown back by cubic interpolation."""
    height, width = image.shape[:2]
    small = max(1, round(width * share)), max(1, round(height * share))
    shrunk = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
    return cv2.resize(shrunk, (width, height), interpolation=cv2.INTER_CUBIC)


def blur(image: np.ndarray, sigma: float) -> np.ndarray:
    """By a Gaussian of ``sigma`` pixels; mirrored beyond the edges."""
    return cv2.GaussianBlur(image, (0, 0), sigma)


def noise(image: np.ndarray, deviation: float, rng: np.random.Generator) -> np.ndarray:
    """Gaussian, independent in every value; deviation: a share of full scale."""
    noisy, rows = np.empty_like(image), max(1, _BAND // image[0].size)
    for start in range(0, len(image), rows):
        band = image[start : start + rows]
        drawn = rng.standard_normal(band.shape, np.float32) * np.float32(255 * deviation)
        noisy[start : start + rows] = cv2.add(band, drawn, dtype=cv2.CV_8U).reshape(band.shape)
    return noisy


def saturation(image: np.ndarray, factor: float) -> np.ndarray:
    """Every colour's distance from the grey of its luma (BT.601), times ``factor``."""
    return cv2.transform(image, factor * np.eye(3) + (1 - factor) * np.tile(_LUMA, (3, 1)))


def contrast(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value's distance from mid grey, times ``factor`` in [0, 1]."""
    return cv2.convertScaleAbs(image, alpha=factor, beta=127.5 * (1 - factor))


def brightness(image: np.ndarray, factor: float) -> np.ndarray:
    """Every value times ``factor``."""
    return cv2.convertScaleAbs(image, alpha=factor)


def h264(clip: Clip, crf: float, rng: np.random.Generator) -> list[np.ndarray]:
    """Encoded by x264 with its own defaults at a constant rate factor, as FaceForensics++'s c23 and c40, and decoded.

    Pictures at odd sides are padded by repeating the last row or column, which is cut off again. Raises
    UnreadableMedia for a side that x264 does not take.
    """
    height, width = clip[0].shape[:2]
    if max(height, width) > _H264_SIDE:
        raise UnreadableMedia(f"{width}x{height} pixels: H.264 takes sides of {_H264_SIDE} at most")
    encoder, decoder = av.CodecContext.create("libx264", "w"), av.CodecContext.create("h264", "r")
    encoder.width, encoder.height, encoder.pix_fmt = width + width % 2, height + height % 2, "yuv420p"
    # At other clocks x264 means another quality by the same factor: frames that last longer get more bits.
    encoder.time_base, encoder.options = Fraction(1, 25), steady(crf=f"{crf:g}")
    encoder.thread_count = decoder.thread_count = 1
    packets, frames = [], []
    for number, image in enumerate(clip):
        even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
        # One thread: with several, swscale's picture and the encoder's bits were seen to differ from run to run.
        frame = av.VideoFrame.from_ndarray(even, format="rgb24").reformat(format="yuv420p", threads=1)
        frame.pts = number
        packets += encoder.encode(frame)
    for packet in [*packets, *encoder.encode(None), None]:
        frames += decoder.decode(packet)
    if len(frames) != len(clip):
        raise RuntimeError(f"H.264: {len(clip)} frames in, {len(frames)} out")
    pictures = (frame.to_ndarray(format="rgb24", threads=1)[:height, :width] for frame in frames)
    return [np.ascontiguousarray(picture) for picture in pictures]


def _each(change: Callable[[np.ndarray, float], np.ndarray]) -> Callable:
    return lambda clip, value, rng: [change(image, value) for image in clip]


def _noisy(clip: Clip, deviation: float, rng: np.random.Generator) -> list[np.ndarray]:
    return [noise(image, deviation, rng) for image in clip]


DEGRADATIONS = {
    "jpeg": Degradation("JPEG", "quality", (80, 60, 40, 20, 10), _each(jpeg)),
    "h264": Degradation("H.264", "CRF", (18, 23, 30, 35, 40), h264),
    "resize": Degradation("Resize", "share", (0.75, 0.5, 0.35, 0.25, 0.15), _each(resize)),
    "blur": Degradation("Gaussian blur", "σ in pixels", (0.5, 1, 2, 3, 5), _each(blur)),
    "noise": Degradation("Gaussian noise", "σ of full scale", (0.02, 0.04, 0.07, 0.1, 0.2), _noisy),
    "saturation": Degradation("Saturation", "factor", (0.8, 0.6, 0.4, 0.2, 0.0), _each(saturation)),
    "contrast": Degradation("Contrast", "factor", (0.85, 0.7, 0.55, 0.4, 0.25), _each(contrast)),
    "brightness": Degradation("Brightness", "factor", (0.85, 0.7, 0.55, 0.4, 0.25), _each(brightness)),
}
CONDITIONS = tuple((name, value) for name, one in DEGRADATIONS.items() for value in one.values)


def degraded(clip: Clip, seed: Sequence[int]) -> Iterator[list[np.ndarray]]:
    """The clip under each of ``CONDITIONS``, in order. seed: of the noise, whose severities share one draw."""
    for name, value in CONDITIONS:
        yield DEGRADATIONS[name].apply(clip, value, np.random.default_rng(seed))
