"""Reads animated pictures, WebP and PNG, as the clips they are. In: a path. Out: their frames and how long each lasts.

FFmpeg does not decode an animated WebP, Pillow does.
"""

import contextlib
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

import numpy as np

from fdetect_jax.media.limits import Limits, UnreadableMedia, check_size
from fdetect_jax.media.photos import open_photo, to_rgb

_SHORTEST, _USUAL = 0.01, 0.1  # seconds; browsers show a frame of at most the first for the second
_CHUNKS = 2_000_000  # of a file; the rest is not looked at


def durations(path: str | Path) -> list[float]:
    """Seconds that each frame of an animated WebP or PNG lasts, by its chunks alone; nothing is decoded.

    Returns:
        an empty list for a still, for every other file, and for one that cannot be read.
    """
    found: list[float] = []
    with contextlib.suppress(OSError):
        if Path(path).is_file():
            with open(path, "rb") as file:
                head = file.read(12)
                if head[:8] == b"\x89PNG\r\n\x1a\n":
                    file.seek(8)
                    found = list(_png(file))
                elif head[:4] == b"RIFF" and head[8:] == b"WEBP":
                    found = list(_webp(file))
    return [one if one > _SHORTEST else _USUAL for one in found] if len(found) > 1 else []


def pictures(path: str | Path, limits: Limits) -> Iterator[np.ndarray]:
    """The frames, (H, W, 3) uint8 RGB, transparent parts white, up to the first that does not decode.

    Raises:
        UnreadableMedia: as ``photos.read_photo`` does, for the file and its first frame.
    """
    some = False
    try:
        with open_photo(path, limits) as image:
            check_size(image, limits)
            # The picture for readers that know no animation may be none of its frames.
            first = 1 if image.info.get("default_image") else 0
            for number in range(first, getattr(image, "n_frames", 1)):
                image.seek(number)
                pixels = to_rgb(image)
                some = True
                yield pixels
    except UnreadableMedia:
        if not some:
            raise


def _png(file: BinaryIO) -> Iterator[float]:
    """https://www.w3.org/TR/png-3/#fcTL-chunk; a still has no acTL chunk before its pixels."""
    animated = False
    for name, content in _chunks(file, png=True):
        animated = animated or name == b"acTL"
        if name == b"IDAT" and not animated:
            return
        if name == b"fcTL" and len(content) == 26:
            above, below = struct.unpack_from(">HH", content, 20)
            yield above / (below or 100)


def _webp(file: BinaryIO) -> Iterator[float]:
    """https://developers.google.com/speed/webp/docs/riff_container#animation"""
    for name, content in _chunks(file, png=False):
        if name in (b"VP8 ", b"VP8L"):  # a still
            return
        if name == b"ANMF":
            yield int.from_bytes(content[12:15], "little") / 1000


def _chunks(file: BinaryIO, png: bool) -> Iterator[tuple[bytes, bytes]]:
    """(name, first bytes) of each chunk of a PNG, else of a RIFF file."""
    for _ in range(_CHUNKS):
        head = file.read(8)
        if len(head) < 8:
            return
        if png:
            size, name, after = int.from_bytes(head[:4], "big"), head[4:], 4
        else:
            size, name = int.from_bytes(head[4:], "little"), head[:4]
            after = size % 2
        start = file.tell()
        yield name, file.read(min(size, 26))
        file.seek(start + size + after)
