"""What is kept of scored faces. In: the rows of ``inference.scoring``. Out: figures, pictures, embeddings, scores."""

from typing import Any

import numpy as np
from scipy.special import expit

from fdetect_jax.inference.scoring import EMBEDDING, MARGIN, PICTURE, PSNR
from fdetect_jax.report.gallery import Gallery, difference

SHOWN = 8  # faces in a gallery


def p_fake(margins: np.ndarray) -> np.ndarray:
    return expit(margins.astype(np.float64))


def degrade(one: Any, images: np.ndarray, value: float, rng: np.random.Generator) -> np.ndarray:
    """Applies a degradation to faces (N, S, S, 3), or clips (N, T, S, S, 3)."""
    flat = images.reshape(-1, *images.shape[-3:])
    return np.stack(one.apply(flat, value, rng)).reshape(images.shape)


def figures_of(found: dict[str, np.ndarray], stage: str) -> dict[str, float]:
    figures = {"reconstruction_psnr": float(np.mean(found[PSNR + stage]))}
    if stage != "image":
        for name, of in (("p_fake/reconstruction", stage), ("p_fake/adversary", "image")):
            figures[name] = float(np.mean(p_fake(found[MARGIN + of])))
    return figures


def device_gallery(found: dict[str, np.ndarray]) -> Gallery:
    names = [name.removeprefix(PICTURE) for name in found if name.startswith(PICTURE)]
    titles = {name: "adversary" if name == "image" and "reconstruction" in names else name for name in names}
    titles = {name: "fake" if title == "image" else title for name, title in titles.items()}
    columns = {titles[name]: _still(found[PICTURE + name][:SHOWN]) for name in names}
    if "reconstruction" in columns and "adversary" in columns:
        columns["difference ×8"] = difference(columns["reconstruction"], columns["adversary"])
    scores = {titles[name]: p_fake(found[MARGIN + name][:SHOWN]) for name in names}
    return Gallery(columns, scores)


def _still(images: np.ndarray) -> np.ndarray:
    """The first frame of clips; images unchanged."""
    return images[:, 0] if images.ndim == 5 else images


def embeddings_of(name: str, found: dict[str, np.ndarray], stage: str) -> dict[str, np.ndarray]:
    if EMBEDDING + stage not in found:
        return {}
    return {"real": found[EMBEDDING + "real"], name: found[EMBEDDING + stage]}
