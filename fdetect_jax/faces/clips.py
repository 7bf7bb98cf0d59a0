"""The faces of one file. In: the path of an image or a video. Out: a crop of each face in each sampled frame.

An image is a clip of one frame. Files may be hostile: call this in a process that may die (``media.isolated``).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.faces.boxes import area
from fdetect_jax.faces.crop import CropRecipe, crop
from fdetect_jax.faces.finder import Face, Faces
from fdetect_jax.faces.tracks import Tracker
from fdetect_jax.media.container import kind_of
from fdetect_jax.media.fit import Fit
from fdetect_jax.media.limits import Limits, UnreadableMedia
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.video import Frame, Sampling, VideoInfo, probe, read_frames

if TYPE_CHECKING:  # types.py imports JAX, which the worker processes that crop do not load
    from fdetect_jax.types import Example

WHICH = ("largest", "all")


@dataclass(frozen=True)
class FaceCrop:
    """One face in one frame.

    frame: its index among the frames that decode. time: seconds from the start. track: number of the person, from 0,
    the same in every frame. box: (x0, y0, x1, y1), brows to chin, in pixels of a frame of ``MediaFaces.size``, into
    which ``fit.on_canvas`` places those of another size. score: of the face detector, in [0, 1].
    """

    frame: int
    time: float
    track: int
    box: tuple[float, float, float, float]
    score: float
    example: "Example"


@dataclass(frozen=True)
class MediaFaces:
    """The faces found in a file.

    kind: "image" or "video". info: the video's properties. size: (width, height) of the first frame, upright, in
    pixels. frames: (index, seconds) of every frame examined, with or without a face. crops: in order of time.
    """

    kind: str
    info: VideoInfo | None
    size: tuple[int, int]
    frames: tuple[tuple[int, float], ...]
    crops: tuple[FaceCrop, ...]


def faces_of(
    path: str | Path,
    faces: Faces,
    recipe: CropRecipe,
    sampling: Sampling,
    which: str = "all",
    limits: Limits | None = None,
    cut: Callable[[np.ndarray, Face, CropRecipe], "Example"] = crop,
) -> MediaFaces:
    """Finds, follows and crops the faces of an image or a video.

    Args:
        path: an image or a video; the content decides, not the name. faces: the open face models. recipe: how to crop.
        sampling: which frames of a video are examined.
        which: "all", or "largest": the one track with the largest sum of box areas over the frames.
        limits: None: the default ones. cut: makes the crop.

    Raises:
        UnreadableMedia: see ``photos.read_photo`` and ``video.read_frames``.
        UserError: ``which`` is neither "all" nor "largest".
    """
    if which not in WHICH:
        raise UserError(f"faces: found {which!r}, wanted one of {', '.join(WHICH)}")
    limits = limits or Limits()
    kind = kind_of(path)
    if kind == "image":
        pixels = read_photo(path, limits)
        info, frames, size = None, iter([Frame(0, 0.0, pixels)]), (pixels.shape[1], pixels.shape[0])
    else:
        info = probe(path, limits)
        frames, size = read_frames(path, sampling, limits), (info.width, info.height)
    tracker, seen, crops, held, found = Tracker(), [], [], 0, []
    for number, frame in enumerate(frames):
        turn = number if kind == "video" else None
        found = faces.detect(frame.pixels, turn, [face.box for face in found])
        seen.append((frame.index, frame.time))
        fit = Fit.of((frame.pixels.shape[1], frame.pixels.shape[0]), size)  # the frame size may change within a video
        placed = [replace(face, box=fit.box(face.box)) for face in found]
        for face, one, track in zip(found, placed, tracker.update(placed), strict=True):
            example = cut(frame.pixels, face, recipe)
            held += sum(value.nbytes for value in example.values())
            if held > limits.crop_bytes:
                raise UnreadableMedia(f"over {len(crops)} face crops, {limits.crop_bytes} bytes: sample fewer frames")
            crops.append(FaceCrop(frame.index, frame.time, track, one.box, one.score, example))
    if which == "largest" and crops:
        largest = _largest(crops)
        crops = [one for one in crops if one.track == largest]
    return MediaFaces(kind, info, size, tuple(seen), tuple(crops))


def _largest(crops: list[FaceCrop]) -> int:
    areas: dict[int, float] = defaultdict(float)
    for one in crops:
        areas[one.track] += area(one.box)
    return max(areas, key=areas.__getitem__)
