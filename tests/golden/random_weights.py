"""Weights that two frameworks can make alike: an array is a function of its name and shape alone."""

import hashlib
import zlib

import numpy as np


def random_array(name: str, shape: tuple[int, ...], gain: float | None = 1.0) -> np.ndarray:
    """A float32 array for the state-dict entry ``name``, far from what initialisation would give it.

    Matrices and kernels (axis 0 is the output): N(0, gain² / fan_in), at 1 calm enough that 32 residual blocks do not
    amplify rounding; None: N(0, 1), what layers of equalised learning rate store. Biases and running means:
    N(0, 0.1²). Scales and running variances: U(0.5, 1.5).
    """
    rng = np.random.default_rng(zlib.crc32(name.encode()))
    if len(shape) > 1:
        array = rng.standard_normal(shape) * (1.0 if gain is None else gain * np.sqrt(1.0 / np.prod(shape[1:])))
    elif name.endswith((".bias", ".running_mean", ".b1", ".b2")):
        array = 0.1 * rng.standard_normal(shape)
    else:
        array = rng.uniform(0.5, 1.5, shape)
    if name.startswith(("mapping.fc", "style.")):  # stored a hundred times as large as they are used
        array *= 100
    return array.astype(np.float32)


def deepfd_array(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """``random_array`` for a variable of DeepFD's graph, whose last axis is the output.

    The dense layer of the feature is small, because the softmax that follows would else be one 1 and zeros.
    """
    if len(shape) > 1:
        gain = 0.2 if name.endswith("featW") else 3.0 if "Final" in name else 1.0
        return np.moveaxis(random_array(name, (shape[-1], *shape[:-1]), gain), 0, -1)
    return random_array(f"{name}.bias" if name.endswith(("B", "beta", "moving_mean")) else name, shape)


def numbers_of(feature: np.ndarray) -> list[float]:
    """Numbers that move when a border or channel of (B, H, W, C) does: mean, deviation, corners of both ends."""
    corners = (feature[0, 0, 0], feature[0, -1, -1], feature[-1, 0, -1], feature[-1, -1, 0])
    ends = np.concatenate([corner[:3] for corner in corners])
    return [float(f"{float(v):.8g}") for v in (feature.mean(), feature.std(), *ends)]


def digest(shapes: dict[str, tuple[int, ...]]) -> str:
    """A fingerprint of a state dict's keys and shapes."""
    lines = "\n".join(f"{key} {list(shape)}" for key, shape in sorted(shapes.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def random_images(seed: int, batch: int, size: int) -> np.ndarray:
    """(B, size, size, 3) float32 in [0, 1): smooth waves plus noise, so borders and texture both count."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size] / size
    phase = rng.uniform(0, 2 * np.pi, (batch, 1, 1, 3))
    turns = rng.uniform(1, 4, (2, batch, 1, 1, 3))
    waves = np.sin(2 * np.pi * (turns[0] * y[None, :, :, None] + turns[1] * x[None, :, :, None]) + phase)
    return (0.5 + 0.3 * waves + 0.2 * rng.uniform(-1, 1, waves.shape)).astype(np.float32)
