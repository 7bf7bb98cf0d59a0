"""What worker processes do for ``predict`` once a file has its verdict: draw its annotated copy. No JAX."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.files import write_atomic
from fdetect_jax.media.photos import read_photo
from fdetect_jax.media.transcode import transcode
from fdetect_jax.media.video import probe
from fdetect_jax.predict.draw import Painter, heat_sheet, overlaid
from fdetect_jax.predict.verdict import Verdict


@dataclasses.dataclass(frozen=True)
class Heat:
    """Crops of a file (N, S, S, 3) uint8, their heat maps (N, h, w) in [0, 1], P(fake) (N,) and tracks (N,).

    attention: None where no heat maps are wanted. masks: whether the maps are masks of what was altered.
    """

    images: np.ndarray
    attention: np.ndarray | None
    scores: np.ndarray
    tracks: np.ndarray
    masks: bool = False


@dataclasses.dataclass(frozen=True)
class Shown:
    """What was written, as paths below the output folder, or None. poster: the frame of a video's copy with the highest
    score. pictures: by the name of their evidence. portraits: by track, its most suspicious face, and the same under
    its heat map or None. note: what the annotated copy lacks, or ""."""

    annotated: str | None = None
    heat_map: str | None = None
    poster: str | None = None
    pictures: Mapping[str, str] = dataclasses.field(default_factory=dict)
    portraits: Mapping[int, tuple[str, str | None]] = dataclasses.field(default_factory=dict)
    note: str = ""


def show(task: tuple[Path, Path, Path, Verdict, Heat | None, bool, bool]) -> Shown:
    """Writes the annotated copy of one file, its heat map and the pictures of its evidence, where there are such.

    Nothing is written for a file that cannot be read. task: ends with whether heat maps and whether portraits are
    wanted.
    """
    file, output, name, verdict, heat, maps, portraits = task
    if verdict.kind is None:
        return Shown()
    suffix = ".annotated.mp4" if verdict.kind == "video" else ".annotated.png"
    annotated, poster, note = name.with_name(name.name + suffix), None, ""
    if verdict.kind == "video":
        info = probe(file)
        painter = _Poster(Painter(verdict, (info.width, info.height)), verdict)
        note = transcode(file, output / annotated, painter)
        if painter.frame is not None:
            poster = name.with_name(f"{annotated.name}.jpg")
            write_atomic(output / poster, cv2.imencode(".jpg", painter.frame[..., ::-1])[1].tobytes())
    else:
        picture = read_photo(file)
        size = picture.shape[1], picture.shape[0]
        write_atomic(output / annotated, _png(Painter(verdict, size)(picture, 0.0)))
    heat_map = None
    if heat is not None and maps:
        heat_map = name.with_name(name.name + ".heat.png")
        write_atomic(output / heat_map, _png(heat_sheet(heat.images, heat.attention, heat.scores, heat.masks)))
    pictures = {}
    for one in verdict.evidence:
        if one.picture is not None:
            picture = name.with_name(f"{name.name}.{one.name}.png")
            write_atomic(output / picture, _png(one.picture))
            pictures[one.name] = picture.as_posix()
    paths = (path and path.as_posix() for path in (annotated, heat_map, poster))
    people = _portraits(output, name, heat, maps) if heat is not None and portraits else {}
    return Shown(*paths, pictures, people, note)


def _portraits(output: Path, name: Path, heat: Heat, maps: bool) -> dict[int, tuple[str, str | None]]:
    written = {}
    for index in np.argsort(heat.scores, kind="stable"):  # the last one of a track is its most suspicious
        written[int(heat.tracks[index])] = index
    for track, index in written.items():
        crop, under = name.with_name(f"{name.name}.face{track}.jpg"), None
        image = heat.images[index]
        write_atomic(output / crop, cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes())
        if maps:
            under = name.with_name(f"{name.name}.face{track}.heat.png")
            write_atomic(output / under, _png(overlaid(image, heat.attention[index], heat.masks)))
        written[track] = crop.as_posix(), under and under.as_posix()
    return written


class _Poster:
    """A painter that keeps the first frame at or after the moment of the highest score."""

    def __init__(self, painter: Painter, verdict: Verdict):
        self._painter, self.frame = painter, None
        scored = [(score, -time) for time, score in verdict.frames if score is not None]
        self._time = -max(scored)[1] if scored else 0.0

    def __call__(self, frame: np.ndarray, time: float) -> np.ndarray:
        drawn = self._painter(frame, time)
        if self.frame is None and time >= self._time - 1e-3:
            self.frame = drawn.copy()
        return drawn


def _png(picture: np.ndarray) -> bytes:
    return cv2.imencode(".png", picture[..., ::-1])[1].tobytes()
