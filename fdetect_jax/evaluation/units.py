"""Scored files as tables of units: margins of faces in, one row for each frame that shows a face and one for each file
out.
"""

from collections.abc import Sequence

import numpy as np
from scipy.special import expit

from fdetect_jax.evaluation.labelled import ScoredFile
from fdetect_jax.evaluation.table import Scored
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol

LEVELS = ("video", "frame")
_TINY = np.finfo(np.float64).tiny


def units_of(files: Sequence[ScoredFile], calibration: Calibration, protocol: Protocol) -> dict[str, Scored]:
    """``video``: one unit for each file; ``frame``: one for each frame that shows a face. An image is both.

    Rules of the protocol apply to calibrated P(fake). What they give is turned back into a margin, from which
    ``calibration.scores`` makes it again. A unit's group is its file's number.
    """
    frames, margins = zip(*(margins_of_file(one, calibration, protocol) for one in files), strict=True)
    rows = {
        "label": [one.file.label for one in files],
        "kind": [one.file.kind for one in files],
        "method": [one.file.method for one in files],
        "source": [one.file.source for one in files],
        "group": range(len(files)),
    }
    columns = {name: np.array(values) for name, values in rows.items()}
    counts = [len(of_file) for of_file in frames]
    repeated = {name: np.repeat(values, counts) for name, values in columns.items()}
    return {
        "video": Scored(margin=np.array(margins), **columns),
        "frame": Scored(margin=np.concatenate(frames), **repeated),
    }


def margins_of_file(one: ScoredFile, calibration: Calibration, protocol: Protocol) -> tuple[np.ndarray, float]:
    """Margins of each frame that shows a face, (F,), and of the file.

    P(fake) and P(fake) - 1 both go through the protocol, whose rules are means of chosen scores or one of them, and so
    commute with a shift. The logarithms of both together keep a margin where P(fake) alone is rounded to 1.
    """
    logits = one.margins / calibration.temperature + calibration.bias
    sides = []
    for scores in (expit(logits), -expit(-logits)):
        of_frames = protocol.frame_scores(one.frames, one.areas, scores, image=one.image)[1]
        of_file = protocol.file_score(of_frames)
        sides.append(np.log(np.maximum(np.abs(np.append(of_frames, of_file)), _TINY)))
    margins = (sides[0] - sides[1] - calibration.bias) * calibration.temperature
    return margins[:-1], float(margins[-1])
