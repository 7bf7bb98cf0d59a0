"""How large a detector is, and how fast it scores. In: a detector and its variables. Out: figures."""

import math
import statistics
import time
from typing import Any

import jax
import numpy as np

from fdetect_jax import parallel
from fdetect_jax.inference.scoring import Detect, score_faces

PARAMETERS, SPEED = "parameters", "rows_per_second"
_SECONDS = 1.0  # for which it is measured at least
_FEWEST = 3


def size_of(variables: Any) -> dict[str, float]:
    """The number of trained values: ``parameters``."""
    return {PARAMETERS: float(sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables["params"])))}


def speed_of(detect: Detect, variables: Any, devices: parallel.Devices, shape: tuple[int, ...]) -> dict[str, float]:
    """Faces (or clips) scored a second, ``rows_per_second``: the median over full batches, the first not counted.

    shape: of this process's batch, (B, …), filled with noise. Each batch is copied to the devices and its margins back.
    """
    score = devices.compile_eval(score_faces(detect))
    images = np.random.default_rng(0).integers(0, 256, shape, np.uint8)

    def once() -> float:
        began = time.perf_counter()
        jax.block_until_ready(score(variables, parallel.put_batch({"image": images}, devices.mesh)))
        return time.perf_counter() - began

    once()
    times = [once()]
    while len(times) < _FEWEST or sum(times) < _SECONDS:
        times.append(once())
    return {SPEED: shape[0] * parallel.processes() / statistics.median(times)}
