"""The authors' checkpoints of FWA (TF-slim) and of DSP-FWA (PyTorch), and what this project trains in the same layouts.

Their class 0 is fake, ours is real: the classifier's classes are exchanged. The repositories say that they are not for
commercial use.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.checkpoint import network_state
from fdetect_jax.convert.layout import (
    SAME,
    Fixed,
    Layout,
    Pair,
    Row,
    State,
    Variables,
    check_shapes,
    check_variables,
    from_state,
    image_input,
    tf_batch_norm,
    to_state,
)
from fdetect_jax.convert.resnet import nearest, trunk_rows
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.fwa import DSPFWAConfig, FWAConfig
from fdetect_jax.detectors.resnet import CHANNELS, EXPANSION, VARIANTS, ResNetConfig, config_of
from fdetect_jax.detectors.vgg import VGGConfig, layers
from fdetect_jax.fields import from_fields

LAYOUTS = ("slim", "dsp_fwa")
_NETWORKS = {"slim": "fwa", "dsp_fwa": "dsp_fwa"}
_INPUT = image_input(224)
_TRUNK = "resnet.resnet."
_IMAGENET = 1000  # classes of a layer that their DSP-FWA has and does not use
_REVERSED = Layout(lambda a: a[::-1], lambda a: a[::-1])
_POINT = Layout(lambda a: a[0, 0], lambda a: a[None, None])  # a dense layer, there a 1x1 convolution
_CLASSIFIER = Layout(lambda a: a[0, 0, :, ::-1], lambda a: a[None, None, :, ::-1])
_CELLS = 7  # of a side of VGG's first dense layer, there a 7x7 convolution
_WINDOW = Layout(lambda a: a.reshape(-1, a.shape[3]), lambda a: a.reshape(_CELLS, _CELLS, -1, a.shape[1]))


def rows(name: str, overrides: dict[str, Any]) -> Iterator[Row]:
    """Every array of "fwa" in TF-slim's names, or of "dsp_fwa" in the authors' PyTorch names."""
    if name == "dsp_fwa":
        yield from _dsp(from_fields(DSPFWAConfig, overrides, "detector"))
        return
    config = from_fields(FWAConfig, overrides, "detector")
    yield from _slim_vgg() if config.trunk == "vgg16" else _slim_resnet(config.trunk, dict(config.trunk_overrides))
    yield Fixed("global_step", np.zeros((), np.int64), checked=False)


def _slim_resnet(trunk: str, overrides: dict[str, Any]) -> Iterator[Row]:
    scope = f"resnet_v1_{trunk.removeprefix('resnet')}"
    yield from _slim_conv(f"{scope}/conv1", ("conv_stem",), ("bn_stem",))
    stage, place = 0, 0
    for number, unit in enumerate(config_of(trunk, overrides).blocks()):
        stage, place = unit.stage, place + 1 if unit.stage == stage else 1
        there, here = f"{scope}/block{stage}/unit_{place}/bottleneck_v1", f"blocks_{number}"
        for layer in range(3):
            yield from _slim_conv(f"{there}/conv{layer + 1}", (here, f"conv{layer}"), (here, f"bn{layer}"))
        if unit.inputs != unit.outputs:
            yield from _slim_conv(f"{there}/shortcut", (here, "shortcut_conv"), (here, "shortcut_bn"))
    yield Pair(f"{scope}/logits/weights", ("params", "fc", "kernel"), _CLASSIFIER)
    yield Pair(f"{scope}/logits/biases", ("params", "fc", "bias"), _REVERSED)


def _slim_conv(key: str, conv: tuple[str, ...], norm: tuple[str, ...]) -> Iterator[Row]:
    yield Pair(f"{key}/weights", ("params", *conv, "kernel"))
    yield from tf_batch_norm(f"{key}/BatchNorm", *norm)


def _slim_vgg() -> Iterator[Row]:
    def dense(there: str, here: str, kernel: Layout, bias: Layout = SAME) -> Iterator[Row]:
        yield Pair(f"vgg_16/{there}/weights", ("params", here, "kernel"), kernel)
        yield Pair(f"vgg_16/{there}/biases", ("params", here, "bias"), bias)

    for layer in layers("vgg16"):
        if place := layer.removeprefix("relu").removeprefix("pool")[1:]:
            block = layer.removeprefix("relu")[0]
            yield from dense(f"conv{block}/conv{block}{place}", f"vgg16_conv{block}{place}", SAME)
    yield from dense("fc6", "vgg16_fc6", _WINDOW)
    yield from dense("fc7", "vgg16_fc7", _POINT)
    yield from dense("fc8", "fc", _CLASSIFIER, _REVERSED)


def _dsp(config: DSPFWAConfig) -> Iterator[Row]:
    network: ResNetConfig = config.network
    for row in trunk_rows(network):
        yield row._replace(key=_TRUNK + row.key)
    channels = EXPANSION * (network.channels << len(network.units) - 1)
    for key, classes in ((f"{_TRUNK}fc", _IMAGENET), ("resnet.fc", config.num_classes)):  # neither is used
        yield Fixed(f"{key}.weight", np.zeros((classes, channels), np.float32), checked=False)
        yield Fixed(f"{key}.bias", np.zeros(classes, np.float32), checked=False)
    yield Pair("classifier.weight", ("params", "fc", "kernel"), _levels(config.levels, channels))
    yield Pair("classifier.bias", ("params", "fc", "bias"), _REVERSED)


def _levels(levels: tuple[int, ...], channels: int) -> Layout:
    """Of the classifier: every level counts channels before cells there, and cells before channels here."""
    ends = np.cumsum([channels * n * n for n in levels])[:-1]

    def ours(a: np.ndarray) -> np.ndarray:
        parts = np.split(a[::-1].T, ends)
        turned = (part.reshape(channels, n * n, -1).swapaxes(0, 1) for part, n in zip(parts, levels, strict=True))
        return np.concatenate([part.reshape(-1, len(a)) for part in turned])

    def theirs(a: np.ndarray) -> np.ndarray:
        parts = np.split(a, ends)
        turned = (part.reshape(n * n, channels, -1).swapaxes(0, 1) for part, n in zip(parts, levels, strict=True))
        return np.concatenate([part.reshape(-1, a.shape[1]) for part in turned]).T[::-1]

    return Layout(ours, theirs)


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of either's checkpoint.

    Raises:
      CheckpointError: neither, or not a whole one.
    """
    state = network_state(found)
    layout = "slim" if any(key.startswith(("resnet_v1_", "vgg_16/")) for key in state) else "dsp_fwa"
    name, overrides = _NETWORKS[layout], _slim_fields(state) if layout == "slim" else _dsp_fields(state)
    what, table = f"checkpoint of {name}", list(rows(name, overrides))
    variables = from_state(what, state, table)
    check_shapes(what, variables, table, make_detector(name, overrides), _INPUT)
    return {"name": name, "overrides": overrides}, variables, layout


def _slim_fields(state: State) -> dict[str, Any]:
    scope = next(key.split("/")[0] for key in state if key.startswith(("resnet_v1_", "vgg_16/")))
    trunk = scope.replace("_v1_", "").replace("_", "")
    if trunk not in (*VARIANTS, "vgg16"):
        raise CheckpointError(f"found a network {scope!r:.100}, wanted vgg_16, resnet_v1_50, _101 or _152")
    vgg = trunk == "vgg16"
    own = _width(_last(state, f"{scope}/{'conv1/conv1_1' if vgg else 'conv1'}/weights"))
    if vgg and (hidden := _last(state, f"{scope}/fc6/weights")) != VGGConfig().hidden:
        own |= {"hidden": hidden}
    classes = _last(state, f"{scope}/{'fc8' if vgg else 'logits'}/biases")
    return {"trunk": trunk, "num_classes": classes, "trunk_overrides": own}


def _dsp_fields(state: State) -> dict[str, Any]:
    if not any(key.startswith(_TRUNK) for key in state):
        raise CheckpointError(f"found keys {sorted(state)[:6]} …, wanted those of FWA or DSP-FWA")
    own = _width(_last(state, f"{_TRUNK}bn1.bias"))
    classes = _last(state, "classifier.bias")
    return {"trunk": nearest(set(state), _TRUNK), "num_classes": classes, "trunk_overrides": own}


def _width(channels: int) -> dict[str, float]:
    """The field of a trunk whose first convolution has so many channels; none of the published networks' 64."""
    return {} if channels == CHANNELS else {"width": channels / CHANNELS}


def _last(state: State, key: str) -> int:
    """The length of the last axis of an array, 1 where there is none."""
    shape = state[key].shape if key in state else ()
    return max(shape[-1], 1) if shape else 1


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The inverse of ``convert``. Layers of theirs that are not used come out as zeros.

    Raises:
      CheckpointError: the layout is the other network's.
    """
    name, overrides = config["name"], config["overrides"]
    if _NETWORKS[layout] != name:
        raise CheckpointError(f"layout: found {layout!r} of {name}, wanted that of its own")
    check_variables(name, make_detector(name, overrides), variables, _INPUT)
    return to_state(f"variables of {name}", variables, rows(name, overrides))
