"""EfficientNet between the state dict of EfficientNet-PyTorch (L. Melas-Kyriazi) and our variables."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from fdetect_jax.detectors.efficientnet import EfficientNetConfig

Variables = dict[str, Any]


class Layout(NamedTuple):
    """How one array changes: to ours from theirs, and back."""

    ours: Callable[[np.ndarray], np.ndarray]
    theirs: Callable[[np.ndarray], np.ndarray]


SAME = Layout(lambda a: a, lambda a: a)
CONV = Layout(lambda a: a.transpose(2, 3, 1, 0), lambda a: a.transpose(3, 2, 0, 1))
DENSE = Layout(np.transpose, np.transpose)
# Squeeze and excite: 1x1 convolutions there, dense layers here.
POINT = Layout(lambda a: a[:, :, 0, 0].T, lambda a: a.T[:, :, None, None])


class Pair(NamedTuple):
    """Their key, our path (collection first), and what happens to the array between."""

    key: str
    path: tuple[str, ...]
    layout: Layout


def pairs(config: EfficientNetConfig) -> Iterator[Pair]:
    """Every array of the network, in the order of its layers."""

    def norm(key: str, *path: str) -> Iterator[Pair]:
        yield Pair(f"{key}.weight", ("params", *path, "scale"), SAME)
        yield Pair(f"{key}.bias", ("params", *path, "bias"), SAME)
        yield Pair(f"{key}.running_mean", ("batch_stats", *path, "mean"), SAME)
        yield Pair(f"{key}.running_var", ("batch_stats", *path, "var"), SAME)

    yield Pair("_conv_stem.weight", ("params", "conv_stem", "kernel"), CONV)
    yield from norm("_bn0", "bn0")
    for i, block in enumerate(config.blocks()):
        there, here = f"_blocks.{i}", f"blocks_{i}"
        if block.expand != 1:
            yield Pair(f"{there}._expand_conv.weight", ("params", here, "expand_conv", "kernel"), CONV)
            yield from norm(f"{there}._bn0", here, "bn0")
        yield Pair(f"{there}._depthwise_conv.weight", ("params", here, "depthwise_conv", "kernel"), CONV)
        yield from norm(f"{there}._bn1", here, "bn1")
        for name in ("se_reduce", "se_expand"):
            yield Pair(f"{there}._{name}.weight", ("params", here, name, "kernel"), POINT)
            yield Pair(f"{there}._{name}.bias", ("params", here, name, "bias"), SAME)
        yield Pair(f"{there}._project_conv.weight", ("params", here, "project_conv", "kernel"), CONV)
        yield from norm(f"{there}._bn2", here, "bn2")
    yield Pair("_conv_head.weight", ("params", "conv_head", "kernel"), CONV)
    yield from norm("_bn1", "bn1")
    yield Pair("_fc.weight", ("params", "fc", "kernel"), DENSE)
    yield Pair("_fc.bias", ("params", "fc", "bias"), SAME)


def from_lukemelas(state_dict: dict[str, np.ndarray], config: EfficientNetConfig) -> Variables:
    """Variables of ``EfficientNet(config)``: {"params", "batch_stats"}, arrays float32.

    ``num_batches_tracked`` is ignored: running statistics here decay at a fixed rate.

    Raises:
      ValueError: the keys are not those of the architecture; lists the missing and the extra ones.
    """
    found = {key for key in state_dict if not key.endswith(".num_batches_tracked")}
    table = list(pairs(config))
    _check_keys("state dict", found, {pair.key for pair in table})
    arrays = {pair.path: pair.layout.ours(np.asarray(state_dict[pair.key], np.float32)) for pair in table}
    return unflatten_dict(arrays)


def to_lukemelas(variables: Variables, config: EfficientNetConfig) -> dict[str, np.ndarray]:
    """The inverse of ``from_lukemelas``, without ``num_batches_tracked``; raises as it does."""
    flat = flatten_dict({name: variables[name] for name in ("params", "batch_stats")})
    table = list(pairs(config))
    _check_keys("variables", set(map("/".join, flat)), {"/".join(pair.path) for pair in table})
    return {pair.key: pair.layout.theirs(np.asarray(flat[pair.path], np.float32)) for pair in table}


def _check_keys(what: str, found: set[str], wanted: set[str]) -> None:
    if found != wanted:
        missing, extra = sorted(wanted - found), sorted(found - wanted)
        raise ValueError(f"{what} of an EfficientNet: missing {missing}, extra {extra}")
