"""What is read of media that nobody vouches for, and how a refusal is told."""

from dataclasses import dataclass


class UnreadableMedia(ValueError):
    """A file that cannot be used; ``reason`` says why, without the path."""

    def __init__(self, reason: str):
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True)
class Rejected:
    """Stands where the result of an item would, and says why there is none."""

    reason: str


@dataclass(frozen=True)
class Limits:
    """The most that is read; every figure is checked before a pixel is decoded.

    photo_bytes, photo_pixels, photo_side: of a photograph; the side is the most a JPEG can have, and spares decoders
    that keep a pointer for each row. video_bytes: of a video file. frame_pixels: of one frame (8K has 33 million).
    seconds, frames: of a whole video, as its packets say and not its header. crop_bytes: of the face crops of one file,
    which are held together.
    """

    photo_bytes: int = 64 << 20
    photo_pixels: int = 64_000_000
    photo_side: int = 65_535
    video_bytes: int = 4 << 30
    frame_pixels: int = 36_000_000
    seconds: float = 7200.0
    frames: int = 432_000
    crop_bytes: int = 1 << 30
