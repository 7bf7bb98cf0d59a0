"""Trained detectors joined into one, whose margin is the mean of theirs. In: weights of EfficientNets of one kind. Out:
weights of the detector "experts".
"""

import json
import os
from collections.abc import Sequence

import numpy as np

from fdetect_jax import weights
from fdetect_jax.detectors.efficientnet import VARIANTS
from fdetect_jax.errors import UserError
from fdetect_jax.files import check_output
from fdetect_jax.remote import here

_PREFIX = "efficientnet_"
_SAME = ("recipe", "size", "classes", "frames")  # notes of the files that must agree


def join(paths: Sequence[str | os.PathLike], output: str | os.PathLike, description: str = "") -> None:
    """Writes the detector of all, in half precision; it has no calibration yet.

    Args:
      paths: weights that trainings of one EfficientNet wrote, two or more. description: kept in the file.

    Raises:
      UserError: fewer than two files, one that is no EfficientNet, two that differ in network, crops or classes, or an
        output that cannot be written.
    """
    if len(paths) < 2:
        raise UserError(f"join: found {len(paths)} weights, wanted at least two")
    check_output(output, "--output")
    found = [weights.read(here(path), "detector") for path in paths]
    (first, _, notes), name = found[0], found[0][0].get("name", "")
    if not name.startswith(_PREFIX) or name.removeprefix(_PREFIX) not in VARIANTS:
        raise UserError(f"{paths[0]}: found a detector {name!r}, wanted an EfficientNet")
    for path, (config, _, own) in zip(paths, found, strict=True):
        for what, one, other in (
            ("detector", config, first),
            *((note, own.get(note), notes.get(note)) for note in _SAME),
        ):
            if one != other:
                raise UserError(f"{path}: found {what} {one!r:.200}, wanted {other!r:.200} as in {paths[0]}")
    count = len(found)
    joined: dict = {"params": {}, "batch_stats": {}}
    for number, (_, variables, _) in enumerate(found):
        trunk = dict(variables["params"])
        joined["params"][f"fc{number}"] = trunk.pop("fc")
        joined["params"][f"expert{number}"] = trunk
        joined["batch_stats"][f"expert{number}"] = variables["batch_stats"]
    overrides = {"trunk": name.removeprefix(_PREFIX), "trunk_overrides": first.get("overrides", {}), "count": count}
    kept = {note: notes[note] for note in _SAME if note in notes}
    sources = json.dumps([own.get("source", "") for _, _, own in found])
    config = {"name": "experts", "overrides": overrides}
    weights.save(output, "detector", config, joined, np.float16, source=sources, description=description, **kept)
