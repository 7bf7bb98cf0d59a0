"""The authors' weights of ClassNSeg (PyTorch): the file of the encoder and that of the decoder, as one detector.

Their class 1 is real, ours is fake: the halves of the latent code change places here.
"""

import os
from collections.abc import Iterator
from typing import Any

import numpy as np

from fdetect_jax.convert.checkpoint import network_state, read_checkpoint
from fdetect_jax.convert.layout import (
    CONV,
    SAME,
    Layout,
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
from fdetect_jax.detectors.classnseg import SIZE, ClassNSegConfig, build
from fdetect_jax.fields import from_fields

LAYOUTS = ("nii",)
WHAT = "state dicts of ClassNSeg"
# A transposed convolution there, (in, out, k, l), and a convolution of the turned kernel here.
TRANSPOSED = Layout(lambda a: a.transpose(2, 3, 0, 1)[::-1, ::-1], lambda a: a[::-1, ::-1].transpose(2, 3, 0, 1))


def _halves_changed(layout: Layout, theirs: int, ours: int) -> Layout:
    """The same with the two halves of an axis, by its numbers there and here, in each other's place."""
    change = lambda a, axis: np.roll(a, a.shape[axis] // 2, axis)  # noqa: E731
    return Layout(lambda a: change(layout.ours(a), ours), lambda a: change(layout.theirs(a), theirs))


def rows(config: ClassNSegConfig) -> Iterator[Row]:
    """Every array of both networks; the decoder's are named apart from the encoder's."""
    last = 2 * len(config.widths) - 2
    for number in range(last + 1):
        latent = number == last
        layout = _halves_changed(CONV, 0, -1) if latent else CONV
        yield from _layer("encoder", 3 * number, f"encoder{number}", layout, latent)
    for number in range(2 * config.shared):
        layout = TRANSPOSED if number else _halves_changed(TRANSPOSED, 0, -2)
        yield from _layer("shared", 3 * number, f"shared{number}", layout)
    layers = last - 2 * config.shared
    for theirs, ours in (("segmenter", "segmenter"), ("decoder", "reconstructor")):
        for number in range(layers):
            yield from _layer(theirs, 3 * number, f"{ours}{number}", TRANSPOSED)
        yield from _convolution(f"{theirs}.{3 * layers}", (f"{ours}_end",), TRANSPOSED)


def _convolution(there: str, here: tuple[str, ...], layout: Layout, bias: Layout = SAME) -> Iterator[Row]:
    yield Pair(f"{there}.weight", ("params", *here, "kernel"), layout)
    yield Pair(f"{there}.bias", ("params", *here, "bias"), bias)


def _layer(there: str, number: int, here: str, layout: Layout, latent: bool = False) -> Iterator[Row]:
    vector = _halves_changed(SAME, 0, 0) if latent else SAME
    yield from _convolution(f"{there}.{number}", (here, "conv"), layout, vector)
    for row in batch_norm(f"{there}.{number + 1}", here, "norm"):
        yield row._replace(layout=vector) if isinstance(row, Pair) else row


def convert(found: Any, decoder: str | os.PathLike) -> tuple[dict, Variables, str]:
    """(name and overrides of the detector, variables, layout) of the encoder's state dict.

    decoder: the file of the decoder that was trained with it.

    Raises:
      CheckpointError: either is another network, or not a whole one.
    """
    state, more = network_state(found), network_state(read_checkpoint(decoder))
    if both := sorted(set(state) & set(more)):
        raise CheckpointError(f"{WHAT}: found {both[0]!r} in both files, wanted an encoder and its decoder")
    config = ClassNSegConfig()
    variables = from_state(WHAT, {**state, **more}, table := list(rows(config)))
    check_shapes(WHAT, variables, table, build({}, None, np.float32), image_input(SIZE))
    return {"name": "classnseg", "overrides": {}}, variables, LAYOUTS[0]


def export(config: dict, variables: Variables, layout: str) -> dict[str, np.ndarray]:
    """The arrays of both networks by the authors' keys: those of the encoder begin with "encoder."."""
    made = from_fields(ClassNSegConfig, config["overrides"], "detector")
    check_variables("classnseg", build(config["overrides"], None, np.float32), variables, image_input(made.reduction))
    return to_state(WHAT, variables, rows(made))
