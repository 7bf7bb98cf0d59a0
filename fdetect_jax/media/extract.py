"""The faces of many files, seen by processes that may die. In: files. Out: the crops of each, or why there are none."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np

from fdetect_jax.evaluation.degraded_crops import DegradedCrops
from fdetect_jax.media.clips import MediaFaces, faces_of
from fdetect_jax.media.crop import CropRecipe, crop
from fdetect_jax.media.faces import Face, open_faces, own_faces
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.models import load_models
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
    """``clips.faces_of`` of every file, in order; of each crop the image alone. Close it to end the processes early.

    workers: processes; None: one per core. seconds: that one file may take.

    Raises:
        ValueError: the recipe was made with another face detector. ModelsUnavailable: it cannot be had.
    """
    recipe.require_detector()
    load_models()  # fetched once, and an error is raised here rather than in every worker
    tasks = ((file, recipe, sampling, which) for file in files)
    return run_isolated(_look, tasks, workers=workers, seconds=seconds, initializer=open_faces)


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
    ``degraded_crops``, and each example's ``row`` says where. What is in there is the caller's to remove.

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


def _look(task: tuple[Path, CropRecipe, Sampling, str]) -> MediaFaces:
    path, recipe, sampling, which = task
    return faces_of(path, own_faces(), recipe, sampling, which, cut=_image_alone)


def _image_alone(image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
    return {"image": crop(image, face, recipe)["image"]}  # all that travels back


def _look_degraded(task: tuple[Path, CropRecipe, Sampling, str, Path, int, str]) -> MediaFaces:
    path, recipe, sampling, which, output, seed, name = task
    crops = DegradedCrops[Face](output, lambda image, face: crop(image, face, recipe)["image"], seed, name)

    def cut(image: np.ndarray, face: Face, recipe: CropRecipe) -> dict:
        row, clean = crops.add(image, face)
        return {"image": clean, "row": np.int64(row)}

    seen = faces_of(path, own_faces(), recipe, sampling, which, cut=cut)
    crops.end_clip()
    return seen
