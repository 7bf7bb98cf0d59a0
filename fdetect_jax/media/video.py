"""Reads untrusted videos. In: a path. Out: properties of the video, and sampled RGB frames, or UnreadableMedia.

Length and rate come from the packets, before anything is decoded; the header is not trusted.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from fdetect_jax.errors import UserError
from fdetect_jax.media.container import check_size, open_video, packets_of, video_stream
from fdetect_jax.media.limits import Limits, UnreadableMedia

# AVColorSpace: BT.709, FCC, BT.470BG, SMPTE 170M, SMPTE 240M, BT.2020
_MATRICES = (1, 4, 5, 6, 7, 9)
_ROUNDING = 6e-4  # seconds; Matroska keeps whole milliseconds
_HELD_BYTES = 512 << 20  # of frames, while the number that decode is unknown


@dataclass(frozen=True)
class Sampling:
    """Selects the frames of a video that are read. Exactly one field is set.

    count: this many frames, evenly spaced from the first to the last that decodes; all of a shorter video.
    per_second: at most this many frames per second, by their timestamps.

    Raises:
        UserError: both or none, or not positive.
    """

    count: int | None = None
    per_second: float | None = None

    def __post_init__(self):
        if (self.count is None) == (self.per_second is None):
            raise UserError(f"sampling: found {self}, wanted either count or per_second")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise UserError(f"sampling.count: found {self.count!r}, wanted a whole number of at least 1")
        if self.per_second is not None and not 0 < self.per_second < math.inf:
            raise UserError(f"sampling.per_second: found {self.per_second!r}, wanted a number above 0")

    def to_dict(self) -> dict[str, float]:
        return {"count": self.count} if self.per_second is None else {"per_second": self.per_second}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Sampling":
        """Raises UserError for fields that a Sampling does not have."""
        unknown = set(fields) - {"count", "per_second"}
        if unknown:
            raise UserError(f"sampling: found {', '.join(sorted(unknown))}, wanted count or per_second")
        return cls(**fields)


@dataclass(frozen=True)
class Frame:
    """index: among the frames that decode. time: seconds from the first. pixels: (H, W, 3) uint8 RGB, upright."""

    index: int
    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """width, height: of an upright frame. duration: seconds. frame_rate: frames per second, on average.

    rotation: degrees by which the stored picture was turned clockwise to stand upright: 0, 90, 180 or 270.
    """

    width: int
    height: int
    duration: float
    frame_rate: float
    codec: str
    container: str
    rotation: int
    has_audio: bool


@dataclass(frozen=True)
class _Packets:
    """Results of a pass over the packets without decoding. duration: seconds."""

    count: int
    duration: float


def probe(path: str | Path, limits: Limits | None = None) -> VideoInfo:
    """Describes a video by its packets and its first frame.

    Raises:
        UnreadableMedia: over the limits, not a video, unsupported container or codec, no pictures, or no frame
            decodes.
    """
    limits = limits or Limits()
    with open_video(path, limits) as container:
        packets = _walk(container, limits)
        codec, name = video_stream(container).codec_context.codec.canonical_name, container.format.name
        has_audio = bool(container.streams.audio)
    with open_video(path, limits) as container:
        frame = next(_decoded(container), None)
        if frame is None:
            raise UnreadableMedia("no frame decodes")
        swap, *_ = _orientation(frame)
        width, height = (frame.height, frame.width) if swap else (frame.width, frame.height)
        rotation = round(-frame.rotation / 90) % 4 * 90
    rate = packets.count / packets.duration
    return VideoInfo(width, height, packets.duration, rate, codec, name, rotation, has_audio)


def read_frames(path: str | Path, sampling: Sampling, limits: Limits | None = None) -> Iterator[Frame]:
    """Decodes a video and yields the sampled frames, in order; damaged parts are skipped.

    For ``count`` a video is decoded once. It is decoded a second time only if its packets do not hold one frame each,
    or if the sampled frames would not fit in the memory limit.

    Raises:
        UnreadableMedia: see ``probe``.
    """
    limits = limits or Limits()
    with open_video(path, limits) as container:
        packets = _walk(container, limits)
    if sampling.count is not None:
        frames = _evenly(path, sampling.count, packets.count, limits)
    else:
        frames = _by_time(path, sampling.per_second, limits)
    some = False
    for index, time, frame in frames:
        some = True
        yield Frame(index, time, to_rgb(frame))
    if not some:
        raise UnreadableMedia("no frame decodes")


def to_rgb(frame: Any) -> np.ndarray:
    """An ``av.VideoFrame`` as (H, W, 3) uint8 RGB, turned upright by its display matrix.

    Uses the frame's colour matrix and range; BT.601 if it names none, or one that swscale rejects. High dynamic range
    is not tone-mapped.
    """
    if frame.colorspace not in _MATRICES:
        frame.colorspace = Colorspace.ITU601
    if frame.color_range not in (ColorRange.MPEG, ColorRange.JPEG):
        frame.color_range = ColorRange.UNSPECIFIED
    pixels = frame.to_ndarray(format="rgb24", threads=1)
    swap, mirror_x, mirror_y = _orientation(frame)
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])


def _walk(container: Any, limits: Limits) -> _Packets:
    stream = video_stream(container)
    base = stream.time_base
    count, start, end = 0, math.inf, -math.inf
    for packet in packets_of(container, [stream]):
        if packet.is_discard:
            continue
        count += 1
        if count > limits.frames:
            raise UnreadableMedia(f"over {limits.frames} frames, at most so many are read")
        if packet.pts is not None:
            start, end = min(start, packet.pts), max(end, packet.pts + (packet.duration or 0))
    if not count:
        raise UnreadableMedia("no frame in it: truncated or empty")
    duration = float((end - start) * base) if end > start else 0.0
    duration = duration or count / float(stream.average_rate or 25)
    if duration > limits.seconds:
        raise UnreadableMedia(f"lasts {duration:.0f} seconds, at most {limits.seconds:.0f} are read")
    return _Packets(count, duration)


def _decoded(container: Any) -> Iterator[Any]:
    """Every frame that decodes completely."""
    stream = video_stream(container)
    stream.codec_context.thread_count = 1
    for packet in packets_of(container, [stream]):
        yield from _decode(stream, packet)
    yield from _decode(stream, None)


def _decode(stream: Any, packet: Any) -> list[Any]:
    try:
        return [frame for frame in stream.decode(packet) if not frame.is_corrupt]
    except av.error.FFmpegError:
        return []


def _timed(path: str | Path, limits: Limits) -> Iterator[tuple[int, float, Any]]:
    """(index, seconds from the first, frame); times never decrease."""
    with open_video(path, limits) as container:
        stream = video_stream(container)
        step = 1 / float(stream.average_rate or 25)
        start, last = None, -step
        for index, frame in enumerate(_decoded(container)):
            if index >= limits.frames:
                raise UnreadableMedia(f"over {limits.frames} frames, at most so many are read")
            check_size(frame, limits)  # the frame size may grow within a video
            # While a decoder is drained its frames have no time base: ``frame.time`` is nan then.
            time = last + step + (start or 0.0) if frame.pts is None else float(frame.pts * stream.time_base)
            start = time if start is None else start
            last = max(time - start, last)
            yield index, last, frame


def _evenly(path: str | Path, count: int, packets: int, limits: Limits) -> Iterator[tuple[int, float, Any]]:
    frames = _timed(path, limits)
    if packets <= count:
        return itertools.islice(frames, count)
    wanted, held, size, total = _spread(count, packets), [], 0, 0
    for index, time, frame in frames:
        total = index + 1
        if index in wanted and size <= _HELD_BYTES:
            held.append((index, time, frame))
            size += sum(plane.buffer_size for plane in frame.planes)
    if total == packets and size <= _HELD_BYTES:
        return iter(held)
    held.clear()
    wanted = _spread(count, total)
    return (one for one in _timed(path, limits) if one[0] in wanted)


def _spread(count: int, total: int) -> set[int]:
    return set(np.linspace(0, total - 1, min(count, total), dtype=int).tolist()) if total else set()


def _by_time(path: str | Path, per_second: float, limits: Limits) -> Iterator[tuple[int, float, Any]]:
    last = -1
    for index, time, frame in _timed(path, limits):
        tick = math.floor((time + _ROUNDING) * per_second)
        if tick > last:
            last = tick
            yield index, time, frame


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(swap x and y, then mirror x, then mirror y) that turn the picture upright, to the nearest right angle."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if swap else (False, a < 0, d < 0)
