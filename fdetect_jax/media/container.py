"""Opens untrusted media files. In: a path. Out: the kind of file, or an open container, or UnreadableMedia.

The first bytes of a file decide how it is opened: with that one demuxer and through a Python file, so that no
playlist, other file or address is followed. Containers and codecs are allow-lists.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import av

from fdetect_jax.media.animations import durations
from fdetect_jax.media.limits import Limits, UnreadableMedia, check_size

_CODECS = (
    *("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg1video", "mpeg2video"),
    *("mjpeg", "h263", "prores", "ffv1"),
)
_SOUNDS = (
    *("aac", "aac_latm", "mp3", "mp2", "ac3", "eac3", "dts", "opus", "vorbis", "flac", "alac", "amr_nb", "amr_wb"),
    *("adpcm_ms", "adpcm_ima_wav", "adpcm_ima_qt", "wmav2", "pcm_alaw", "pcm_mulaw", "pcm_bluray", "pcm_dvd"),
    *("pcm_u8", "pcm_s8", "pcm_s16le", "pcm_s16be", "pcm_s24le", "pcm_s24be", "pcm_s32le", "pcm_s32be"),
    *("pcm_f32le", "pcm_f32be", "pcm_f64le", "pcm_f64be"),
)
_DECODERS = ("libdav1d",)  # decoders whose name differs from the codec's
# Names in a file may be of any bytes; PyAV 19 always reads them.
_TOLERANT = {"metadata_errors": "replace"} if int(av.__version__.partition(".")[0]) < 19 else {}
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
_PACKETS = (188, 192, 204)  # bytes, of a transport stream: broadcast, cameras (4 before each), with error correction
_SYNCS = 5  # packets in a row that begin as they must
_HEAD = 204 * (_SYNCS + 1)  # bytes that tell what a file is; a recording may begin within a packet
_STILLS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_WANTED = "wanted JPEG, PNG, WebP, BMP, TIFF, MP4, MOV, MKV, WebM, AVI or MPEG"


def kind_of(path: str | Path) -> str:
    """Whether a file is an "image" or a "video", by its content; its name does not matter. What is animated is a video.

    Raises:
        UnreadableMedia: no file, an empty file, or a format that is not supported.
    """
    head = _head(Path(path))
    if _is_image(head):
        return "video" if durations(path) else "image"
    return "video" if _demuxer(head) else _refuse(head)


@contextlib.contextmanager
def open_video(path: str | Path, limits: Limits | None = None) -> Iterator[Any]:
    """Yields an open ``av.container.InputContainer`` whose size, format, codec and frame size are allowed.

    Raises:
        UnreadableMedia: no file, over the limits, not a video, unsupported container or codec, damaged header, or no
            pictures. Damage after the header is not reported here.
    """
    path, limits = Path(path), limits or Limits()
    head = _head(path)
    demuxer = _demuxer(head) or _refuse(head)
    size = path.stat().st_size
    if size > limits.video_bytes:
        raise UnreadableMedia(f"{size} bytes, at most {limits.video_bytes} are read")
    options = {
        "protocol_whitelist": "none",
        "codec_whitelist": ",".join((*_CODECS, *_DECODERS)),
        "max_pixels": str(2 * limits.frame_pixels),  # memory limit: decoders pad frames
    }
    with contextlib.ExitStack() as stack:
        file = stack.enter_context(open(path, "rb"))
        try:
            container = av.open(file, format=demuxer, options=options, **_TOLERANT)
            stack.enter_context(container)
            codec = video_stream(container).codec_context
            check_size(codec, limits)
            codec.options = options  # those above are for probing only
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, UnreadableMedia):
                raise
            passing = isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError)
            raise UnreadableMedia(f"cannot be opened: {_text(error)}", passing) from error
        yield container


def video_stream(container: Any) -> Any:
    """The stream that players show: of those with an allowed codec the default one, else the largest, else the fastest.

    Cover pictures and thumbnails do not count.

    Raises:
        UnreadableMedia: the file has no video stream, or none with an allowed codec.
    """
    beside = av.stream.Disposition.attached_pic | av.stream.Disposition.timed_thumbnails
    streams = [one for one in container.streams.video if not one.disposition & beside]
    if not streams:
        raise UnreadableMedia("sound without pictures" if container.streams.audio else "no video in it")
    allowed = [one for one in streams if _codec(one) in _CODECS]
    if not allowed:
        raise UnreadableMedia(f"codec {_codec(streams[0])}, wanted one of {', '.join(_CODECS)}")

    def rank(stream: Any) -> tuple:
        size = stream.codec_context.width * stream.codec_context.height
        return size > 0, bool(stream.disposition & av.stream.Disposition.default), size, stream.average_rate or 0

    return max(allowed, key=rank)


def sound_stream(container: Any) -> Any:
    """The stream that players play: of those with an allowed codec the default one, else the first.

    Raises:
        UnreadableMedia: of the sound in the container, which has some, none has an allowed codec.
    """
    streams = [one for one in container.streams.audio if _codec(one) in _SOUNDS]
    if not streams:
        raise UnreadableMedia(f"codec {_codec(container.streams.audio[0])} is not read")
    return next((one for one in streams if one.disposition & av.stream.Disposition.default), streams[0])


def packets_of(container: Any, streams: list[Any]) -> Iterator[Any]:
    """The packets up to the end or to damage that cannot be skipped; drops empty packets, which would end a decoder."""
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(streams):
            if packet.size:
                yield packet


def begins(container: Any, stream: Any) -> float:
    """Seconds, on the file's own clock, of the stream's first packet that holds something; the container is read."""
    first = next(packets_of(container, [stream]), None)
    moment = None if first is None else first.dts if first.pts is None else first.pts
    return 0.0 if moment is None else float(moment * stream.time_base)


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UnreadableMedia("not a file" if path.exists() else "no such file", passing=True)
        with open(path, "rb") as file:
            return file.read(_HEAD)
    except OSError as error:
        raise UnreadableMedia(f"cannot be opened: {error.strerror or error}", passing=True) from error


def _is_image(head: bytes) -> bool:
    return head.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"BM", b"II*\0", b"MM\0*")) or (
        head[:4] == b"RIFF" and head[8:12] == b"WEBP"
    )


def _demuxer(head: bytes) -> str | None:
    """FFmpeg's name of the demuxer for a file that begins with ``head``."""
    if head[4:8] in _BOXES and head[8:12] not in _STILLS:
        return "mov"
    if head[:4] == b"\x1aE\xdf\xa3":
        return "matroska"
    if head[:4] == b"RIFF" and head[8:12] == b"AVI ":
        return "avi"
    if head[:4] == b"\x00\x00\x01\xba":
        return "mpeg"
    return "mpegts" if _is_transport(head) else None


def _is_transport(head: bytes) -> bool:
    """Whether packets of a transport stream begin at the start, or later: a recording may begin within a packet."""
    if any(head[at::step][:3] == b"GGG" for at, step in ((0, 188), (4, 192), (0, 204))):
        return True
    runs = (head[at::step][:_SYNCS] for step in _PACKETS for at in range(step))
    return b"G" * _SYNCS in runs and head.count(b"G") < len(head) // 4  # no text of that letter


def _refuse(head: bytes) -> NoReturn:
    if not head:
        raise UnreadableMedia("empty")
    if _is_image(head):
        raise UnreadableMedia("an image, wanted a video")
    if head[4:8] == b"ftyp" and head[8:12] in _STILLS:
        raise UnreadableMedia(f"a HEIF or AVIF picture, {_WANTED}")
    raise UnreadableMedia(f"no image or video, {_WANTED}")


def _codec(stream: Any) -> str:
    return "unknown" if stream.codec_context is None else stream.codec_context.codec.canonical_name


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
