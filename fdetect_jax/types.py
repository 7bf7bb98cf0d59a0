"""What travels between rooms: batches in, outputs out, and the conventions of labels, kinds and images.

Labels are 0 = real, 1 = fake, everywhere. Images are NHWC, RGB, uint8 or float32 in [0, 1]; a clip has one more axis,
(B, T, H, W, 3). A detector's margin is positive where it takes a face for fake, and P(fake) is its logistic function.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray

REAL = 0
FAKE = 1

# Kinds of forgery (Echizen's five). A face's kind is its place here; real faces are of kind 0.
KINDS = ("real", "entire synthesis", "attribute", "reenactment", "speaking", "swap")
UNKNOWN = -1  # the kind of a fake whose kind is not stated

FEATURES = "features/"  # the heads of a detector that are its feature maps begin so, in the order they are made


class Example(TypedDict, total=False):
    """One face crop on the host, as every source yields it.

    image: (S, S, 3) uint8 RGB.
    landmarks: (68, 2) float32, (x, y) in pixels of the crop, iBUG order; integer coordinates are pixel centres.
    mask: (S, S) uint8 in {0, 1}, 1 on the face.
    box: (4,) float32 (x0, y0, x1, y1) of the face; of a context crop, whose image is (H, W, 3) (``faces.crop``).
    identity: int32, equal for two examples of one person; unique over all splits of a source.
    """

    image: np.ndarray
    landmarks: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    identity: np.int32


@dataclasses.dataclass(frozen=True)
class ForgedPair:
    """What a host forgery makes of a face.

    real, fake: (S, S, 3) uint8 RGB; ``real`` is the face as the detector is to see it. mask: (S, S) float32 in
    [0, 1], the share of what was put in, in every pixel of ``fake``; None where it is unknown. face: (S, S) uint8 in
    {0, 1}, where the face is, in both alike; None where the face came without landmarks. targets: of the fake, by name,
    what else ``data.targets.TARGETS`` knows, such as its kind.
    """

    real: np.ndarray
    fake: np.ndarray
    mask: np.ndarray | None
    face: np.ndarray | None = None
    targets: Mapping[str, Any] = dataclasses.field(default_factory=dict)


HostForgery = Callable[[np.random.Generator, Example, Callable[[], Example]], ForgedPair]
"""(rng, face, donor) -> ForgedPair; ``donor()`` draws a face of another person, for those that need one."""


@struct.dataclass
class Batch:
    """Rows for a detector.

    image: (B, H, W, 3), or clips (B, T, H, W, 3). label: (B,) int32. weight: (B,) float32, 0 on rows that only pad.
    targets: what else the loss may ask for, by name; ``data.targets.TARGETS`` says what each is.
    """

    image: Array
    label: Array
    weight: Array
    targets: dict[str, Array] = struct.field(default_factory=dict)


@struct.dataclass
class Outputs:
    """What a detector returns.

    logits: (B, K), class 0 is real, the others are fakes: K = 2, or one class for each kind, method or generator.
    heads: arrays by name, such as embedding (B, D), the vector under the classifier; cosines (B, K) of its angles with
    the classes; attention (B, h, w, 1) in [0, 1]; mask (B, h, w, 1) logits; map (B, h, w, 1), an attention without
    bounds; reconstruction, like the image; and features/NAME (B, h, w, C), feature maps in the order they are made.
    """

    logits: jax.Array
    heads: dict[str, jax.Array] = struct.field(default_factory=dict)


@struct.dataclass
class TrainState:
    """Everything a run needs to go on, bit for bit.

    variables: flax collections of the networks being trained. opt_state: one optimiser state per objective.
    rng: one typed key; every draw folds it with the step and a purpose. extra: what a trainer keeps beside
    (moving averages and the like).
    """

    step: jax.Array
    variables: Any
    opt_state: Any
    rng: jax.Array
    extra: Any = None


def kind_number(kind: str) -> int:
    """The place of a kind in ``KINDS``, -1 for "unknown". Raises ValueError for any other name."""
    return UNKNOWN if kind == "unknown" else KINDS.index(kind)


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 [0, 255] or float [0, 1] -> float32 [0, 1]."""
    return image.astype(jnp.float32) / 255.0 if image.dtype == jnp.uint8 else image


def margin(logits: jax.Array) -> jax.Array:
    """(B, K) logits -> (B,) float32, log of P(any fake) / P(real): logsumexp of the fake classes minus the real one."""
    logits = logits.astype(jnp.float32)
    return jax.nn.logsumexp(logits[:, FAKE:], axis=-1) - logits[:, REAL]


def score(logits: jax.Array) -> jax.Array:
    """(B, K) logits -> (B,) P(fake), to be shown; compare margins: it is 1 in float32 from 17 on."""
    return jax.nn.sigmoid(margin(logits))


def feature_maps(outputs: Outputs) -> dict[str, jax.Array]:
    """The feature maps among the heads, by name without the prefix, in the order they are made."""
    return {name.removeprefix(FEATURES): x for name, x in outputs.heads.items() if name.startswith(FEATURES)}
