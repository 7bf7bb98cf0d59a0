"""Traces of generators without a generator, a host forgery: a face is made smaller, or described by few numbers, and
made again. In: an Example. Out: a ForgedPair.

Generators and autoencoders enlarge feature maps step by step, and each step leaves a pattern between neighbouring
pixels (Odena et al., 2016; Tan et al., 2024). Only the pattern is added to the face: what a good enlargement would lose
as well is kept, so that sharpness does not tell the two apart.
"""

from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np

from fdetect_jax.types import Example, ForgedPair

_FACTORS = (2, 4)
_UNEVEN = (0.02, 0.15)  # standard deviation of a kernel's weights, relative
_AMOUNT = (0.4, 1.2)  # of the pattern
_PATCH, _STEP = 8, 4  # pixels, of the autoencoder
_LEARNED = 1000  # patches, at most
_NUMBERS = (10, 40)  # that describe a patch of 192


@dataclass(frozen=True)
class Trace:
    """pattern: (S, S, 3) float32, what was added, from grey 127.5."""

    pattern: np.ndarray


def resampled(rng: np.random.Generator, target: Example, donor: Callable[[], Example]) -> ForgedPair:
    """The target's face with the traces of one way to make it again; see ``stages``."""
    return stages(rng, target, donor)[1]


def stages(rng: np.random.Generator, target: Example, donor: Callable[[], Example]) -> tuple[Trace, ForgedPair]:
    """The trace, and the pair.

    Args:
        rng: the only source of randomness: how the face is made again, and how strong the trace is.
        target: with image (S, S, 3) uint8, S at least 8. donor: not asked for.

    Returns:
        ``real`` is the target's image; ``mask`` is 1 everywhere.
    """
    image = target["image"]
    way = rng.choice(["zeros", "nearest", "autoencoder"])
    trace = _autoencoded(rng, image) if way == "autoencoder" else _enlarged(rng, image, way == "zeros")
    fake = np.clip(np.round(image + rng.uniform(*_AMOUNT) * trace), 0, 255).astype(np.uint8)
    mask = np.ones(image.shape[:2], np.float32)
    return Trace(np.clip(127.5 + trace, 0, 255)), ForgedPair(image, fake, mask, target.get("mask"))


def _enlarged(rng: np.random.Generator, image: np.ndarray, zeros: bool) -> np.ndarray:
    """The difference between an enlargement by a learned kernel and a smooth one, (S, S, 3) float32.

    zeros: as a transposed convolution does, whose kernel then weighs some pixels more than others; otherwise pixels are
    repeated and convolved.
    """
    factor, size = int(rng.choice(_FACTORS)), image.shape[0]
    side = (-(-size // factor) + 2) * factor  # with an edge, where no kernel is whole
    edges = factor, side - size - factor
    padded = cv2.copyMakeBorder(image, *edges, *edges, cv2.BORDER_REFLECT_101).astype(np.float32)
    shrunk = cv2.resize(padded, (side // factor, side // factor), interpolation=cv2.INTER_AREA)
    smooth = cv2.resize(shrunk, (side, side), interpolation=cv2.INTER_CUBIC)
    if zeros:
        made = np.zeros_like(padded)
        made[factor // 2 :: factor, factor // 2 :: factor] = shrunk
        ramp = 1 - np.abs(np.arange(1 - factor, factor)) / factor  # bilinear, if it were even
        kernel = np.outer(ramp, ramp) * _weights(rng, 2 * factor - 1)
        kernel *= factor**2 / kernel.sum()
    else:
        made = np.repeat(np.repeat(shrunk, factor, 0), factor, 1)
        kernel = _weights(rng, 3)
        kernel /= kernel.sum()
    made = cv2.filter2D(made, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return (made - smooth)[factor : factor + size, factor : factor + size]


def _weights(rng: np.random.Generator, size: int) -> np.ndarray:
    return np.maximum(1 + rng.uniform(*_UNEVEN) * rng.standard_normal((size, size)), 0.05)


def _autoencoded(rng: np.random.Generator, image: np.ndarray) -> np.ndarray:
    """What a linear autoencoder of overlapping patches changes, (S, S, 3) float32; it is fitted to this face."""
    values = image.astype(np.float32)
    places = np.unique(np.append(np.arange(0, image.shape[0] - _PATCH + 1, _STEP), image.shape[0] - _PATCH))
    windows = np.lib.stride_tricks.sliding_window_view(values, (_PATCH, _PATCH), axis=(0, 1))
    patches = windows[places][:, places].reshape(len(places) ** 2, -1)
    mean = patches.mean(0)
    learned = patches if len(patches) <= _LEARNED else patches[rng.choice(len(patches), _LEARNED, replace=False)]
    numbers = int(rng.integers(*_NUMBERS))
    spread = learned - mean
    _, vectors = np.linalg.eigh(spread.T @ spread)
    code = vectors[:, -numbers:]
    found = ((patches - mean) @ code @ code.T + mean).reshape(len(places), len(places), 3, _PATCH, _PATCH)
    total, count = np.zeros_like(values), np.zeros(image.shape[:2], np.float32)
    for i in range(_PATCH):
        for j in range(_PATCH):
            rows, columns = (places + i)[:, None], (places + j)[None]
            np.add.at(total, (rows, columns), found[..., i, j])
            np.add.at(count, (rows, columns), 1.0)
    return total / count[..., None] - values
