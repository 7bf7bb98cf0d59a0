"""The authors' weights of Capsule-Forensics (PyTorch), and what this project trains in the same layout.

Both repositories of nii-yamagishilab are under BSD-3-Clause. Their files hold no trunk: it is torchvision's VGG-19, a
file of its own. Which class is real differs: class 1 where the authors' folders were "fake" and "real" (all weights of
version 1; version 2's of CGvsPhoto and Replay-Attack), else class 0.
"""

import os
import re
from collections.abc import Iterator
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fdetect_jax.convert.checkpoint import network_state, read_checkpoint
from fdetect_jax.convert.layout import (
    CONV,
    SAME,
    Layout,
    Pair,
    Row,
    State,
    Variables,
    batch_norm,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
)
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.convert.vgg import trunk_rows
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.capsule import LAST, TRUNK, VERSIONS
from fdetect_jax.detectors.vgg import CHANNELS

LAYOUTS = ("real_0", "real_1")  # which class of the original is real
_PLACES = {"capsule_v1": (r"fea_ext\.ext_(\d+)\.", "fea_ext.ext_{}", 1)}  # pattern, key and first number of a capsule
_PLACES["capsule_v2"] = (r"fea_ext\.capsules\.(\d+)\.", "fea_ext.capsules.{}", 0)
_ROUTE = "routing_stats.route_weights"
_SIZE = 16  # pixels of a side, the fewest of the network
_OVER = Layout(lambda a: a.transpose(2, 1, 0), lambda a: a.transpose(2, 1, 0))  # convolutions over the channels
_TURNED = Layout(lambda a: a[::-1], lambda a: a[::-1])  # the two classes change places
_STACKED = {f"conv{number}" for number in (1, 2, 3)}  # kernels with an axis of their own for the capsules


def rows(version: str, capsules: int, layout: str) -> Iterator[Row]:
    """Every array but the trunk's, of each capsule its own; their paths end in the capsule's number."""
    _, key, first = _PLACES[version]
    for number in range(capsules):
        there = key.format(number + first)
        for row in _capsule_rows(there):
            yield row._replace(path=(*row.path, f"{number:04d}")) if isinstance(row, Pair) else row
    yield Pair(_ROUTE, ("params", "fc", "kernel"), _TURNED if layout == "real_1" else SAME)


def _capsule_rows(there: str) -> Iterator[Row]:
    for number, (conv, norm, kernel) in enumerate([(0, 1, CONV), (3, 4, CONV), (7, 8, _OVER), (9, 10, _OVER)]):
        yield Pair(f"{there}.{conv}.weight", ("params", "capsules", f"conv{number}", "kernel"), kernel)
        yield Pair(f"{there}.{conv}.bias", ("params", "capsules", f"conv{number}", "bias"))
        yield from batch_norm(f"{there}.{norm}", "capsules", f"bn{number}")


def _is_stacked(path: tuple[str, ...]) -> bool:
    return path[1] == "capsules" and path[2] in _STACKED and path[3] == "kernel"


def _together(variables: Variables) -> Variables:
    """All capsules' arrays as one, in place of one array for each."""
    parts: dict[tuple[str, ...], list[np.ndarray]] = {}
    flat = flatten_dict(variables)
    for path in sorted(flat):
        parts.setdefault(path[:-1] if path[1] == "capsules" else path, []).append(flat[path])
    try:
        return unflatten_dict(
            {path: (np.stack(a) if _is_stacked(path) else np.concatenate(a, axis=-1)) for path, a in parts.items()}
        )
    except ValueError as error:
        raise CheckpointError(f"found capsules of different shapes ({error}), wanted equal ones") from None


def _apart(variables: Variables, capsules: int) -> Variables:
    """The inverse of ``_together``."""
    found = {}
    for path, array in flatten_dict(variables).items():
        if path[1] != "capsules":
            found[path] = array
            continue
        parts = list(array) if _is_stacked(path) else np.split(array, capsules, axis=-1)
        found |= {(*path, f"{number:04d}"): part for number, part in enumerate(parts)}
    return unflatten_dict(found)


def convert(found: Any, trunk: str | os.PathLike, real_class: str | None = None) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of a ``capsule_*.pt`` of either version.

    trunk: the file of torchvision's VGG-19. real_class: "0" or "1"; None: "1" for version 1, "0" for version 2.

    Raises:
      CheckpointError: neither version, or not a whole one; the trunk is no VGG-19; or class 1 of more than two is real.
    """
    state = network_state(found)
    numbers = {
        version: {int(match[1]) for key in state if (match := re.match(pattern, key))}
        for version, (pattern, _, _) in _PLACES.items()
    }
    version = max(numbers, key=lambda one: len(numbers[one]))
    shape = state[_ROUTE].shape if _ROUTE in state else ()
    if not numbers[version] or len(shape) != 4:
        raise CheckpointError(f"found keys {sorted(state)[:6]} …, wanted Capsule-Forensics' fea_ext and routing_stats")
    layout = f"real_{real_class or (1 if version == 'capsule_v1' else 0)}"
    if layout == "real_1" and shape[0] != 2:
        raise CheckpointError(f"real_class: found 1 of {shape[0]} classes, wanted 0: class 1 of two alone can be real")
    capsules = len(numbers[version])
    variables = _together(from_state(f"state dict of {version}", state, rows(version, capsules, layout)))
    width, below = _trunk(trunk)
    variables["params"] |= below
    overrides = {"capsules": capsules, "num_classes": shape[0], "width": width}
    check_shapes(version, variables, (), make_detector(version, overrides), image_input(_SIZE))
    return {"name": version, "overrides": overrides}, variables, layout


def _trunk(path: str | os.PathLike) -> tuple[float, Variables]:
    """Width and parameters of the trunk; what a VGG-19 has above it is not read."""
    table = list(trunk_rows(TRUNK, LAST))
    try:
        state: State = network_state(read_checkpoint(path))
        needed = {row.key: state[row.key] for row in table if row.key in state}
        params = from_state("state dict of VGG-19", needed, table)["params"]
    except CheckpointError as error:
        raise CheckpointError(f"{path}: {error}") from None
    return params[f"{TRUNK}_conv1_1"]["kernel"].shape[-1] / CHANNELS, params


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The inverse of `convert`, without the trunk."""
    version = config["name"]
    if version not in VERSIONS:
        raise CheckpointError(f"found the detector {version!r}, wanted one of {sorted(VERSIONS)}")
    module = make_detector(version, config["overrides"])
    check_variables(version, module, variables, image_input(_SIZE))
    if layout == "real_1" and module.config.num_classes != 2:
        raise CheckpointError(f"found {module.config.num_classes} classes, wanted 2 with the layout real_1")
    own = {
        collection: {name: tree for name, tree in layers.items() if not name.startswith(TRUNK)}
        for collection, layers in variables.items()
    }
    capsules = module.config.capsules
    return to_state(f"variables of {version}", _apart(own, capsules), rows(version, capsules, layout))
