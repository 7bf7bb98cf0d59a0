"""Is a file all there? In: a path. Out: nothing, or UnreadableMedia."""

from pathlib import Path

from fdetect_jax.media.container import kind_of, open_video, video_stream
from fdetect_jax.media.limits import UnreadableMedia
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.video import probe

_SHORTEST = 0.95  # of what the header says; the last frame's duration is often not counted


def check_whole(path: str | Path) -> None:
    """Decodes an image; of a video reads every packet and compares with its header, but decodes one frame alone.

    Raises:
        UnreadableMedia: it cannot be used, or ends before its header says so.
    """
    if kind_of(path) == "image":
        read_photo(path)
        return
    info = probe(path)
    with open_video(path) as container:
        stream = video_stream(container)
        said = float(stream.duration * stream.time_base) if stream.duration else info.duration
    if info.duration < _SHORTEST * said:
        raise UnreadableMedia(f"truncated: {info.duration:.1f} of the {said:.1f} seconds that its header says")
