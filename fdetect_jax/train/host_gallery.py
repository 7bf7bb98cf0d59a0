"""How a host forgery makes its fakes, face by face, with the stages that it can show. Out: a Gallery."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.data.rows import MakeRow, frames_of
from fdetect_jax.forgery import find_forgery
from fdetect_jax.media.crop import face_crop
from fdetect_jax.report.gallery import Gallery, framed
from fdetect_jax.train.scoring import MARGIN


def host_gallery(faces: Any, config: ConfigDict, name: str, count: int, run: Callable[[dict], dict]) -> Gallery:
    """The first ``count`` faces of an evaluation under the forgery ``name``.

    faces: of ``train.held_out``. run: scores a batch of pairs of ``evaluation.batch_size``.
    """
    spec, slot, columns = find_forgery(name), faces.slot(config, name), defaultdict(list)
    make, size = MakeRow(faces.source, training=False), faces.source.size
    rows: list[dict] = []
    for index in faces.indices[: min(count, config.evaluation.batch_size)]:
        rng = np.random.default_rng((config.evaluation.seed, index))
        example = faces.source[index]
        rows.append(make.make(example, index, rng, slot))
        face = frames_of(example)[0]
        pictures: dict[str, np.ndarray] = {}
        if spec.stages is not None:
            own = face
            if "box" in face and not slot.context:
                own = {key: value for key, value in face.items() if key != "box"} | face_crop(face, faces.recipe)
            rng = np.random.default_rng((config.evaluation.seed, index))
            stages, pair = spec.stages(slot.forge, rng, own, lambda index=index: frames_of(_other(faces, index))[0])
            pictures = {"crop": own["image"], **dataclasses.asdict(stages), "real": pair.real, "fake": pair.fake}
        else:
            last = rows[-1]
            pictures = {"real": _first(last["image"]), "fake": _first(last["forged"])}
        for title, picture in pictures.items():
            columns[title].append(framed(_picture(picture), size))
    stacked = {title: np.stack(pictures) for title, pictures in columns.items()}
    if spec.stages is not None:
        return Gallery(stacked)
    rows += rows[-1:] * (config.evaluation.batch_size - len(rows))
    scored = run({key: np.stack([row[key] for row in rows]) for key in ("image", "forged")})
    shown = len(next(iter(stacked.values())))
    margins = {title: np.asarray(scored[MARGIN + of])[:shown] for title, of in (("real", "real"), ("fake", "image"))}
    scores = {title: 1 / (1 + np.exp(-values.astype(np.float64))) for title, values in margins.items()}
    return Gallery(stacked, scores)


def _other(faces: Any, index: int) -> Any:
    """A face of another person."""
    own = faces.source[index]["identity"]
    return next(
        other
        for other in (faces.source[(index + step) % len(faces.source)] for step in range(1, len(faces.source)))
        if other["identity"] != own
    )


def _first(image: np.ndarray) -> np.ndarray:
    return image[0] if image.ndim == 4 else image


def _picture(picture: np.ndarray) -> np.ndarray:
    """uint8 pictures and masks as they are; floats in [0, 255] as bytes."""
    if picture.ndim == 3 and picture.dtype != np.uint8:
        return np.clip(np.round(picture), 0, 255).astype(np.uint8)
    return picture
