"""The authors' weights of Meso-4 and MesoInception-4 (Keras), and what this project trains in the same layout."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.layout import (
    Pair,
    Row,
    Variables,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    tf_batch_norm,
    to_state,
)
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.mesonet import SIZE

LAYOUTS = ("keras",)
_NETWORKS = {4: "meso4", 16: "mesoinception4"}  # by their number of convolutions


def rows(name: str) -> Iterator[Row]:
    """Every array of "meso4" or "mesoinception4", in the order of its layers."""
    convolutions = [("conv0",), ("conv1",)]
    if name == "mesoinception4":
        branches = ("point0", "point1", "wide1", "point2", "wide2", "point3", "wide3")
        convolutions = [(f"conv{layer}", branch) for layer in range(2) for branch in branches]
    for number, path in enumerate([*convolutions, ("conv2",), ("conv3",)]):
        for entry in ("kernel", "bias"):
            yield Pair(f"conv2d.{number}/{entry}", ("params", *path, entry))
    for number in range(4):
        yield from tf_batch_norm(f"batch_normalization.{number}", f"bn{number}")
    for number, path in enumerate(("hidden", "fc")):
        for entry in ("kernel", "bias"):
            yield Pair(f"dense.{number}/{entry}", ("params", path, entry))


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of what ``keras.read`` gives.

    Raises:
      CheckpointError: neither network, or not a whole one.
    """
    if not isinstance(found, dict) or not all(isinstance(value, np.ndarray) for value in found.values()):
        raise CheckpointError("found a PyTorch checkpoint or other weights, wanted Keras' .h5")
    count = sum(key.startswith("conv2d.") and key.endswith("/kernel") for key in found)
    if count not in _NETWORKS:
        raise CheckpointError(f"found {count} convolutions, wanted 4 of Meso-4 or 16 of MesoInception-4")
    name = _NETWORKS[count]
    variables = from_state(name, found, table := list(rows(name)))
    check_shapes(name, variables, table, make_detector(name), image_input(SIZE))
    return {"name": name, "overrides": {}}, variables, "keras"


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The arrays by the names of ``keras.read``."""
    name = config["name"]
    check_variables(name, make_detector(name, config["overrides"]), variables, image_input(SIZE))
    return to_state(name, variables, rows(name))
