"""Scored files as tables of units: margins of faces in, one row for each frame that shows a face and one for each file
out.
"""

from collections.abc import Sequence

import numpy as np

from fdetect_jax.evaluation.table import Scored
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import ScoredFile
from fdetect_jax.inference.protocol import Protocol

LEVELS = ("video", "frame")


def units_of(files: Sequence[ScoredFile], calibration: Calibration, protocol: Protocol) -> dict[str, Scored]:
    """``video``: one unit for each file; ``frame``: one for each frame that shows a face. An image is both.

    The protocol combines calibrated margins; the tables hold what it gives as margins of the detector, from which
    ``calibration.scores`` makes P(fake). A unit's group is its file's number.
    """
    frames, margins = [], []
    for one in files:
        calibrated = calibration.margins(one.margins)
        frames.append(protocol.frame_margins(one.frames, one.areas, calibrated, image=one.image)[1])
        margins.append(protocol.file_margin(frames[-1]))
    columns = {name: np.array([getattr(one.file, name) for one in files]) for name in _KNOWN}
    columns["group"] = np.arange(len(files))
    counts = [len(of_file) for of_file in frames]
    repeated = {name: np.repeat(values, counts) for name, values in columns.items()}
    return {
        "video": Scored(margin=_uncalibrated(np.array(margins), calibration), **columns),
        "frame": Scored(margin=_uncalibrated(np.concatenate(frames), calibration), **repeated),
    }


_KNOWN = ("label", "kind", "method", "source")  # of a file, and so of each of its frames


def _uncalibrated(margins: np.ndarray, calibration: Calibration) -> np.ndarray:
    """The inverse of ``Calibration.margins``."""
    return (margins - calibration.bias) * calibration.temperature
