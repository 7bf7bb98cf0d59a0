"""What travels between rooms: batches in, outputs out, and the label convention.

Labels are 0 = real, 1 = fake, everywhere; a score is P(fake). Images are NHWC, RGB, uint8 or float32 in [0, 1].
"""

from typing import Any, TypedDict

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct

Array = jax.Array | np.ndarray

REAL = 0
FAKE = 1


class Example(TypedDict, total=False):
    """One face crop on the host, as every source yields it.

    image: (S, S, 3) uint8 RGB.
    landmarks: (68, 2) float32, (x, y) in pixels of the crop, iBUG order; integer coordinates are pixel centres.
    mask: (S, S) uint8 in {0, 1}, 1 on the face.
    box: (4,) float32 (x0, y0, x1, y1) of the face; of a loose crop, whose image is (H, W, 3) (``media.crop.loose``).
    identity: int32, equal for two examples of one person; unique over all splits of a source.
    """

    image: np.ndarray
    landmarks: np.ndarray
    mask: np.ndarray
    box: np.ndarray
    identity: np.int32


@struct.dataclass
class Batch:
    """Rows for a detector.

    image: (B, H, W, 3). label: (B,) int32. identity: (B,) int32. weight: (B,) float32, 0 on rows that only pad.
    pair: (B,) int32, equal for a face x and the fakes x' made from it. face: (B, H, W) in [0, 1], where the face is;
    None unless a term of the loss asks.
    """

    image: Array
    label: Array
    identity: Array
    weight: Array
    pair: Array
    face: Array | None = None


@struct.dataclass
class Outputs:
    """What a detector returns. ``logits`` (B, 2) always; the rest where the detector has it.

    embedding: (B, D) the vector under the classifier. cosines: (B, 2) of its angles with the classes, where these make
    the logits. attention: (B, h, w, 1) in [0, 1]. mask: (B, h, w, 1) logits.
    reconstruction: like the image. features: name -> (B, h, w, C).
    """

    logits: jax.Array
    embedding: jax.Array | None = None
    cosines: jax.Array | None = None
    attention: jax.Array | None = None
    mask: jax.Array | None = None
    reconstruction: jax.Array | None = None
    features: dict[str, jax.Array] | None = None


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


def to_unit(image: jax.Array) -> jax.Array:
    """uint8 [0, 255] or float [0, 1] -> float32 [0, 1]."""
    return image.astype(jnp.float32) / 255.0 if image.dtype == jnp.uint8 else image


def score(logits: jax.Array) -> jax.Array:
    """(B, 2) logits -> (B,) P(fake)."""
    return jax.nn.softmax(logits, axis=-1)[:, FAKE]
