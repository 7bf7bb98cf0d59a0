"""One video or image of a data set, cropped: a record on disk. In: a Task. Out: its file, written whole or not at all.

Worker processes run this, on one machine or on many; it does not need JAX. A record that exists is not made again.
"""

import dataclasses
import io
import json
import zipfile
import zlib
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.faces.clips import MediaFaces, faces_of
from fdetect_jax.faces.crop import CropRecipe, context_crop, crop
from fdetect_jax.faces.finder import Face, open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.fields import from_json
from fdetect_jax.files import sha256_of, write_atomic
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected, UnreadableMedia
from fdetect_jax.media.video import Sampling, read_frames

if TYPE_CHECKING:  # types.py imports JAX, which the worker processes that crop do without
    from fdetect_jax.types import Example

FORMAT = 1  # part of every record's name; raise it when what is written changes
_WHITE = 127  # masks are black and white, blurred by their compression
_TOUCHED = 0.02  # of the pixels in the middle of an altered face, at the least


@dataclasses.dataclass(frozen=True)
class Task:
    """file: to crop. real: nothing in it is altered. mask: a video that is white where the file is altered, or None.
    which: of ``clips.WHICH``. record: the file to write."""

    file: Path
    real: bool
    mask: Path | None
    recipe: CropRecipe
    sampling: Sampling
    which: str
    record: Path


@dataclasses.dataclass(frozen=True)
class Record:
    """The N faces found in a file, in order of time.

    reason: why there is none, or "". passing: whether that may pass, see ``limits.Rejected``. note: why its mask was
    not used, or "". sha256: of the file, "" if it cannot be read. looked: how many frames were searched for faces.
    frame, track: (N,) int32. time: (N,) float32, seconds. face: (N, 4) float32, the face's box in the frame. score:
    (N,) float32, the face detector's. landmarks: (N, 68, 2) float32 in pixels of the crop, nan where there are none.
    box: (N, 4) float32, of the face in a context crop, else nan. images: PNG of each crop. altered: PNG, (H, W, 1), of
    where it was altered; b"" where that is not known. untouched: (N,) bool, True for a face of a fake video that its
    mask shows unaltered.
    """

    reason: str = ""
    passing: bool = False
    note: str = ""
    sha256: str = ""
    looked: int = 0
    frame: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    track: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    time: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
    face: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.float32))
    score: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.float32))
    landmarks: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 68, 2), np.float32))
    box: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros((0, 4), np.float32))
    untouched: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(0, np.bool_))
    images: Sequence[bytes] = ()
    altered: Sequence[bytes] = ()


def finish(
    tasks: Sequence[Task],
    workers: int,
    seconds: float,
    watch: Callable[[Iterable, int, int], Iterable] = lambda items, done, total: items,
) -> None:
    """Makes the missing records in worker processes, and those again whose failure may pass.

    The record of a file that cannot be used states the reason.

    Args:
        workers: processes. seconds: the most that one file may take. watch: (results, number done before, number of
            all) -> results; shows progress.

    Raises:
        ModelsUnavailable: the face models cannot be had.
    """
    left = [task for task in tasks if not _is_made(task.record)]
    if not left:
        return
    load_models()  # fetched once, and an error is raised here rather than in every worker
    found = run_isolated(make, left, workers=min(workers, len(left)), seconds=seconds, initializer=open_faces)
    with closing(found) as results:
        watched = watch(results, len(tasks) - len(left), len(tasks))
        for task, result in zip(left, watched, strict=True):
            if isinstance(result, Rejected):
                _write(task.record, Record(result.reason, result.passing, sha256=_sha256(task.file)))


def _is_made(path: Path) -> bool:
    """Whether there is a record of a result that stays, one that can be read."""
    try:
        return path.is_file() and not read(path, crops=False).passing
    except UserError:
        return False


def make(task: Task) -> None:
    """Crops one file with this process's face models."""
    digest = _sha256(task.file)
    try:
        record = _record(task)
    except UnreadableMedia as error:
        record = Record(error.reason, error.passing)
    _write(task.record, dataclasses.replace(record, sha256=digest))


def read(path: Path, crops: bool = True) -> Record:
    """A record; without ``crops`` its images are left out. Raises UserError where its file is damaged."""
    try:
        with open(path, "rb") as file, np.load(file, allow_pickle=False) as arrays:
            fields = from_json(arrays["fields"].tobytes())
            plain = {name: arrays[name] for name in _ARRAYS}
            if crops:
                plain |= {name: _split(arrays[name], arrays[f"{name}_ends"]) for name in _BYTES}
        return Record(**fields, **plain)
    except _DAMAGED as error:
        why = f"{type(error).__name__}: {error}"
        raise UserError(
            f"{path}: found a damaged record ({why}), wanted it whole, or no file to make it again"
        ) from None


_DAMAGED = (ValueError, TypeError, KeyError, AttributeError, EOFError, zipfile.BadZipFile, zlib.error)
_BYTES = ("images", "altered")
_FIELDS = ("reason", "passing", "note", "sha256", "looked")
_ARRAYS = tuple(one.name for one in dataclasses.fields(Record) if one.name not in (*_BYTES, *_FIELDS))


def _write(path: Path, record: Record) -> None:
    fields = json.dumps({name: getattr(record, name) for name in _FIELDS})
    arrays = {name: getattr(record, name) for name in _ARRAYS} | {"fields": np.frombuffer(fields.encode(), np.uint8)}
    for name in _BYTES:
        parts = getattr(record, name)
        arrays[name] = np.frombuffer(b"".join(parts), np.uint8)
        arrays[f"{name}_ends"] = np.cumsum([len(one) for one in parts], dtype=np.int64)
    content = io.BytesIO()
    np.savez(content, **arrays)
    write_atomic(path, content.getvalue())


def _split(content: np.ndarray, ends: np.ndarray) -> list[bytes]:
    return [part.tobytes() for part in np.split(content, ends)[:-1]]


def _record(task: Task) -> Record:
    cutter = _Cutter()
    media = faces_of(task.file, own_faces(), task.recipe, task.sampling, task.which, cut=cutter)
    crops = media.crops
    if not crops:
        return Record(reason="no face", looked=len(media.frames))
    altered, untouched, note = _altered(task, media, cutter)
    nothing = np.full((68, 2), np.nan, np.float32), np.full(4, np.nan, np.float32)
    return Record(
        note=note,
        looked=len(media.frames),
        frame=np.array([one.frame for one in crops], np.int32),
        track=np.array([one.track for one in crops], np.int32),
        time=np.array([one.time for one in crops], np.float32),
        face=np.array([one.box for one in crops], np.float32),
        score=np.array([one.score for one in crops], np.float32),
        landmarks=np.stack([one.example.get("landmarks", nothing[0]) for one in crops]),
        box=np.stack([one.example.get("box", nothing[1]) for one in crops]),
        images=[_png(one.example["image"][..., ::-1]) for one in crops],
        altered=altered,
        untouched=untouched,
    )


class _Cutter:
    """Cuts face crops, or context crops where training draws its own; keeps each crop's face to cut its mask alike."""

    def __init__(self):
        self._faces: dict[int, Face] = {}

    def __call__(self, image: np.ndarray, face: Face, recipe: CropRecipe) -> "Example":
        example = (crop if recipe.training_margins is None else context_crop)(image, face, recipe)
        self._faces[id(example)] = face
        return example

    def again(self, image: np.ndarray, example: "Example", recipe: CropRecipe) -> np.ndarray:
        """Another image of the same size as the one that ``example`` was cut from, cut alike."""
        return self(image, self._faces[id(example)], recipe)["image"]


def _altered(task: Task, media: MediaFaces, cutter: _Cutter) -> tuple[list[bytes], np.ndarray, str]:
    """PNGs of where each crop was altered, which faces of a fake are unaltered, and why the mask was not used."""
    sizes = [one.example["image"].shape[:2] for one in media.crops]
    altered, untouched = [b""] * len(sizes), np.zeros(len(sizes), np.bool_)
    if task.real:
        return [_png(np.zeros(size, np.uint8)) for size in sizes], untouched, ""
    if task.mask is None:
        return altered, untouched, ""
    at_frame = {frame: [k for k, one in enumerate(media.crops) if one.frame == frame] for frame, _ in media.frames}
    try:
        for frame in read_frames(task.mask, task.sampling):
            height, width = frame.pixels.shape[:2]
            if (width, height) != media.size:
                raise UnreadableMedia(f"{width}x{height} pixels, wanted the video's {media.size[0]}x{media.size[1]}")
            for k in at_frame.get(frame.index, ()):
                cut = cutter.again(frame.pixels, media.crops[k].example, task.recipe)
                cut = (cut.max(axis=2) > _WHITE).astype(np.uint8)
                altered[k] = _png(cut)
                untouched[k] = _middle(cut, media.crops[k].example.get("box")).mean() < _TOUCHED
    except UnreadableMedia as error:
        return [b""] * len(sizes), np.zeros_like(untouched), error.reason
    missing = sum(not one for one in altered)
    note = f"shorter than the video, nothing for {missing} of {len(altered)} crops" if missing else ""
    return altered, untouched, note


def _middle(cut: np.ndarray, box: np.ndarray | None) -> np.ndarray:
    """The inner half of the face's box, or of the crop: a neighbour's mask reaches into the outer one."""
    x0, y0, x1, y1 = (0, 0, cut.shape[1], cut.shape[0]) if box is None else box
    low = np.maximum([0.75 * y0 + 0.25 * y1, 0.75 * x0 + 0.25 * x1], 0).astype(int)
    high = np.maximum([0.25 * y0 + 0.75 * y1, 0.25 * x0 + 0.75 * x1], low + 1).astype(int)
    return cut[low[0] : high[0], low[1] : high[1]]


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError:
        return ""
