"""Limits for untrusted media, and the errors that report a rejected file."""

from dataclasses import dataclass, field
from typing import Any


class UnreadableMedia(ValueError):
    """A file that cannot be used; ``reason`` says why, without the path.

    passing: whether the failure may pass, such as a missing permission; else it is a verdict on the file's bytes.
    """

    def __init__(self, reason: str, passing: bool = False):
        super().__init__(reason)
        self.reason, self.passing = reason, passing


@dataclass(frozen=True)
class Rejected:
    """Stands in the place of an item's result, with the reason why there is none.

    passing: whether the failure may pass: a time limit, a killed process, a full disk, a missing permission. Only what
    does not pass is remembered as a result.
    """

    reason: str
    passing: bool = field(default=False, compare=False)


@dataclass(frozen=True)
class Limits:
    """Upper limits of what is read. Sizes are checked before a pixel is decoded.

    photo_bytes, photo_pixels, photo_side: of a photograph or an animated picture; photo_side is the largest that JPEG
    allows, and protects decoders that keep a pointer for each row. video_bytes: of a video file. frame_pixels: of one
    frame (8K has 33 million). seconds, frames: of a whole video, counted from its packets, not its header. crop_bytes:
    of all face crops of one file, which are held in memory together.
    """

    photo_bytes: int = 64 << 20
    photo_pixels: int = 64_000_000
    photo_side: int = 65_535
    video_bytes: int = 4 << 30
    frame_pixels: int = 36_000_000
    seconds: float = 7200.0
    frames: int = 432_000
    crop_bytes: int = 1 << 30


def check_size(picture: Any, limits: Limits) -> None:
    """Raises UnreadableMedia for a frame, picture or codec context whose width times height is over the limit."""
    if picture.width * picture.height > limits.frame_pixels:
        raise UnreadableMedia(f"{picture.width}x{picture.height} pixels, at most {limits.frame_pixels} are read")
