"""Copies a video and redraws every frame. In: a video and a function of frame and time. Out: an MP4 (H.264, with the
sound as AAC) that browsers play.
"""

import contextlib
import math
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from fdetect_jax.files import replacing
from fdetect_jax.media.container import open_video
from fdetect_jax.media.fit import on_canvas
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.sound import Sound
from fdetect_jax.media.video import VideoInfo, probe, shots, to_rgb
from fdetect_jax.media.x264 import steady

# An MP4 says how long each packet lasts. Without B-frames these are in order, and so the frame lasts as long.
_OPTIONS = steady(crf="20", preset="veryfast", bf="0")
_BT709 = 1  # FFmpeg's number of this colour matrix, of its primaries and of its curve
_TICK = Fraction(1, 90_000)  # seconds; one source's time base may be anything

Draw = Callable[[np.ndarray, float], np.ndarray]


def transcode(path: str | Path, output: str | Path, draw: Draw, limits: Limits | None = None) -> str:
    """Writes ``output`` completely or not at all.

    Frames keep their times, and the last one is shown until the end; those that do not decode or go back in time are
    left out. Frames of another size than the first are placed on its canvas, see ``fit.on_canvas``.

    Args:
        path: a video. output: a path that ends in .mp4. limits: as for reading.
        draw: ((H, W, 3) uint8 RGB upright, seconds from the start) -> (H', W', 3) uint8, the same size for every frame;
            H and W are those of ``video.probe``; odd sides are made even by repeating the last row or column.

    Returns:
        why the copy has no sound although the video has, or "".

    Raises:
        UnreadableMedia: no frame decodes, see ``video.read_frames``.
    """
    limits = limits or Limits()
    info = probe(path, limits)
    with (
        replacing(output) as temporary,
        open_video(path, limits) if info.has_audio else contextlib.nullcontext() as source,
        av.open(temporary, "w", "mp4", options={"movflags": "+faststart"}) as sink,
    ):
        sound = Sound(source, sink, limits)
        picture = None
        for pixels, time, moment, duration in _spans(path, info, limits):
            drawn = _even(draw(pixels, time))
            if picture is None:
                picture = _stream(sink, info, drawn)
                lead = sound.set_start(moment, info.duration)
            frame = av.VideoFrame.from_ndarray(drawn, format="rgb24")
            # One thread: with several, the bits differ from run to run.
            frame = frame.reformat(format="yuv420p", dst_colorspace="ITU709", threads=1)
            frame.time_base, frame.pts, frame.duration = _TICK, _ticks(lead + time), duration
            sink.mux(picture.encode(frame))
            for packet in sound.until(lead + time):
                sink.mux(packet)
        if picture is None:
            raise UnreadableMedia("no frame decodes")
        sink.mux(picture.encode(None))
        for packet in sound.until(math.inf):
            sink.mux(packet)
        return sound.note


def _spans(path: str | Path, info: VideoInfo, limits: Limits) -> Iterator[tuple[np.ndarray, float, float, int]]:
    """(pixels, seconds from the start, seconds on the file's own clock, ticks until the next one) of every frame."""
    waiting, shortest = None, _ticks(1 / info.frame_rate)
    for shot in shots(path, limits):
        if waiting is not None:
            if shot.time > info.duration:
                continue
            lasts = _ticks(shot.time) - _ticks(waiting.time)
            if lasts <= 0:
                continue
            shortest = min(shortest, lasts)
            yield _pixels(waiting, info), waiting.time, waiting.moment, lasts
        waiting = shot
    if waiting is not None:
        lasts = _ticks(info.duration - waiting.time) or shortest  # some containers do not say how long the last one is
        yield _pixels(waiting, info), waiting.time, waiting.moment, max(1, lasts)


def _pixels(shot: Any, info: VideoInfo) -> np.ndarray:
    return on_canvas(to_rgb(shot.frame, shot.size), (info.width, info.height))


def _stream(sink: Any, info: VideoInfo, drawn: np.ndarray) -> Any:
    rate = Fraction(min(max(info.frame_rate, 1.0), 240.0)).limit_denominator(1001)
    stream = sink.add_stream("libx264", rate=rate, options=_OPTIONS, time_base=_TICK)
    stream.height, stream.width = drawn.shape[:2]
    stream.pix_fmt = "yuv420p"
    stream.codec_context.flags |= av.codec.context.Flags.frame_duration
    for name in ("colorspace", "color_primaries", "color_trc"):
        setattr(stream.codec_context, name, _BT709)
    return stream


def _ticks(seconds: float) -> int:
    return round(seconds / _TICK)


def _even(picture: np.ndarray) -> np.ndarray:
    height, width = picture.shape[:2]
    if height % 2 or width % 2:
        return cv2.copyMakeBorder(picture, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    return np.ascontiguousarray(picture)
