"""ArcFace's IR-SE50 (InsightFace_Pytorch, TreB1eN), as identity losses use it, between its state dict and ours."""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.checkpoint import network_state
from fdetect_jax.convert.layout import (
    CONV,
    DENSE,
    Pair,
    Row,
    Variables,
    batch_norm,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
)
from fdetect_jax.gan.encoders import TrunkConfig
from fdetect_jax.gan.perceptual_nets import ArcFace

LAYOUTS = ("insightface",)


def trunk_rows(config: TrunkConfig) -> Iterator[Row]:
    """An IR-SE trunk: `input_layer` and `body`."""
    yield Pair("input_layer.0.weight", ("params", "stem_conv", "kernel"), CONV)
    yield from batch_norm("input_layer.1", "stem_bn")
    yield Pair("input_layer.2.weight", ("params", "stem_prelu", "slope"))
    index, width = 0, config.stem
    for features, units in config.stages:
        for _ in range(units):
            there, here = f"body.{index}", f"unit{index}"
            if width != features:
                yield Pair(f"{there}.shortcut_layer.0.weight", ("params", here, "shortcut_conv", "kernel"), CONV)
                yield from batch_norm(f"{there}.shortcut_layer.1", here, "shortcut_bn")
            yield from batch_norm(f"{there}.res_layer.0", here, "bn0")
            yield Pair(f"{there}.res_layer.1.weight", ("params", here, "conv0", "kernel"), CONV)
            yield Pair(f"{there}.res_layer.2.weight", ("params", here, "prelu", "slope"))
            yield Pair(f"{there}.res_layer.3.weight", ("params", here, "conv1", "kernel"), CONV)
            yield from batch_norm(f"{there}.res_layer.4", here, "bn1")
            yield Pair(f"{there}.res_layer.5.fc1.weight", ("params", here, "se_reduce", "kernel"), CONV)
            yield Pair(f"{there}.res_layer.5.fc2.weight", ("params", here, "se_expand", "kernel"), CONV)
            index, width = index + 1, features


def rows() -> Iterator[Row]:
    """Every array of the network; its dense layer counts channels first, as ours does."""
    for row in trunk_rows(TrunkConfig()):
        yield row._replace(path=(row.path[0], "trunk", *row.path[1:])) if isinstance(row, Pair) else row
    yield from batch_norm("output_layer.0", "norm0")
    yield Pair("output_layer.3.weight", ("params", "linear", "kernel"), DENSE)
    yield Pair("output_layer.3.bias", ("params", "linear", "bias"))
    yield from batch_norm("output_layer.4", "norm1")


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(an empty config, variables of `ArcFace`, layout) of `model_ir_se50.pth`.

    Raises:
      CheckpointError: not an IR-SE50, or not a whole one.
    """
    what, table = "state dict of IR-SE50", list(rows())
    variables = from_state(what, network_state(found), table)
    check_shapes(what, variables, table, ArcFace(), image_input(112))
    return {}, variables, LAYOUTS[0]


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The inverse of `convert`."""
    check_variables("network", ArcFace(), variables, image_input(112))
    return to_state("variables of IR-SE50", variables, rows())
