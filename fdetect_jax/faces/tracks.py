"""Assigns the faces of successive frames to persons. In: the faces of each frame. Out: a track number for each."""

from collections.abc import Sequence

import numpy as np

from fdetect_jax.faces.boxes import overlap
from fdetect_jax.faces.finder import Face

_GROWN = 1.5  # boxes are enlarged by this factor: between two samples a head may move by half its width
_LEAST = 0.2  # lowest intersection over union of the enlarged boxes
_PATIENCE = 5  # frames without its face after which a track ends


class Tracker:
    """Follows faces by the overlap of their boxes. The assignment of a frame's faces to tracks has the largest sum of
    overlaps; a face that overlaps no track starts a new one."""

    def __init__(self):
        self._last: dict[int, tuple[int, tuple]] = {}  # track -> frame and enlarged box of its latest face
        self._frame, self._next = 0, 0

    def update(self, faces: Sequence[Face]) -> list[int]:
        """The track of each face of the next frame; tracks are numbered from 0 in order of their first face."""
        self._frame += 1
        open_ = [track for track, (frame, _) in self._last.items() if self._frame - frame <= _PATIENCE + 1]
        boxes = [_grown(face.box) for face in faces]
        likeness = np.array([[overlap(box, self._last[track][1]) for track in open_] for box in boxes])
        numbers = [-1] * len(faces)
        if likeness.size:
            from scipy.optimize import linear_sum_assignment  # a tenth of a second that no photograph needs

            for row, column in zip(*linear_sum_assignment(likeness, maximize=True), strict=True):
                if likeness[row, column] >= _LEAST:
                    numbers[row] = open_[column]
        for row, box in enumerate(boxes):
            if numbers[row] < 0:
                numbers[row], self._next = self._next, self._next + 1
            self._last[numbers[row]] = (self._frame, box)
        return numbers


def _grown(box: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    x0, y0, x1, y1 = box
    x, y = (_GROWN - 1) / 2 * (x1 - x0), (_GROWN - 1) / 2 * (y1 - y0)
    return x0 - x, y0 - y, x1 + x, y1 + y
