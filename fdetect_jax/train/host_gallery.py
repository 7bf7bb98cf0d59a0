"""Shows how a host forgery makes its fakes, face by face, with its stages. Out: a Gallery."""

import dataclasses
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import numpy as np

from fdetect_jax.data.rows import Slot, cut_for, frames_of
from fdetect_jax.data.source import Source
from fdetect_jax.forgery import Forgery
from fdetect_jax.report.gallery import Gallery, framed
from fdetect_jax.types import Example

Score = Callable[[dict[str, np.ndarray]], dict[str, np.ndarray]]


def host_gallery(
    source: Source, indices: list[int], spec: Forgery, slot: Slot, seed: int, frames: int, score: Score
) -> Gallery:
    """Applies a forgery to faces; for a clip, to its first frame.

    Args:
      source, indices: the faces. spec, slot: the forgery. seed: of its draws.
      frames: above 0, the number of frames in the detector's clips. score: pairs, ``image`` and ``forged``, -> the
        P(fake) of each, under the same names.
    """
    columns: dict[str, list[np.ndarray]] = defaultdict(list)
    pairs: dict[str, list[np.ndarray]] = {"image": [], "forged": []}
    for index in indices:
        face = cut_for(slot, frames_of(source[index])[0], source.recipe)
        rng = np.random.default_rng((seed, index))
        donor = lambda index=index: cut_for(slot, _another(source, index), source.recipe)  # noqa: E731
        if spec.stages is not None:
            stages, pair = spec.stages(slot.forge, rng, face, donor)
            pictures = {"crop": face["image"], **dataclasses.asdict(stages)}
        else:
            pair = slot.forge(rng, face, donor)
            pictures = {} if pair.mask is None else {"mask": pair.mask}
        for name, picture in (pictures | {"real": pair.real, "fake": pair.fake}).items():
            columns[name].append(framed(_picture(picture), source.size))
        for name, image in (("image", pair.real), ("forged", pair.fake)):
            pairs[name].append(np.stack([image] * frames) if frames else image)
    found = score({name: np.stack(images) for name, images in pairs.items()})
    # Of a data set, some fakes may come with a mask and others without.
    stacked = {name: np.stack(pictures) for name, pictures in columns.items() if len(pictures) == len(indices)}
    return Gallery(stacked, {"real": found["image"], "fake": found["forged"]})


def _another(source: Source, index: int) -> Example:
    """A face of another person, the next one in the source."""
    own = source[index]["identity"]
    others = (source[(index + step) % len(source)] for step in range(1, len(source)))
    return frames_of(next(other for other in others if other["identity"] != own))[0]


def _picture(picture: Any) -> np.ndarray:
    """The picture as uint8: uint8 and masks unchanged, colours in [0, 255] rounded from float."""
    if picture.ndim == 3 and picture.dtype != np.uint8:
        return np.clip(np.round(picture), 0, 255).astype(np.uint8)
    return picture
