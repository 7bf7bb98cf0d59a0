"""FFD's Xception between the authors' checkpoints (``000100.tar``) and our variables.

A checkpoint does not hold the templates that it was trained with; they are read from their folder.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.checkpoint import network_state
from fdetect_jax.convert.layout import Row, Variables, check_shapes, check_variables, from_state, image_input, to_state
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.convert.xception import block_rows, dense_rows, separable_rows, trunk_rows
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.ffd import FFDConfig, read_templates
from fdetect_jax.fields import from_fields

LAYOUTS = ("reg", "tmp")
_ATTENTION = {"reg": "reg", "tmp": "templates"}
_NAMES = {"depthwise": "c", "skip_norm": "skip_bn"}  # the same layers are called otherwise than in Cadene's Xception


def rows(config: FFDConfig, layout: str) -> Iterator[Row]:
    """Every array of the network but its templates, in the order of its layers."""
    yield from trunk_rows(config.network, **_NAMES)
    if layout == "reg":
        yield from separable_rows("map.c", ("attention", "conv"), _NAMES["depthwise"])
    else:
        yield from block_rows("map.c", ("attention", "block"), 2, True, True, tuple(_NAMES.values()))
        yield from dense_rows("map.l", "attention", "weights")
    yield from dense_rows("last_linear", "fc")


def convert(found: Any, templates: str | None = None) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of a checkpoint with the map type "reg" or "tmp".

    templates: of "tmp", the folder of PNGs or the file that ``detectors.ffd.read_templates`` takes.

    Raises:
      CheckpointError: not an FFD with Xception, or not a whole one; "tmp" without its templates, "reg" with some.
    """
    state = network_state(found["net"] if isinstance(found, dict) and isinstance(found.get("net"), dict) else found)
    layout = "tmp" if "map.l.weight" in state else "reg"
    if (layout == "tmp") != (templates is not None):
        wanted = "none" if layout == "reg" else "the folder of those it was trained with, which it does not hold"
        raise CheckpointError(
            f"templates: found {templates!r} with a checkpoint of map type {layout!r}, wanted {wanted}"
        )
    overrides: dict[str, Any] = {"attention": _ATTENTION[layout]}
    if (last := state.get("last_linear.weight")) is not None and last.shape:
        overrides["num_classes"] = int(last.shape[0])
    config, what = from_fields(FFDConfig, overrides, "detector"), f"state dict of FFD's Xception ({layout})"
    variables = from_state(what, state, table := list(rows(config, layout)))
    if templates is not None:
        variables["templates"] = {"attention": {"maps": read_templates(templates)}}
        # As many weights as templates; the default ones are ten.
        count = len(variables["params"]["attention"]["weights"]["bias"])
        if len(maps := variables["templates"]["attention"]["maps"]) != count:
            raise CheckpointError(f"templates: found {len(maps)}, wanted {count}, as the checkpoint weighs so many")
    check_shapes(what, variables, table, make_detector("ffd", overrides), image_input(75))
    return {"name": "ffd", "overrides": overrides}, variables, layout


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The state dict of variables, without the templates."""
    made = from_fields(FFDConfig, config["overrides"], "detector")
    if made.trunk != "xception" or _ATTENTION[layout] != made.attention:
        found = f"trunk {made.trunk!r} with attention {made.attention!r}"
        raise CheckpointError(f"layout: found {layout!r} for a detector of {found}, wanted that of this detector")
    check_variables(config["name"], make_detector(config["name"], config["overrides"]), variables, image_input(75))
    kept = {name: tree for name, tree in variables.items() if name != "templates"}
    return to_state("variables of FFD's Xception", kept, rows(made, layout))
