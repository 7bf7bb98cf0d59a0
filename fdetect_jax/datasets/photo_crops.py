"""Photographs to crops, in processes of their own: a photograph may kill its process. In: a folder and a recipe. Out:
one Crop or one Rejected per photo.
"""

import contextlib
import functools
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from fdetect_jax.faces.crop import CropRecipe, context_crop, crop
from fdetect_jax.faces.finder import Faces, open_faces, own_faces
from fdetect_jax.faces.models import load_models
from fdetect_jax.media.files import Found, media_kind, walk
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected, UnreadableMedia
from fdetect_jax.media.photos import read_photo

_A_WORKER = 100  # photos; with fewer, one more worker costs more time to start than it saves
_SECONDS = 60.0  # the most that a photo may take


@dataclass(frozen=True)
class Crop:
    """image: PNG bytes, (H, W, 3) RGB. landmarks: (68, 2) float32. box: (4,) float32 of a context crop, else None."""

    image: bytes
    landmarks: np.ndarray
    box: np.ndarray | None


def find_photos(root: Path) -> tuple[list[str], Found]:
    """Sorted paths of all photographs under ``root``, relative with "/"; and what was left out, other files too."""
    photos, left = [], {}
    for path, reason in walk(root):
        name = path.relative_to(root)
        if not reason and media_kind(path) == "image":
            photos.append(name.as_posix())
        else:
            left.setdefault(reason or "no photograph", []).append(name)
    return sorted(photos), Found((), {reason: tuple(paths) for reason, paths in left.items()})


def crop_photos(root: Path, photos: Sequence[str], recipe: CropRecipe) -> Iterator[Crop | Rejected]:
    """The largest face of each photo, in order; a context crop where the recipe has ``training_margins``.

    Raises:
        ModelsUnavailable: the face models cannot be had.
    """
    load_models()  # fetched once, and an error is raised here rather than in every worker
    work = functools.partial(_crop, recipe=recipe)
    paths = [root / photo for photo in photos]
    workers = min(os.cpu_count() or 1, 16, len(paths) // _A_WORKER + 1)
    results = run_isolated(work, paths, workers=workers, seconds=_SECONDS, initializer=open_faces)
    with contextlib.closing(results):
        yield from results


def crop_largest(faces: Faces, path: Path, recipe: CropRecipe) -> Crop | Rejected:
    """The crop of the largest face of one photo; a context crop if the recipe has ``training_margins``."""
    try:
        photo = read_photo(path)
    except UnreadableMedia as error:
        return Rejected(error.reason, error.passing)
    found = faces.detect(photo)
    if not found:
        return Rejected("no face")
    if found[0].landmarks is None:
        return Rejected("no landmarks on the largest face")
    cut = crop if recipe.training_margins is None else context_crop
    example = cut(photo, found[0], recipe)
    encoded = cv2.imencode(".png", example["image"][..., ::-1])[1].tobytes()
    return Crop(encoded, example["landmarks"], example.get("box"))


def _crop(path: Path, recipe: CropRecipe) -> Crop | Rejected:
    return crop_largest(own_faces(), path, recipe)
