"""VGG-16 and VGG-19 without BatchNorm between torchvision's state dict and ours.

torchvision's ImageNet weights (vgg16-397923af.pth, vgg19-dcbb9e9d.pth; BSD-3-Clause) are read, and any of the same
layers: narrower, or with other numbers of hidden units and classes.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.checkpoint import network_state
from fdetect_jax.convert.layout import (
    CONV,
    DENSE,
    Layout,
    Pair,
    Row,
    State,
    Variables,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
)
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.vgg import CELLS, CHANNELS, REPEATS, layers

LAYOUTS = ("torchvision",)
_NETWORKS = {sum(repeats): name for name, repeats in REPEATS.items()}  # by their number of convolutions
_SIZE = 32  # pixels of a side, the fewest of the network
# The first dense layer counts channels before cells there, and cells before channels here.
_CELLS = Layout(
    lambda a: a.reshape(len(a), -1, CELLS**2).transpose(2, 1, 0).reshape(-1, len(a)),
    lambda a: a.reshape(CELLS**2, -1, a.shape[1]).transpose(2, 1, 0).reshape(a.shape[1], -1),
)


def trunk_rows(name: str, last: str = "pool5") -> Iterator[Row]:
    """Every array of "vgg16" or "vgg19" up to a layer; N of torchvision's ``features.N`` counts ReLUs and pools too."""
    place = 0
    for layer in layers(name, last):
        if layer.startswith("pool"):
            place += 1
            continue
        for theirs, ours, layout in (("weight", "kernel", CONV), ("bias", "bias", None)):
            path = ("params", f"{name}_conv{layer.removeprefix('relu')}", ours)
            yield Pair(f"features.{place}.{theirs}", path, *((layout,) if layout else ()))
        place += 2


def rows(name: str) -> Iterator[Row]:
    """Every array of the detector with hidden layers."""
    yield from trunk_rows(name)
    for number, (layer, layout) in {0: (f"{name}_fc6", _CELLS), 3: (f"{name}_fc7", DENSE), 6: ("fc", DENSE)}.items():
        yield Pair(f"classifier.{number}.weight", ("params", layer, "kernel"), layout)
        yield Pair(f"classifier.{number}.bias", ("params", layer, "bias"))


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of torchvision's vgg16 or vgg19.

    Raises:
      CheckpointError: neither network, or not a whole one.
    """
    state = network_state(found)
    count = sum(key.startswith("features.") and len(value.shape) == 4 for key, value in state.items())
    if count not in _NETWORKS:
        raise CheckpointError(f"found {count} convolutions, wanted 13 of VGG-16 or 16 of VGG-19")
    what = f"state dict of {(name := _NETWORKS[count])}"
    variables = from_state(what, state, table := list(rows(name)))
    overrides = {
        "width": _length(state, "features.0.weight") / CHANNELS,
        "hidden": _length(state, "classifier.0.weight"),
        "num_classes": _length(state, "classifier.6.weight"),
    }
    check_shapes(what, variables, table, make_detector(name, overrides), image_input(_SIZE))
    return {"name": name, "overrides": overrides}, variables, LAYOUTS[0]


def _length(state: State, key: str) -> int:
    if not (shape := state[key].shape) or not shape[0]:
        raise CheckpointError(f"{key}: found shape {shape}, wanted an output at least")
    return shape[0]


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The inverse of `convert`.

    Raises:
      CheckpointError: a VGG without hidden layers, which torchvision has not.
    """
    name = config["name"]
    check_variables(name, make_detector(name, config["overrides"]), variables, image_input(_SIZE))
    return to_state(f"variables of {name} with hidden layers", variables, rows(name))
