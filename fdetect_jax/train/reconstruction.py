"""How well a pair reconstructs held-out faces: images, PSNR and SSIM of each."""

from collections.abc import Callable

import numpy as np

from fdetect_jax.data import pipeline
from fdetect_jax.evaluation.metrics import psnr, ssim


def reconstructions(
    source: pipeline.Source, batch_size: int, limit: int, invert: Callable[[np.ndarray], np.ndarray]
) -> dict[str, np.ndarray]:
    """Inverts the first ``limit`` faces of a source.

    Args:
      invert: (B, S, S, 3) uint8 -> (B, S, S, 3) float in [0, 1].

    Returns:
      real, made: (N, S, S, 3) uint8; psnr (dB), ssim: (N,).
    """
    found: dict[str, list] = {"real": [], "made": [], "psnr": [], "ssim": []}
    for batch in pipeline.eval_batches(source, batch_size, limit=limit):
        keep = batch["weight"] > 0
        real, made = batch["image"][keep], np.asarray(invert(batch["image"]))[keep]
        found["psnr"].append(psnr(real / 255.0, made))
        found["ssim"].append(ssim(real / 255.0, made))
        found["real"].append(real)
        found["made"].append(to_bytes(made))
    return {name: np.concatenate(parts) for name, parts in found.items()}


def to_bytes(image: np.ndarray) -> np.ndarray:
    """float [0, 1] -> uint8, rounded."""
    return np.clip(np.asarray(image) * 255.0 + 0.5, 0, 255).astype(np.uint8)
