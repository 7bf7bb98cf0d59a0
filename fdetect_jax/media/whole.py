"""Checks that a file is complete. In: a path. Out: nothing, or UnreadableMedia."""

from pathlib import Path

from fdetect_jax.media.animations import durations, pictures
from fdetect_jax.media.container import begins, kind_of, open_video, video_stream
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.video import probe

_SHORTEST = 0.95  # share of the header's duration; the last frame is often not counted


def check_whole(path: str | Path) -> None:
    """Decodes an image, and every frame of an animated one. For a video, compares all its packets with the header and
    decodes only one frame.

    Raises:
        UnreadableMedia: the file cannot be used, or ends before its header says.
    """
    if kind_of(path) == "image":
        read_photo(path)
        return
    frames = len(durations(path))
    if frames:
        decoded = sum(1 for _ in pictures(path, Limits()))
        if decoded < frames:
            raise UnreadableMedia(f"truncated: {decoded} of the {frames} frames in it decode")
        return
    info = probe(path)
    with open_video(path) as container:
        stream = video_stream(container)
        announced = float(stream.duration * stream.time_base) if stream.duration else info.duration
        if container.format.name == "avi" or "matroska" in container.format.name:
            announced -= max(0.0, begins(container, stream))  # their header counts from 0
    if info.duration < _SHORTEST * announced:
        raise UnreadableMedia(f"truncated: {info.duration:.1f} of the {announced:.1f} seconds in its header")
