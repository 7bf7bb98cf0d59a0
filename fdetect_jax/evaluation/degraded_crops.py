"""Crops of faces under every degradation. In: pictures and the faces in them, as they were found before any damage.
Out: a file with each crop as it is and under each of ``degrade.CONDITIONS``.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Generic, TypeVar

import numpy as np

from fdetect_jax.evaluation.degrade import CONDITIONS, degraded
from fdetect_jax.faces.clips import MediaFaces, faces_of
from fdetect_jax.faces.crop import CropRecipe, crop
from fdetect_jax.faces.finder import Face, open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected, UnreadableMedia
from fdetect_jax.media.video import Sampling

CLIP = 8  # pictures of one clip, for what looks at several
_CLIP_BYTES = 256 << 20  # of a clip's pictures, or a single one
_FILE_BYTES = 8 << 30
Where = TypeVar("Where")


class DegradedCrops(Generic[Where]):
    """Writes a file, clip by clip: a picture is degraded as a whole, then its faces are cut out, so that every
    condition sees the same faces. A clip is of successive pictures of one size, ``CLIP`` at most.

    path: of the file. cut: (picture, face) -> (S, S, 3) uint8. seed, name: of the noise, which does not depend on what
    else is degraded.
    """

    def __init__(self, path: Path, cut: Callable[[np.ndarray, Where], np.ndarray], seed: int, name: str):
        path.unlink(missing_ok=True)  # of a process that died at it
        self._path, self._cut = path, cut
        self._seed = (seed, zlib.crc32(name.encode()))
        self._clip: list[tuple[np.ndarray, list[Where]]] = []
        self._clean: list[np.ndarray] = []  # the clip's crops
        self._started = self._rows = 0  # of the file: rows whose clip is complete, and all

    def add(self, picture: np.ndarray, face: Where) -> tuple[int, np.ndarray]:
        """The crop's row in the file, and the crop as it is. The faces of one picture follow one another.

        Raises UnreadableMedia where the file would grow too large.
        """
        if not self._clip or picture is not self._clip[-1][0]:
            if self._clip and (self._full() or picture.shape != self._clip[0][0].shape):
                self.end_clip()
            self._clip.append((picture, []))
        clean = self._cut(picture, face)
        self._clip[-1][1].append(face)
        self._clean.append(clean)
        self._rows += 1
        if self._rows * (1 + len(CONDITIONS)) * clean.nbytes > _FILE_BYTES:
            found = f"over {self._rows - 1} face crops to degrade, {_FILE_BYTES} bytes"
            raise UnreadableMedia(f"{found}: sample fewer frames")
        return self._rows - 1, clean

    def end_clip(self) -> None:
        """Degrades and writes what was added since the last clip; to be called after the last picture too."""
        if not self._clip:
            return
        pictures = [picture for picture, _ in self._clip]
        rows = np.empty((len(self._clean), 1 + len(CONDITIONS), *self._clean[0].shape), np.uint8)
        rows[:, 0] = self._clean
        for number, damaged in enumerate(degraded(pictures, (*self._seed, self._started)), 1):
            rows[:, number] = self._cut_all(damaged)
        with open(self._path, "ab") as file:
            file.write(rows.data)
        self._clip.clear()
        self._clean.clear()
        self._started = self._rows

    def _full(self) -> bool:
        return len(self._clip) == CLIP or sum(picture.nbytes for picture, _ in self._clip) > _CLIP_BYTES

    def _cut_all(self, pictures: list[np.ndarray]) -> list[np.ndarray]:
        groups = zip(pictures, (faces for _, faces in self._clip), strict=True)
        return [self._cut(picture, face) for picture, faces in groups for face in faces]


def read_degraded(path: Path, size: int) -> np.ndarray:
    """(K, 1 + C, S, S, 3) uint8, mapped and not read: of each row the crop as it is, then under each condition.

    size: S, of the crops. The file holds one row at least.
    """
    return np.memmap(path, np.uint8, "r").reshape(-1, 1 + len(CONDITIONS), size, size, 3)


def extract_degraded_faces(
    files: Iterable[tuple[Path, str]],
    scratch: Path,
    recipe: CropRecipe,
    sampling: Sampling,
    which: str = "all",
    *,
    seed: int = 0,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[MediaFaces | Rejected]:
    """As ``extract_faces``; the crops under every degradation lie in ``scratch/<number of the file>`` meanwhile, see
    ``read_degraded``, and each example's ``row`` says where. What is in there is the caller's to remove.

    Frames are degraded whole, after the faces were found in them as they are, and a file is decoded once. One file for
    each worker is under way, since these are large. files: (path, a name that seeds the noise).
    """
    recipe.require_detector()
    load_models()
    tasks = (
        (file, recipe, sampling, which, scratch / str(number), seed, name) for number, (file, name) in enumerate(files)
    )
    options = {"workers": workers, "seconds": seconds, "initializer": open_faces}
    return run_isolated(_look_degraded, tasks, ahead=1, **options)


def _look_degraded(task: tuple[Path, CropRecipe, Sampling, str, Path, int, str]) -> MediaFaces:
    path, recipe, sampling, which, output, seed, name = task
    crops = DegradedCrops[Face](output, lambda image, face: crop(image, face, recipe)["image"], seed, name)

    def cut(image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
        row, clean = crops.add(image, face)
        return {"image": clean, "row": np.int64(row)}

    seen = faces_of(path, own_faces(), recipe, sampling, which, cut=cut)
    crops.end_clip()
    return seen
