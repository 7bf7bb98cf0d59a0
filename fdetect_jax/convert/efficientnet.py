"""EfficientNet between three state dicts and our variables: lukemelas' PyTorch port, timm's, and SBI's.

Names of layers are EfficientNet-PyTorch's (L. Melas-Kyriazi); timm's (`tf_efficientnet_b*`) are derived from them.
"""

import dataclasses
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
    batch_norm,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    to_state,
)
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors.efficientnet import VARIANTS, EfficientNet, EfficientNetConfig
from fdetect_jax.fields import from_fields

LAYOUTS = ("lukemelas", "timm", "sbi")
# Squeeze and excite: 1x1 convolutions there, dense layers here.
POINT = Layout(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])


def rows(config: EfficientNetConfig, layout: str = "lukemelas") -> Iterator[Row]:
    """Every array of the network, in the order of its layers, under the names of this layout."""
    rename = _timm_names(config) if layout == "timm" else {}
    prefix = "net." if layout == "sbi" else ""
    for row in _lukemelas(config):
        layer, _, entry = row.key.rpartition(".")
        yield row._replace(key=f"{prefix}{rename.get(layer, layer)}.{entry}")


def _lukemelas(config: EfficientNetConfig) -> Iterator[Row]:
    yield Pair("_conv_stem.weight", ("params", "conv_stem", "kernel"), CONV)
    yield from batch_norm("_bn0", "bn0")
    for i, block in enumerate(config.blocks()):
        there, here = f"_blocks.{i}", f"blocks_{i}"
        if block.expand != 1:
            yield Pair(f"{there}._expand_conv.weight", ("params", here, "expand_conv", "kernel"), CONV)
            yield from batch_norm(f"{there}._bn0", here, "bn0")
        yield Pair(f"{there}._depthwise_conv.weight", ("params", here, "depthwise_conv", "kernel"), CONV)
        yield from batch_norm(f"{there}._bn1", here, "bn1")
        for name in ("se_reduce", "se_expand") if config.squeeze else ():
            yield Pair(f"{there}._{name}.weight", ("params", here, name, "kernel"), POINT)
            yield Pair(f"{there}._{name}.bias", ("params", here, name, "bias"))
        yield Pair(f"{there}._project_conv.weight", ("params", here, "project_conv", "kernel"), CONV)
        yield from batch_norm(f"{there}._bn2", here, "bn2")
    yield Pair("_conv_head.weight", ("params", "conv_head", "kernel"), CONV)
    yield from batch_norm("_bn1", "bn1")
    yield Pair("_fc.weight", ("params", "fc", "kernel"), DENSE)
    yield Pair("_fc.bias", ("params", "fc", "bias"))


def _timm_names(config: EfficientNetConfig) -> dict[str, str]:
    """lukemelas' layer to timm's. Blocks there count within their stage, and the first stage has no expansion."""
    names = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
    counts: dict[int, int] = {}
    for i, block in enumerate(config.blocks()):
        number = counts.get(block.stage, 0)
        counts[block.stage] = number + 1
        layers = ["conv_dw", "bn1", "conv_pw", "bn2"]
        if block.expand != 1:
            layers = ["conv_dw", "bn2", "conv_pwl", "bn3"]
            names |= {f"_blocks.{i}._expand_conv": f"blocks.{block.stage - 1}.{number}.conv_pw"}
            names |= {f"_blocks.{i}._bn0": f"blocks.{block.stage - 1}.{number}.bn1"}
        layers += ["se.conv_reduce", "se.conv_expand"]
        theirs = ("_depthwise_conv", "_bn1", "_project_conv", "_bn2", "_se_reduce", "_se_expand")
        for there, layer in zip(theirs, layers, strict=True):
            names[f"_blocks.{i}.{there}"] = f"blocks.{block.stage - 1}.{number}.{layer}"
    return names


def convert(found: Any, normalization: str | None = None) -> tuple[dict, Variables, str]:
    """(fields of the config, variables, layout) of a checkpoint of any B0 to B7.

    normalization: of the input, "imagenet", "half" or "none"; None: "none" for SBI, else "imagenet".

    Raises:
      CheckpointError: not an EfficientNet, or not a whole one.
    """
    state = network_state(found)
    layout = _layout(state, "b0")
    normalization = normalization or ("none" if layout == "sbi" else "imagenet")
    return converted(state, layout, "b", normalization=normalization)


def convert_lite(found: Any) -> tuple[dict, Variables, str]:
    """As ``convert``, of a checkpoint of any Lite0 to Lite4."""
    state = network_state(found)
    return converted(state, _layout(state, "lite0"), "lite")


def converted(state: State, layout: str, family: str, **fields: Any) -> tuple[dict, Variables, str]:
    """What ``convert`` gives, for the nearest of the variants whose names begin with ``family``."""
    config = dataclasses.replace(_config(state, layout, family), **fields)
    if layout != "timm":
        # lukemelas' port pads every input as it would one of the size that the variant is made for.
        config = dataclasses.replace(config, static_padding_size=config.resolution)
    else:
        config = dataclasses.replace(config, bn_momentum=0.9)
    table = list(rows(config, layout))
    what = f"state dict of an EfficientNet ({layout})"
    variables = from_state(what, state, table)
    check_shapes(what, variables, table, EfficientNet(config), image_input(64))
    return dataclasses.asdict(config), variables, layout


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The state dict of variables, in one of `LAYOUTS`."""
    made = from_fields(EfficientNetConfig, config, "detector")
    check_variables("network", EfficientNet(made), variables, image_input(64))
    return to_state("variables of an EfficientNet", variables, rows(made, layout))


def _layout(state: State, variant: str) -> str:
    """The layout in which this variant shares most keys with the state dict."""
    common = {layout: len(set(state) & set(_keys(VARIANTS[variant], layout))) for layout in LAYOUTS}
    layout = max(common, key=common.get)
    if not common[layout]:
        raise CheckpointError(f"found keys {sorted(state)[:6]} …, wanted an EfficientNet of lukemelas, timm or SBI")
    return layout


def _keys(config: EfficientNetConfig, layout: str) -> list[str]:
    return [row.key for row in rows(config, layout)]


def _axis(state: State, key: str, axis: int) -> int:
    shape = state[key].shape if key in state else ()
    return shape[axis] if len(shape) > axis else 0


def _config(state: State, layout: str, family: str) -> EfficientNetConfig:
    """The variant of the family nearest in keys, then in the shapes that its width sets, with the file's classes."""
    *_, head, _, _, _, _, _, fc, _ = _keys(VARIANTS[f"{family}0"], layout)
    widths = (_axis(state, head, 1), _axis(state, head, 0))  # of the last block, and of the head

    def distance(config: EfficientNetConfig) -> tuple[int, bool]:
        return len(set(state) ^ set(_keys(config, layout))), widths != (config.blocks()[-1].outputs, config.ends[1])

    nearest = min((config for name, config in VARIANTS.items() if name.startswith(family)), key=distance)
    return dataclasses.replace(nearest, num_classes=max(_axis(state, fc, 0), 1))
