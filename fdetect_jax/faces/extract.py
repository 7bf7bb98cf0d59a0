"""Extracts the faces of many files in worker processes. In: files. Out: the crops of each, or why there are none."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.faces.clips import MediaFaces, faces_of
from fdetect_jax.faces.crop import CropRecipe, crop, views
from fdetect_jax.faces.finder import Face, open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.media.isolated import Workers
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.video import Sampling


def extract_faces(
    files: Iterable[Path],
    recipe: CropRecipe,
    sampling: Sampling,
    which: str = "all",
    count: int = 1,
    *,
    workers: int | None = None,
    seconds: float = 600.0,
    readers: Workers | None = None,
) -> Iterator[MediaFaces | Rejected]:
    """``clips.faces_of`` for every file, in order; each crop holds only its image, and ``views``, (count, S, S, 3), if
    ``count`` is above 1.

    Close it to end the processes early.

    count: views of a face, see ``crop.views``.
    workers, seconds: as for ``start_readers``. readers: what that returned; None: it is called here.

    Raises:
        UserError: the recipe was made with another face detector, or draws no margins for views. ModelsUnavailable: the
            face models cannot be had.
    """
    recipe.require_detector()
    if count > 1 and recipe.training_margins is None:
        raise UserError(f"views: found {count}, wanted 1: the crop recipe of this detector draws no margins")
    readers = start_readers(workers, seconds) if readers is None else readers
    return readers.run((file, recipe, sampling, which, count) for file in files)


def start_readers(workers: int | None = None, seconds: float = 600.0, keep: bool = False) -> Workers:
    """Processes for ``extract_faces`` that start now: they need a second, in which the caller can load its detector.

    Close them, or the results of ``extract_faces``. workers: processes; None: one per core. seconds: time limit per
    file. keep: whether they wait for further files when ``extract_faces`` is done.

    Raises:
        UserError: workers or seconds not positive. ModelsUnavailable: the face models cannot be had.
    """
    load_models()  # fetched once; a failure is raised here rather than in every worker
    return Workers(_look, workers=workers, seconds=seconds, initializer=open_faces, keep=keep).start()


def _look(task: tuple[Path, CropRecipe, Sampling, str, int]) -> MediaFaces:
    path, recipe, sampling, which, count = task
    return faces_of(path, own_faces(), recipe, sampling, which, cut=functools.partial(_pixels_alone, count))


def _pixels_alone(count: int, image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
    found = {"image": crop(image, face, recipe)["image"]}  # landmarks and mask are not sent back
    return found if count == 1 else found | {"views": views(image, face, recipe, count)}
