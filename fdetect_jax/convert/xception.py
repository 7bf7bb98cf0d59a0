"""Xception between PyTorch's state dicts and our variables: Standley's, Cadene's and FaceForensics++'s."""

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
    under,
)
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.xception import XceptionConfig
from fdetect_jax.fields import from_fields

# Layout -> what stands before every key, and the key of the classifier. "standley": xception-b5690688.pth, whose 1x1
# convolutions over channels are matrices. "cadene": xception-43020ad28.pth. "last_linear": what Cadene's model saves.
# "faceforensics" and "faceforensics_dropout": what FaceForensics++'s TransferModel saves.
_NAMES = {
    "standley": ("", "fc"),
    "cadene": ("", "fc"),
    "last_linear": ("", "last_linear"),
    "faceforensics": ("model.", "last_linear"),
    "faceforensics_dropout": ("model.", "last_linear.1"),
}
LAYOUTS = tuple(_NAMES)
MATRIX = Layout(lambda a: a.transpose(1, 0)[None, None], lambda a: a[0, 0].transpose(1, 0))
_PROBE = "block1.rep.0.pointwise.weight"  # a matrix in Standley's layout


def rows(config: XceptionConfig, layout: str = "cadene") -> Iterator[Row]:
    """Every array of the network, in the order of its layers, under the names of this layout."""
    prefix, classifier = _NAMES[layout]
    point = MATRIX if layout == "standley" else CONV
    yield from under(prefix, [*trunk_rows(config, point), *dense_rows(classifier, "fc")])


def trunk_rows(
    config: XceptionConfig, point: Layout = CONV, depthwise: str = "conv1", skip_norm: str = "skipbn"
) -> Iterator[Row]:
    """The rows below the classifier. point: of the 1x1 convolutions over channels; depthwise, skip_norm: names."""
    for number in (1, 2):
        yield Pair(f"conv{number}.weight", ("params", f"conv{number}", "kernel"), CONV)
        yield from batch_norm(f"bn{number}", f"bn{number}")
    last = config.blocks + 4
    for number in range(1, last + 1):
        entry = number <= 3
        yield from block_rows(
            f"block{number}",
            (f"block{number}",),
            convolutions=2 if entry or number == last else 3,
            skip=entry or number == last,
            relu_first=number > 1,
            names=(depthwise, skip_norm),
            point=point,
        )
    for number in (3, 4):
        yield from separable_rows(f"conv{number}", (f"conv{number}",), depthwise, point)
        yield from batch_norm(f"bn{number}", f"bn{number}")


def block_rows(
    there: str,
    here: tuple[str, ...],
    convolutions: int,
    skip: bool,
    relu_first: bool,
    names: tuple[str, str],
    point: Layout = CONV,
) -> Iterator[Row]:
    """One ``Block``; its ``rep`` counts ReLU, convolution and norm. names: of the depthwise layer, of the skip norm."""
    depthwise, skip_norm = names
    if skip:
        yield Pair(f"{there}.skip.weight", ("params", *here, "skip", "kernel"), CONV)
        yield from batch_norm(f"{there}.{skip_norm}", *here, "skip_bn")
    for number in range(convolutions):
        place = 3 * number + relu_first
        yield from separable_rows(f"{there}.rep.{place}", (*here, f"conv{number}"), depthwise, point)
        yield from batch_norm(f"{there}.rep.{place + 1}", *here, f"bn{number}")


def separable_rows(there: str, here: tuple[str, ...], depthwise: str, point: Layout = CONV) -> Iterator[Row]:
    """One ``Separable``."""
    yield Pair(f"{there}.{depthwise}.weight", ("params", *here, "conv1", "kernel"), CONV)
    yield Pair(f"{there}.pointwise.weight", ("params", *here, "pointwise", "kernel"), point)


def dense_rows(there: str, *here: str) -> Iterator[Row]:
    """A dense layer with bias."""
    yield Pair(f"{there}.weight", ("params", *here, "kernel"), DENSE)
    yield Pair(f"{there}.bias", ("params", *here, "bias"))


def convert(found: Any) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of a checkpoint with any number of classes.

    Raises:
      CheckpointError: not an Xception, or not a whole one.
    """
    state = network_state(found)
    layout = _layout(state)
    overrides = {"num_classes": int(state["".join(_NAMES[layout]) + ".weight"].shape[0])}
    if layout == "faceforensics_dropout":
        overrides["dropout"] = 0.5
    config, what = from_fields(XceptionConfig, overrides, "detector"), f"state dict of an Xception ({layout})"
    variables = from_state(what, state, table := list(rows(config, layout)))
    check_shapes(what, variables, table, make_detector("xception", overrides), image_input(71))
    return {"name": "xception", "overrides": overrides}, variables, layout


def _layout(state: State) -> str:
    for layout, (prefix, classifier) in _NAMES.items():
        weight, probe = state.get(f"{prefix}{classifier}.weight"), state.get(prefix + _PROBE)
        flat = probe is not None and len(probe.shape) == 2
        if weight is not None and probe is not None and len(weight.shape) == 2 and flat == (layout == "standley"):
            return layout
    raise CheckpointError(
        f"found keys {sorted(state)[:6]} …, wanted an Xception of Standley, Cadene or FaceForensics++"
    )


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The state dict of variables, in one of `LAYOUTS`."""
    made = from_fields(XceptionConfig, config["overrides"], "detector")
    check_variables(config["name"], make_detector(config["name"], config["overrides"]), variables, image_input(71))
    return to_state("variables of an Xception", variables, rows(made, layout))
