"""Weights and images made of names and seeds, in NumPy alone: reference and test draw the same ones."""

import math
import zlib

import numpy as np


def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """A float32 array that depends on its name and shape only.

    The last part of the name decides its range: activations stay near 1 through fifty layers, so that
    rounding is not amplified, and statistics lie far enough from 0 and 1 to be missed where one is left out.
    """
    draw = np.random.Generator(np.random.PCG64(zlib.crc32(name.encode()))).random(shape, dtype=np.float32)
    part = name.rsplit("/", 1)[-1]
    if part == "kernel":
        return (2 * draw - 1) * np.float32(math.sqrt(6 / math.prod(shape[:-1])))
    if part == "scale":
        return np.float32(0.6) * draw + np.float32(0.4)
    if part == "var":
        return draw + np.float32(0.5)
    if part == "slope":
        return draw * np.float32(0.5)
    if part.startswith("lin"):
        return draw
    return np.float32(0.4) * draw - np.float32(0.2)  # a bias or a mean


def image(seed: int, size: int) -> np.ndarray:
    """(2, size, size, 3) float32 in [-1, 1]: stripes of some direction, phase and colour, and noise."""
    draw = np.random.Generator(np.random.PCG64(seed)).random
    at = np.linspace(0, 1, size, dtype=np.float64)
    frequency, phase, colour = 20 * draw((2, 2)) - 10, 2 * math.pi * draw((2, 3)), 1.2 * draw((2, 3)) - 0.6
    angle = frequency[:, 0, None, None] * at[:, None] + frequency[:, 1, None, None] * at
    stripes = np.sin(2 * math.pi * angle[..., None] / 4 + phase[:, None, None])
    pixels = colour[:, None, None] + 0.3 * stripes + 0.2 * (draw((2, size, size, 3)) - 0.5)
    return np.clip(pixels, -1, 1).astype(np.float32)
