"""ResNet-50, -101 and -152 between torchvision's state dict and our variables."""

import dataclasses
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
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.resnet import CHANNELS, VARIANTS, ResNetConfig, config_of

LAYOUTS = ("torchvision",)
_INPUT = image_input(64)


def trunk_rows(config: ResNetConfig) -> Iterator[Row]:
    """Every array up to the last map, in the order of the layers, under torchvision's names."""
    yield Pair("conv1.weight", ("params", "conv_stem", "kernel"), CONV)
    yield from batch_norm("bn1", "bn_stem")
    stage, place = 0, 0
    for number, unit in enumerate(config.blocks()):
        stage, place = unit.stage, place + 1 if unit.stage == stage else 0
        there, here = f"layer{stage}.{place}", f"blocks_{number}"
        for layer in range(3):
            yield Pair(f"{there}.conv{layer + 1}.weight", ("params", here, f"conv{layer}", "kernel"), CONV)
            yield from batch_norm(f"{there}.bn{layer + 1}", here, f"bn{layer}")
        if unit.inputs != unit.outputs:
            yield Pair(f"{there}.downsample.0.weight", ("params", here, "shortcut_conv", "kernel"), CONV)
            yield from batch_norm(f"{there}.downsample.1", here, "shortcut_bn")


def rows(config: ResNetConfig) -> Iterator[Row]:
    """Every array of the network."""
    yield from trunk_rows(config)
    yield Pair("fc.weight", ("params", "fc", "kernel"), DENSE)
    yield Pair("fc.bias", ("params", "fc", "bias"))


def nearest(keys: set[str], prefix: str = "") -> str:
    """The variant of ``VARIANTS`` whose trunk has most of these keys in common; prefix: of the trunk's.

    Raises:
      CheckpointError: none has any.
    """
    known = {name: {prefix + row.key for row in trunk_rows(config)} for name, config in VARIANTS.items()}
    if not any(keys & one for one in known.values()):
        raise CheckpointError(f"found keys {sorted(keys)[:6]} …, wanted a ResNet of torchvision")
    return min(known, key=lambda name: len(known[name] ^ keys))


def overrides_of(config: ResNetConfig, variant: str) -> dict[str, Any]:
    """The fields of a config that differ from the variant's."""
    own = dataclasses.asdict(VARIANTS[variant])
    return {name: value for name, value in dataclasses.asdict(config).items() if value != own[name]}


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of a state dict, with as many classes as it has.

    Raises:
      CheckpointError: not a ResNet of these depths, or not a whole one.
    """
    state = network_state(found)
    name = nearest(set(state))
    classes, width = (state[key].shape[0] if key in state else 0 for key in ("fc.bias", "conv1.weight"))
    config = dataclasses.replace(VARIANTS[name], num_classes=max(classes, 2), width=max(width, 1) / CHANNELS)
    what, table, overrides = f"state dict of {name}", list(rows(config)), overrides_of(config, name)
    variables = from_state(what, state, table)
    check_shapes(what, variables, table, make_detector(name, overrides), _INPUT)
    return {"name": name, "overrides": overrides}, variables, LAYOUTS[0]


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The inverse of ``convert``."""
    name, overrides = config["name"], config["overrides"]
    check_variables(name, make_detector(name, overrides), variables, _INPUT)
    return to_state(f"variables of {name}", variables, rows(config_of(name, overrides)))
