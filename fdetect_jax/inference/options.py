"""The detector and the protocol that command-line arguments name, shared by every job that scores files."""

import argparse
import sys

from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.video import Sampling

_RULES = ("min_face_share", "multi_face", "aggregation", "views")


def chosen(arguments: argparse.Namespace) -> tuple[Scorer, Protocol]:
    """The detector and the protocol; where no model is named, a line on stderr says that the bundled one is used.

    arguments: model, recipe, dtype, frames, per_second, faces, min_face_share, multi_face, aggregation, views,
    threshold. Where threshold is None, the thresholds of the model are used.

    Raises:
      UserError: as ``Scorer``, ``Protocol`` and ``Sampling`` do.
    """
    count = None if arguments.per_second is not None else 32 if arguments.frames is None else arguments.frames
    sampling = Sampling(count, arguments.per_second)
    scorer = Scorer(arguments.model, recipe=arguments.recipe, dtype=arguments.dtype)
    if arguments.model is None:
        print(f"no --model given: using the bundled detector ({scorer.description})", file=sys.stderr)
    own = scorer.calibration if arguments.threshold is None else Calibration(threshold=arguments.threshold)
    rules = {name: getattr(arguments, name) for name in _RULES}
    return scorer, Protocol(
        sampling, arguments.faces or "all", threshold=own.threshold, suspicious=own.suspicious, **rules
    )
