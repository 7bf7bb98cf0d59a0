"""Extracts the faces of many files in worker processes. In: files. Out: the crops of each, or why there are none."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fdetect_jax.faces.clips import MediaFaces, faces_of
from fdetect_jax.faces.crop import CropRecipe, crop
from fdetect_jax.faces.finder import Face, open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.video import Sampling


def extract_faces(
    files: Iterable[Path],
    recipe: CropRecipe,
    sampling: Sampling,
    which: str = "all",
    *,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[MediaFaces | Rejected]:
    """``clips.faces_of`` for every file, in order; each crop holds only its image.

    The processes start now. Close it to end them early.

    workers: processes; None: one per core. seconds: time limit per file.

    Raises:
        UserError: the recipe was made with another face detector. ModelsUnavailable: the face models cannot be had.
    """
    recipe.require_detector()
    load_models()  # fetched once; a failure is raised here rather than in every worker
    tasks = ((file, recipe, sampling, which) for file in files)
    return run_isolated(_look, tasks, workers=workers, seconds=seconds, initializer=open_faces, at_once=True)


def _look(task: tuple[Path, CropRecipe, Sampling, str]) -> MediaFaces:
    path, recipe, sampling, which = task
    return faces_of(path, own_faces(), recipe, sampling, which, cut=_image_alone)


def _image_alone(image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
    return {"image": crop(image, face, recipe)["image"]}  # the only part that is sent back
