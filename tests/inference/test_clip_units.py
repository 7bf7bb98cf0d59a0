"""Which faces make up a clip."""

import numpy as np
import pytest

from fdetect_jax.inference.clips import clips


@pytest.mark.parametrize(
    ("tracks", "frames", "faces", "row", "place"),
    [
        ([], 2, [], [], []),
        ([7], 3, [[0, 0, 0]], [0], [0]),
        ([0, 0, 0, 0], 2, [[0, 1], [2, 3]], [0, 0, 1, 1], [0, 1, 0, 1]),
        ([5, 2, 5, 2, 5], 2, [[0, 2], [4, 4], [1, 3]], [0, 2, 0, 2, 1], [0, 0, 1, 1, 0]),
        ([1, 2], 1, [[0], [1]], [0, 1], [0, 0]),
    ],
)
def test_cases_worked_by_hand(tracks, frames, faces, row, place):
    found = clips(tracks, frames)
    assert found.faces.shape == (len(faces), frames)
    assert (found.faces.tolist(), found.row.tolist(), found.place.tolist()) == (faces, row, place)
    assert np.all(found.faces[found.row, found.place] == np.arange(len(tracks)))
