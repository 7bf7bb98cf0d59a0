"""Reads videos that nobody vouches for. In: a path. Out: what it is, and sampled frames as RGB, or UnreadableMedia.

A file is opened as what its first bytes say it is, with that one demuxer and through a Python file: no playlist, no
other file and no address is ever followed. Containers and codecs are allow-lists. A video is measured by its packets,
before anything is decoded; its header is not believed.
"""

import contextlib
import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import av
import numpy as np
from av.video.reformatter import ColorRange, Colorspace

from fdetect_jax.media.limits import Limits, UnreadableMedia

CODECS = (
    *("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg1video", "mpeg2video"),
    *("mjpeg", "h263", "prores", "ffv1"),
)
_DECODERS = ("libdav1d",)  # whose name is not the codec's
# AVColorSpace: BT.709, FCC, BT.470BG, SMPTE 170M, SMPTE 240M, BT.2020
_MATRICES = (1, 4, 5, 6, 7, 9)
_ROUNDING = 6e-4  # seconds; Matroska keeps whole milliseconds
_HELD_BYTES = 512 << 20  # of frames, while it is not yet known how many decode
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
_STILLS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_WANTED = "wanted JPEG, PNG, WebP, BMP, TIFF, MP4, MOV, MKV, WebM, AVI or MPEG"


@dataclass(frozen=True)
class Sampling:
    """Which frames of a video are read. Exactly one field is given.

    count: so many, evenly spaced from the first to the last that really decodes; all of a shorter video.
    per_second: at most so many in a second, by their times and not by their number.

    Raises:
        ValueError: both or none, or not positive.
    """

    count: int | None = None
    per_second: float | None = None

    def __post_init__(self):
        if (self.count is None) == (self.per_second is None):
            raise ValueError(f"sampling: found {self}, wanted either count or per_second")
        if self.count is not None and (type(self.count) is not int or self.count < 1):
            raise ValueError(f"sampling.count: found {self.count!r}, wanted a whole number of at least 1")
        if self.per_second is not None and not 0 < self.per_second < math.inf:
            raise ValueError(f"sampling.per_second: found {self.per_second!r}, wanted a number above 0")

    def to_dict(self) -> dict[str, float]:
        return {"count": self.count} if self.per_second is None else {"per_second": self.per_second}

    @classmethod
    def from_dict(cls, fields: dict[str, Any]) -> "Sampling":
        """Raises ValueError for fields that are none of a Sampling."""
        unknown = set(fields) - {"count", "per_second"}
        if unknown:
            raise ValueError(f"sampling: found {', '.join(sorted(unknown))}, wanted count or per_second")
        return cls(**fields)


@dataclass(frozen=True)
class Frame:
    """index: among the frames that decode. time: seconds from the first. pixels: (H, W, 3) uint8 RGB, upright."""

    index: int
    time: float
    pixels: np.ndarray


@dataclass(frozen=True)
class VideoInfo:
    """width, height: of a frame, upright. duration: seconds. frame_rate: frames a second, on average.

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
    """What a walk over the packets, without decoding, found. duration: seconds."""

    count: int
    duration: float


def kind_of(path: str | Path) -> str:
    """Whether a file is an "image" or a "video", by its first bytes; its name does not matter.

    Raises:
        UnreadableMedia: no file, empty, or none of the kinds that are read.
    """
    head = _head(Path(path))
    return "image" if _is_image(head) else "video" if _demuxer(head) else _refuse(head)


def probe(path: str | Path, limits: Limits | None = None) -> VideoInfo:
    """Describes a video by its packets and its first frame.

    Raises:
        UnreadableMedia: over the limits, not a video, of a container or codec that is not read, without pictures, or
            nothing decodes.
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
    """Decodes a video and yields the sampled frames, in order; damaged parts are passed over.

    For ``count`` a video is decoded once, and a second time only if it has other than one frame a packet, or if the
    sampled frames would fill the memory.

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


@contextlib.contextmanager
def open_video(path: str | Path, limits: Limits | None = None) -> Iterator[Any]:
    """An open ``av.container.InputContainer`` whose file, container, codec and frame size are within what is read.

    Raises:
        UnreadableMedia: see ``probe``; not for what happens in the body.
    """
    path, limits = Path(path), limits or Limits()
    head = _head(path)
    demuxer = _demuxer(head) or _refuse(head)
    size = path.stat().st_size
    if size > limits.video_bytes:
        raise UnreadableMedia(f"{size} bytes, at most {limits.video_bytes} are read")
    options = {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join((*CODECS, *_DECODERS)),
        "max_pixels": str(2 * limits.frame_pixels),  # of memory: decoders pad
    }
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        try:
            container = av.open(file, format=demuxer, options=options, metadata_errors="replace")
            stack.enter_context(container)
            _vet(container, limits)
            video_stream(container).codec_context.options = options  # those above are for looking into the file
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, UnreadableMedia):
                raise
            raise UnreadableMedia(f"cannot be opened: {_text(error)}") from error
        yield container


def video_stream(container: Any) -> Any:
    """The stream of moving pictures; a cover picture is none.

    Raises:
        UnreadableMedia: there is none.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    raise UnreadableMedia("sound without pictures" if container.streams.audio else "no video in it")


def to_rgb(frame: Any) -> np.ndarray:
    """An ``av.VideoFrame`` as (H, W, 3) uint8 RGB, upright as its display matrix says.

    Colour matrix and range are the frame's own; BT.601 where it names none, or one that swscale refuses. High dynamic
    range is not tone-mapped.
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


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UnreadableMedia("not a file" if path.exists() else "no such file")
        with open(path, "rb") as file:
            return file.read(400)
    except OSError as error:
        raise UnreadableMedia(f"cannot be opened: {error.strerror or error}") from error


def _is_image(head: bytes) -> bool:
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


def _demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins so."""
    if head[4:8] in _BOXES and head[8:12] not in _STILLS:
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    if any(head[at : at + 1] == head[at + 188 : at + 189] == b"G" for at in (0, 4)):
        return "mpegts"
    return None


def _refuse(head: bytes) -> NoReturn:
    if not head:
        raise UnreadableMedia("empty")
    if _is_image(head):
        raise UnreadableMedia("an image, wanted a video")
    if head[4:8] == b"ftyp" and head[8:12] in _STILLS:
        raise UnreadableMedia(f"a HEIF or AVIF picture, {_WANTED}")
    raise UnreadableMedia(f"no image or video, {_WANTED}")


def _vet(container: Any, limits: Limits) -> None:
    stream = video_stream(container)
    codec = stream.codec_context
    if codec is None or codec.codec.canonical_name not in CODECS:
        found = "unknown" if codec is None else codec.codec.canonical_name
        raise UnreadableMedia(f"codec {found}, wanted one of {', '.join(CODECS)}")
    _check_size(codec, limits)


def _check_size(picture: Any, limits: Limits) -> None:
    if picture.width * picture.height > limits.frame_pixels:
        raise UnreadableMedia(f"{picture.width}x{picture.height} pixels, at most {limits.frame_pixels} are read")


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)


def _packets(container: Any, stream: Any) -> Iterator[Any]:
    """The packets up to the end or to damage behind which there is no way; without empty ones, which end a decoder."""
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(stream):
            if packet.size:
                yield packet


def _walk(container: Any, limits: Limits) -> _Packets:
    stream = video_stream(container)
    base = stream.time_base
    count, start, end = 0, math.inf, -math.inf
    for packet in _packets(container, stream):
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
    """Every frame that decodes whole."""
    stream = video_stream(container)
    stream.codec_context.thread_count = 1
    for packet in _packets(container, stream):
        yield from _decode(stream, packet)
    yield from _decode(stream, None)


def _decode(stream: Any, packet: Any) -> list[Any]:
    try:
        return [frame for frame in stream.decode(packet) if not frame.is_corrupt]
    except av.error.FFmpegError:
        return []


def _timed(path: str | Path, limits: Limits) -> Iterator[tuple[int, float, Any]]:
    """(index, seconds from the first, frame); times never go back."""
    with open_video(path, limits) as container:
        stream = video_stream(container)
        step = 1 / float(stream.average_rate or 25)
        start, last = None, -step
        for index, frame in enumerate(_decoded(container)):
            if index >= limits.frames:
                raise UnreadableMedia(f"over {limits.frames} frames, at most so many are read")
            _check_size(frame, limits)  # it may grow on the way
            # A decoder that is being emptied gives frames without a time base: ``frame.time`` is nan then.
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
    """(swap x and y, then mirror x, then mirror y) that set the picture upright, to the nearest right angle."""
    matrix = frame.side_data.get("DISPLAYMATRIX")
    if matrix is None:
        return False, False, False
    a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # x' = a x + c y, y' = b x + d y
    swap = abs(b) + abs(c) > abs(a) + abs(d)
    return (True, c < 0, b < 0) if swap else (False, a < 0, d < 0)
