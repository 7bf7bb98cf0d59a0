"""Opens untrusted media files. In: a path. Out: the kind of file, or an open container, or UnreadableMedia.

The first bytes of a file decide how it is opened: with that one demuxer and through a Python file, so that no
playlist, other file or address is followed. Containers and codecs are allow-lists.
"""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

import av

from fdetect_jax.media.limits import Limits, UnreadableMedia

_CODECS = (
    *("h264", "hevc", "av1", "vp8", "vp9", "mpeg4", "mpeg1video", "mpeg2video"),
    *("mjpeg", "h263", "prores", "ffv1"),
)
_DECODERS = ("libdav1d",)  # decoders whose name differs from the codec's
_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp")
_STILLS = (b"avif", b"avis", b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
_WANTED = "wanted JPEG, PNG, WebP, BMP, TIFF, MP4, MOV, MKV, WebM, AVI or MPEG"


def kind_of(path: str | Path) -> str:
    """Whether a file is an "image" or a "video", by its first bytes; its name does not matter.

    Raises:
        UnreadableMedia: no file, an empty file, or a format that is not supported.
    """
    head = _head(Path(path))
    return "image" if _is_image(head) else "video" if _demuxer(head) else _refuse(head)


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
            container = av.open(file, format=demuxer, options=options, metadata_errors="replace")
            stack.enter_context(container)
            _vet(container, limits)
            video_stream(container).codec_context.options = options  # the options above are for probing only
        except (av.error.FFmpegError, OSError, ValueError) as error:
            if isinstance(error, UnreadableMedia):
                raise
            passing = isinstance(error, OSError) and not isinstance(error, av.error.FFmpegError)
            raise UnreadableMedia(f"cannot be opened: {_text(error)}", passing) from error
        yield container


def video_stream(container: Any) -> Any:
    """The video stream; a cover picture does not count.

    Raises:
        UnreadableMedia: the file has no video stream.
    """
    cover = av.stream.Disposition.attached_pic
    for stream in container.streams.video:
        if not stream.disposition & cover:
            return stream
    raise UnreadableMedia("sound without pictures" if container.streams.audio else "no video in it")


def packets_of(container: Any, streams: list[Any]) -> Iterator[Any]:
    """The packets up to the end or to damage that cannot be skipped; drops empty packets, which would end a decoder."""
    with contextlib.suppress(av.error.FFmpegError):
        for packet in container.demux(streams):
            if packet.size:
                yield packet


def check_size(picture: Any, limits: Limits) -> None:
    """Raises UnreadableMedia for a frame or a codec context whose width times height is over the limit."""
    if picture.width * picture.height > limits.frame_pixels:
        raise UnreadableMedia(f"{picture.width}x{picture.height} pixels, at most {limits.frame_pixels} are read")


def _head(path: Path) -> bytes:
    try:
        if not path.is_file():
            raise UnreadableMedia("not a file" if path.exists() else "no such file", passing=True)
        with open(path, "rb") as file:
            return file.read(400)
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
    if codec is None or codec.codec.canonical_name not in _CODECS:
        found = "unknown" if codec is None else codec.codec.canonical_name
        raise UnreadableMedia(f"codec {found}, wanted one of {', '.join(_CODECS)}")
    check_size(codec, limits)


def _text(error: Exception) -> str:
    return getattr(error, "strerror", None) or str(error)
