"""Photographs to crops, in several processes. In: a folder and a recipe. Out: one Crop or one Rejected per
photo.
"""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.media.crop import CropRecipe, crop
from fdetect_jax.media.faces import Faces
from fdetect_jax.media.models import load_models
from fdetect_jax.media.photos import SUFFIXES, UnreadableMedia, read_photo

_WORTH_PROCESSES = 1000  # photos; below this, starting workers takes longer than the work
_CHUNK = 16

_faces: Faces | None = None


@dataclass(frozen=True)
class Crop:
    """image, mask: PNG bytes, (S, S, 3) RGB and (S, S, 1) in {0, 1}. landmarks: (68, 2) float32."""

    image: bytes
    mask: bytes
    landmarks: np.ndarray


@dataclass(frozen=True)
class Rejected:
    """A photo that gave no crop, and why."""

    reason: str


def find_photos(root: Path) -> tuple[list[str], int]:
    """Sorted paths of all photographs under ``root``, relative with "/", and the number of other files.

    Photographs are told by their suffix, in any case. Hidden files and folders are no photographs; linked
    folders are not entered.
    """
    photos, others = [], 0
    for folder, subfolders, names in os.walk(root):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            if Path(name).suffix.lower() in SUFFIXES and not name.startswith("."):
                photos.append((Path(folder) / name).relative_to(root).as_posix())
            else:
                others += 1
    return sorted(photos), others


def crop_photos(root: Path, photos: Sequence[str], recipe: CropRecipe) -> Iterator[Crop | Rejected]:
    """The largest face of each photo, in the order given.

    Raises:
        ModelsUnavailable: the face models cannot be had.
    """
    paths = [root / photo for photo in photos]
    workers = min(os.cpu_count() or 1, 16)
    if len(paths) < _WORTH_PROCESSES or workers == 1:
        with Faces() as faces:
            for path in paths:
                yield crop_largest(faces, path, recipe)
        return
    load_models()  # fetched once, and an error is raised here rather than in every worker
    # spawn: a fork would copy the threads of whatever the caller has loaded, and deadlock.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_open)
    try:
        yield from pool.map(_crop, paths, [recipe] * len(paths), chunksize=_CHUNK)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def crop_largest(faces: Faces, path: Path, recipe: CropRecipe) -> Crop | Rejected:
    """The crop of the largest face of one photo."""
    try:
        photo = read_photo(path)
    except UnreadableMedia as error:
        return Rejected(error.reason)
    found = faces.detect(photo)
    if not found:
        return Rejected("no face")
    if found[0].landmarks is None:
        return Rejected("no landmarks on the largest face")
    example = crop(photo, found[0], recipe)
    return Crop(_png(example["image"][..., ::-1]), _png(example["mask"]), example["landmarks"])


def _png(pixels: np.ndarray) -> bytes:
    return cv2.imencode(".png", pixels)[1].tobytes()


def _open() -> None:
    global _faces
    threading.Thread(target=_end_with, args=(multiprocessing.parent_process().sentinel,), daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle
    cv2.setNumThreads(1)
    _faces = Faces()


def _end_with(parent: int) -> None:
    multiprocessing.connection.wait([parent])  # a parent that is killed cannot shut its pool down
    os._exit(1)


def _crop(path: Path, recipe: CropRecipe) -> Crop | Rejected:
    return crop_largest(_faces, path, recipe)
