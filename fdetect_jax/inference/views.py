"""The faces of files in, a detector's predictions of each face out, from as many views of it as the protocol says."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from fdetect_jax.faces.clips import FaceCrop
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Predictions, Scorer

Key = TypeVar("Key")


def views_of(faces: Sequence[FaceCrop], count: int) -> tuple[list[np.ndarray], list[int]]:
    """Of each face (count, S, S, 3), its crop alone or the views that ``extract_faces`` cut, and its track."""
    shown = [one.example["image"][None] if count == 1 else one.example["views"] for one in faces]
    return shown, [one.track for one in faces]


def predictions_of_faces(
    scorer: Scorer, protocol: Protocol, groups: Iterable[tuple[Key, Sequence[np.ndarray], Sequence[int]]]
) -> Iterator[tuple[Key, Predictions]]:
    """As ``Scorer.predictions_of_each``, of the faces of each group, (``protocol.views``, S, S, 3) each.

    A face's margin is ``Protocol.face_margins`` of its views'; its other predictions are means over them.
    """
    count = protocol.views

    def rows() -> Iterator[tuple[tuple[Key, int], list[np.ndarray], list[int]]]:
        for key, faces, tracks in groups:
            # View by view; a person seen in two views is two, so that no clip mixes views.
            persons = 1 + max(tracks, default=0)
            shown = [face[view] for view in range(count) for face in faces]
            yield (key, len(faces)), shown, [view * persons + track for view in range(count) for track in tracks]

    for (key, faces), made in scorer.predictions_of_each(rows()):
        by_view = [values.reshape(count, faces, *values.shape[1:]) for values in made]
        yield key, Predictions(protocol.face_margins(by_view[0].T), *(values.mean(axis=0) for values in by_view[1:]))
