"""Networks small enough to compile and run in a unit test, with every parameter drawn at random."""

import functools
import zlib
from pathlib import Path
from typing import Any

import flax.traverse_util
import jax
import jax.numpy as jnp
import numpy as np

from fdetect_jax.gan import inversion

TRUNK = {"stem": 4, "stages": ((4, 1), (8, 1), (8, 1)), "se_reduction": 4}
PAIR = {
    "generator": {
        "resolution": 32,
        "z_dim": 8,
        "w_dim": 8,
        "mapping_layers": 2,
        "channel_base": 128,
        "channel_max": 16,
        "conv_clamp": None,
    },
    "encoder": {"trunk": TRUNK, "input_size": 32, "w_dim": 8, "pool": "flatten"},
    "hyper": {"trunk": TRUNK, "input_size": 32, "width": 8, "regressor": 4, "hidden": 4},
}


def drawn(shapes: Any, seed: int = 0) -> Any:
    """A tree of arrays like ``shapes`` (of ``jax.eval_shape``), far enough from initial values to tell them apart.

    Kernels keep the variance of what passes through; equalised weights are N(0, 1), as they are stored.
    """
    flat = flax.traverse_util.flatten_dict(dict(shapes), sep="/")
    return flax.traverse_util.unflatten_dict(
        {path: _array(path, leaf.shape, seed) for path, leaf in flat.items()}, sep="/"
    )


def _array(path: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    name = path.rsplit("/", 1)[-1]
    rng = np.random.default_rng((seed, zlib.crc32(path.encode())))
    array = rng.standard_normal(shape)
    if name in ("scale", "var"):
        array = rng.uniform(0.5, 1.5, shape)
    elif path.endswith("affine/bias"):
        array = 1 + 0.1 * array
    elif name.endswith("kernel"):
        array = array * np.sqrt(2 / np.prod(shape[:-1]))
    elif name in ("w1", "w2"):
        array = array * np.sqrt(2 / shape[-1])
    elif "mapping" in path and name == "weight":
        array = 100 * array
    elif name not in ("weight", "const", "noise_const"):
        array = 0.1 * array
    return np.asarray(array, np.float32)


def pair_configs(*parts: str) -> dict[str, dict]:
    """The plain dicts of a tiny pair, all three parts by default."""
    return {part: PAIR[part] for part in parts or inversion.PARTS}


@functools.cache
def pair(*parts: str) -> tuple[inversion.Inverter, dict]:
    """A tiny pair for 32 px with its variables, all three parts by default; do not write into it."""
    parts = parts or inversion.PARTS
    inverter = inversion.build(pair_configs(*parts))
    key, image = jax.random.key(0), jnp.zeros((1, inverter.resolution, inverter.resolution, 3))
    calls = {
        "generator": lambda: inverter.generator.init(key, jnp.zeros((1, inverter.generator.config.z_dim))),
        "encoder": lambda: inverter.encoder.init(key, image),
        "hyper": lambda: inverter.hyper.init(key, image, image),
    }
    return inverter, {part: drawn(jax.eval_shape(calls[part])) for part in parts}


@functools.cache
def compiled(method: str):
    """``map``, ``encode``, ``render``, ``invert`` or ``hyper`` of the tiny pair; one compilation serves all tests."""
    inverter = pair()[0]
    return jax.jit(inverter.hyper.apply if method == "hyper" else getattr(inverter, method))


def save_pair(folder: Path, *parts: str) -> Path:
    """Writes a tiny pair as a trainer does; returns its folder."""
    inversion.save(folder, pair_configs(*parts), pair(*parts)[1], np.float16)
    return folder


def images(count: int, size: int = 32, seed: int = 0) -> np.ndarray:
    """(count, size, size, 3) float32 in [0, 1]: smooth, and different from row to row."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:size, :size][..., None] / size
    turns, phase = rng.uniform(0.5, 2, (2, count, 1, 1, 3)), rng.uniform(0, 2 * np.pi, (count, 1, 1, 3))
    return (0.5 + 0.45 * np.sin(2 * np.pi * (turns[0] * y + turns[1] * x) + phase)).astype(np.float32)
