"""The faces of many files, seen by processes that may die. In: files. Out: the crops of each, or why there are none."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.media.clips import MediaFaces, faces_of
from fdetect_jax.media.crop import CropRecipe, crop
from fdetect_jax.media.faces import Face, Faces
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.models import load_models
from fdetect_jax.media.video import Sampling

_faces: Faces | None = None  # of this process


def look_at(
    files: Iterable[Path],
    recipe: CropRecipe,
    sampling: Sampling,
    which: str = "all",
    *,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[MediaFaces | Rejected]:
    """``clips.faces_of`` of every file, in order; of each crop the image alone. Close it to end the processes early.

    workers: processes; None: one per core. seconds: that one file may take.

    Raises:
        ValueError: the recipe was made with another face detector. ModelsUnavailable: it cannot be had.
    """
    recipe.require_detector()
    load_models()  # fetched once, and an error is raised here rather than in every worker
    tasks = ((file, recipe, sampling, which) for file in files)
    return run_isolated(_look, tasks, workers=workers or os.cpu_count() or 1, seconds=seconds, initializer=_open_faces)


def _open_faces() -> None:
    global _faces
    cv2.setNumThreads(1)
    _faces = Faces()


def _look(task: tuple[Path, CropRecipe, Sampling, str]) -> MediaFaces:
    path, recipe, sampling, which = task
    return faces_of(path, _faces, recipe, sampling, which, cut=_image_alone)


def _image_alone(image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
    return {"image": crop(image, face, recipe)["image"]}  # all that travels back
