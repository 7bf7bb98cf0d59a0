"""The faces of files in, a detector's predictions of each face out, from as many views of it as the protocol says."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from fdetect_jax.faces.clips import FaceCrop
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Predictions, Scorer

Key = TypeVar("Key")


def predictions_of_faces(
    scorer: Scorer, protocol: Protocol, groups: Iterable[tuple[Key, Sequence[FaceCrop]]]
) -> Iterator[tuple[Key, Predictions]]:
    """As ``Scorer.predictions_of_each``, of the faces that ``extract_faces`` found with ``protocol.views``.

    A face's margin is ``Protocol.face_margins`` of its views'; its other predictions are means over them.
    """
    count = protocol.views

    def rows() -> Iterator[tuple[tuple[Key, int], list[np.ndarray], list[int]]]:
        for key, faces in groups:
            shown = [[one.example["image"]] if count == 1 else one.example["views"] for one in faces]
            # View by view; a person seen in two views is two, so that no clip mixes views.
            persons = 1 + max((one.track for one in faces), default=0)
            tracks = [view * persons + one.track for view in range(count) for one in faces]
            yield (key, len(faces)), [face[view] for view in range(count) for face in shown], tracks

    for (key, faces), made in scorer.predictions_of_each(rows()):
        by_view = [values.reshape(count, faces, *values.shape[1:]) for values in made]
        yield key, Predictions(protocol.face_margins(by_view[0].T), *(values.mean(axis=0) for values in by_view[1:]))
