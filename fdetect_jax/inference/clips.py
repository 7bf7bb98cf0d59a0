"""The faces of a file as rows for a detector: each face alone, or clips of one person's faces in order of time."""

import dataclasses
from collections.abc import Sequence

import numpy as np


@dataclasses.dataclass(frozen=True)
class Rows:
    """Which faces make up each row.

    faces: (R, T) indices of faces. row, place: (K,) of each face, the row that holds it and where in that row.
    """

    faces: np.ndarray
    row: np.ndarray
    place: np.ndarray


def clips(tracks: Sequence[int], frames: int) -> Rows:
    """Groups faces into clips of ``frames`` faces of one track, in the order given; no clip mixes tracks.

    The last clip of a track is filled up by repeating its last face. tracks: (K,) of faces in order of time.
    """
    tracks = np.asarray(tracks, int)
    faces, row, place = [], np.zeros(len(tracks), int), np.zeros(len(tracks), int)
    for track in dict.fromkeys(tracks.tolist()):
        own = np.flatnonzero(tracks == track)
        for start in range(0, len(own), frames):
            clip = own[start : start + frames]
            row[clip], place[clip] = len(faces), np.arange(len(clip))
            faces.append(np.concatenate([clip, np.repeat(clip[-1:], frames - len(clip))]))
    return Rows(np.array(faces, int).reshape(-1, frames), row, place)
