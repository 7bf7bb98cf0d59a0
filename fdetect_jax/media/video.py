"""Reads untrusted videos. In: a path. Out: properties of the video, and sampled RGB frames, or UnreadableMedia.

Length and rate come from the packets, before anything is decoded; the header is not trusted.
"""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_fields
from fdetect_jax.media.animations import durations, pictures
from fdetect_jax.media.container import begins, open_video, packets_of, video_stream
from fdetect_jax.media.fit import Size, resized, squared
from fdetect_jax.media.limits import Limits, UnreadableMedia, check_size

# AVColorSpace: BT.709, FCC, BT.470BG, SMPTE 170M, SMPTE 240M, BT.2020
_MATRICES = (1, 4, 5, 6, 7, 9)
_ROUNDING = 6e-4  # seconds; Matroska keeps whole milliseconds
_INDEXED = ("mov", "matroska")  # containers whose frames can be found without reading all before them
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
        """Raises UserError for fields that a Sampling does not have, or values that it cannot have."""
        return from_fields(cls, fields, "sampling")


@dataclass(frozen=True)
class Frame:
    """index: among the frames that decode. time: seconds from the first. pixels: (H, W, 3) uint8 RGB, upright and
    square; the size may change within a video."""

    index: int
    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """width, height: of the first frame, upright and with square pixels. duration: seconds. frame_rate: frames per
    second, on average. codec, container: FFmpeg's names; "animation" and "image" for an animated WebP or PNG.

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
    """Results of a pass over the packets without decoding. duration: seconds.

    stamps, keys: of each packet in the order of decoding, its time of display in the unit, and whether a decoder
    can start at it; empty where the file does not say so for all, or is damaged.
    """

    count: int
    duration: float
    codec: str
    container: str
    has_audio: bool
    stamps: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    keys: np.ndarray = field(default_factory=lambda: np.empty(0, bool))


def probe(path: str | Path, limits: Limits | None = None) -> VideoInfo:
    """Describes a video by its packets and its first frame.

    Raises:
        UnreadableMedia: over the limits, not a video, unsupported container or codec, no pictures, or no frame
            decodes.
    """
    limits = limits or Limits()
    packets = _walk(path, limits)
    shot = next(shots(path, limits), None)
    if shot is None:
        raise UnreadableMedia("no frame decodes")
    swap, *_ = _orientation(shot.frame)
    rotation = round(-shot.frame.rotation / 90) % 4 * 90
    rate = packets.count / packets.duration
    about = packets.codec, packets.container, rotation, packets.has_audio
    return VideoInfo(*shot.size[:: -1 if swap else 1], packets.duration, rate, *about)


def read_frames(path: str | Path, sampling: Sampling, limits: Limits | None = None) -> Iterator[Frame]:
    """Decodes a video and yields the sampled frames, in order; damaged parts are skipped.

    For ``count`` a video is decoded from the key frames before the sampled frames, where the container has an index and
    this saves half of the frames; else it is decoded once. It is decoded a second time only if its packets do not hold
    one frame each, or if the sampled frames would not fit in the memory limit.

    Raises:
        UnreadableMedia: see ``probe``.
    """
    limits = limits or Limits()
    packets = _walk(path, limits)
    if sampling.count is not None:
        frames = _evenly(path, sampling.count, packets, limits)
    else:
        frames = _by_time(path, sampling.per_second, limits)
    some = False
    for shot in frames:
        some = True
        yield Frame(shot.index, shot.time, to_rgb(shot.frame, shot.size))
    if not some:
        raise UnreadableMedia("no frame decodes")


def to_rgb(frame: Any, size: Size | None = None) -> np.ndarray:
    """An ``av.VideoFrame`` as (H, W, 3) uint8 RGB of ``size``, None: its own, turned upright by its display matrix.

    Uses the frame's colour matrix and range; BT.601 if it names none, or one that swscale rejects. High dynamic range
    is not tone-mapped.
    """
    if frame.colorspace not in _MATRICES:
        frame.colorspace = Colorspace.ITU601
    if frame.color_range not in (ColorRange.MPEG, ColorRange.JPEG):
        frame.color_range = ColorRange.UNSPECIFIED
    pixels = resized(frame.to_ndarray(format="rgb24", threads=1), size or (frame.width, frame.height))
    swap, mirror_x, mirror_y = _orientation(frame)
    if swap:
        pixels = pixels.swapaxes(0, 1)
    return np.ascontiguousarray(pixels[:: -1 if mirror_y else 1, :: -1 if mirror_x else 1])


def _walk(path: str | Path, limits: Limits) -> _Packets:
    lasting = durations(path)
    if lasting:
        _check_count(len(lasting), limits)
        return _Packets(len(lasting), _checked(sum(lasting), limits), "animation", "image", False)
    with open_video(path, limits) as container:
        stream = video_stream(container)
        base = stream.time_base
        count, start, end = 0, math.inf, -math.inf
        stamps, keys, indexed = [], [], container.format.name.startswith(_INDEXED)
        for packet in packets_of(container, [stream]):
            if packet.is_discard:
                indexed = False
                continue
            count += 1
            indexed = indexed and packet.pts is not None and not packet.is_corrupt
            if indexed:
                stamps.append(packet.pts)
                keys.append(packet.is_keyframe)
            _check_count(count, limits)
            if packet.pts is not None:
                start, end = min(start, packet.pts), max(end, packet.pts + (packet.duration or 0))
        if not count:
            raise UnreadableMedia("no frame in it: truncated or empty")
        duration = float((end - start) * base) if end > start else 0.0
        duration = _checked(duration or count / float(stream.average_rate or 25), limits)
        codec, has_audio = stream.codec_context.codec.canonical_name, bool(container.streams.audio)
        if not indexed or len(set(stamps)) < count:
            stamps, keys = [], []
        index = np.array(stamps, np.int64), np.array(keys, bool)
        return _Packets(count, duration, codec, container.format.name, has_audio, *index)


def _check_count(frames: int, limits: Limits) -> None:
    if frames > limits.frames:
        raise UnreadableMedia(f"over {limits.frames} frames, at most so many are read")


def _checked(duration: float, limits: Limits) -> float:
    if duration > limits.seconds:
        raise UnreadableMedia(f"lasts {duration:.0f} seconds, at most {limits.seconds:.0f} are read")
    return duration


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


class Shot(NamedTuple):
    """A decoded frame.

    index: among those that decode. time: seconds from the first; never less than the one before. moment: seconds on the
    file's own clock. frame: an ``av.VideoFrame``. size: (width, height) that it has with square pixels, before it is
    turned.
    """

    index: int
    time: float
    moment: float
    frame: Any
    size: Size


def shots(path: str | Path, limits: Limits) -> Iterator[Shot]:
    """Every frame of a video that decodes.

    Raises:
        UnreadableMedia: see ``probe``.
    """
    lasting = durations(path)
    if lasting:
        times = itertools.accumulate(lasting, initial=0.0)
        for index, (pixels, time) in enumerate(zip(pictures(path, limits), times, strict=False)):
            yield Shot(index, time, time, av.VideoFrame.from_ndarray(pixels, format="rgb24"), pixels.shape[1::-1])
        return
    with open_video(path, limits) as container:
        stream = video_stream(container)
        aspect = stream.sample_aspect_ratio
        ordered = container.format.name == "avi"  # which keeps the order of decoding and no times of display
        step = 1 / float(stream.average_rate or 25)
        origin, start, last = float((stream.start_time or 0) * stream.time_base), None, -step
        if ordered:  # empty frames may come first, while sound is heard
            with open_video(path, limits) as again:
                origin = begins(again, video_stream(again))
        for index, frame in enumerate(_decoded(container)):
            _check_count(index + 1, limits)
            check_size(frame, limits)  # the frame size may grow within a video
            stamp = frame.dts if ordered else frame.pts
            unknown = last + step + (origin if start is None else start)
            # While a decoder is drained its frames have no time base: ``frame.time`` is nan then.
            time = unknown if stamp is None else float(stamp * stream.time_base)
            start = time if start is None else start
            last = max(time - start, last)
            moment = last + (origin if ordered else start)
            yield Shot(index, last, moment, frame, squared((frame.width, frame.height), aspect, limits))


def _evenly(path: str | Path, count: int, packets: _Packets, limits: Limits) -> Iterator[Shot]:
    if packets.count <= count:
        return itertools.islice(shots(path, limits), count)
    wanted, held, size, total = _spread(count, packets.count), [], 0, 0
    if len(packets.stamps) and (found := _sought(path, sorted(wanted), packets, limits)) is not None:
        return iter(found)
    for shot in shots(path, limits):
        total = shot.index + 1
        if shot.index in wanted and size <= _HELD_BYTES:
            held.append(shot)
            size += sum(plane.buffer_size for plane in shot.frame.planes)
    if total == packets.count and size <= _HELD_BYTES:
        return iter(held)
    held.clear()
    wanted = _spread(count, total)
    return (shot for shot in shots(path, limits) if shot.index in wanted)


def _sought(path: str | Path, wanted: list[int], packets: _Packets, limits: Limits) -> list[Shot] | None:
    """The frames ``wanted``, counted in the order of display, each decoded from the key frame before it.

    None where that would decode over half of all frames, where one of them does not decode, or where they do not fit in
    the memory limit: then the whole video is decoded.
    """
    shown = np.sort(packets.stamps)
    starts = np.sort(packets.stamps[packets.keys])
    targets = shown[wanted]
    places = np.searchsorted(starts, targets, "right") - 1
    if places[0] < 0:
        return None
    groups = {int(start): targets[places == place] for place in np.unique(places) for start in [starts[place]]}
    through = sum(int(((shown >= start) & (shown <= stamps[-1])).sum()) for start, stamps in groups.items())
    if 2 * through > len(shown):
        return None
    found, size = [], 0
    with open_video(path, limits) as container:
        stream = video_stream(container)
        stream.codec_context.thread_count = 1
        aspect, unit = stream.sample_aspect_ratio, float(stream.time_base)
        for start, stamps in groups.items():
            try:
                container.seek(start, stream=stream)
            except av.error.FFmpegError:
                return None
            left = set(stamps.tolist())
            for frame in _until(container, stream, int(stamps[-1])):
                check_size(frame, limits)
                if frame.pts not in left:
                    continue
                left.remove(frame.pts)
                shape, moment = squared((frame.width, frame.height), aspect, limits), frame.pts * unit
                index = int(np.searchsorted(shown, frame.pts))
                found.append(Shot(index, moment - float(shown[0]) * unit, moment, frame, shape))
                size += sum(plane.buffer_size for plane in frame.planes)
            if left or size > _HELD_BYTES:
                return None
    return found


def _until(container: Any, stream: Any, stamp: int) -> Iterator[Any]:
    """Frames that decode completely, from where the container stands until the one that is shown at ``stamp``."""
    for packet in itertools.chain(packets_of(container, [stream]), [None]):
        for frame in _decode(stream, packet):
            yield frame
            if frame.pts is None or frame.pts >= stamp:
                return


def _spread(count: int, total: int) -> set[int]:
    return set(np.linspace(0, total - 1, min(count, total), dtype=int).tolist()) if total else set()


def _by_time(path: str | Path, per_second: float, limits: Limits) -> Iterator[Shot]:
    last = -1
    for shot in shots(path, limits):
        tick = math.floor((shot.time + _ROUNDING) * per_second)
        if tick > last:
            last = tick
            yield shot


def _orientation(frame: Any) -> tuple[bool, bool, bool]:
    """(swap x and y, then mirror x, then mirror y) that turn the picture upright, to the nearest right angle."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if swap else (False, a < 0, d < 0)
