"""Miniature videos whose every frame can be told from its pixels."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np

SIZE = (96, 64)  # width, height


def picture(number: int, size: tuple[int, int] = SIZE) -> np.ndarray:
    """A red field; its left upper quarter is grey, as bright as its ``number`` says."""
    width, height = size
    pixels = np.full((height, width, 3), (200, 30, 60), np.uint8)
    pixels[: height // 2, : width // 2] = 20 + 8 * number
    return pixels


def number_of(pixels: np.ndarray) -> int:
    """The number of an upright ``picture``."""
    height, width = pixels.shape[:2]
    return round((float(pixels[height // 8 : height * 3 // 8, width // 8 : width * 3 // 8].mean()) - 20) / 8)


def film(
    path: Path,
    frames: int = 24,
    codec: str = "libx264",
    *,
    size: tuple[int, int] = SIZE,
    format: str = "yuv420p",
    times: list[int] | None = None,
    rotation: int = 0,
    mirrored: bool = False,
    sound: str | None = None,
    options: dict[str, str] | None = None,
    container: str | None = None,
) -> Path:
    """Writes ``picture(0)`` … at 24 frames a second, or at ``times`` in thousandths of a second.

    rotation: degrees anticlockwise and mirrored: what the display matrix says. sound: a codec for a second of tone.
    """
    with av.open(str(path), "w", format=container, container_options=options or {}) as sink:
        stream = sink.add_stream(codec, rate=24)
        stream.width, stream.height, stream.pix_fmt = *size, format
        stream.codec_context.gop_size = 12
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        if rotation or mirrored:
            stream.set_display_rotation(rotation, hflip=mirrored)
        audio = sink.add_stream(sound, rate=48000) if sound else None
        for number in range(frames):
            frame = av.VideoFrame.from_ndarray(picture(number, size), format="rgb24")
            if times is not None:
                frame.pts, frame.time_base = times[number], Fraction(1, 1000)
            sink.mux(stream.encode(frame))
        sink.mux(stream.encode(None))
        if audio:
            tone = np.sin(np.arange(48000) / 20).astype(np.float32)[None]
            hum = av.AudioFrame.from_ndarray(tone, format="fltp", layout="mono")
            hum.sample_rate = 48000
            sink.mux(audio.encode(hum))
            sink.mux(audio.encode(None))
    return path
