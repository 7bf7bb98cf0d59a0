"""Writes ffd.json: what the authors' Xception with attention answers to made-up weights and images.

Run in an environment of its own, with the authors' code beside it: git clone
https://github.com/JStehouwer/FFD_CVPR2020; pip install torch numpy; PYTHONPATH=FFD_CVPR2020 python make_ffd.py

"reg" is the whole network. "tmp" is its template map alone, which takes features of 19 x 19 positions only.
"""

import json
from pathlib import Path

import numpy as np
import torch
from random_weights import digest, numbers_of, random_array, random_images
from xception import TemplateMap, Xception  # the authors'


def fill(module: torch.nn.Module, prefix: str = "") -> dict[str, tuple[int, ...]]:
    """Puts a made-up array in every entry; returns keys and shapes of all."""
    state = module.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            state[key] = torch.from_numpy(random_array(prefix + key, tuple(value.shape)))
    module.load_state_dict(state)
    module.eval().requires_grad_(False)
    return {prefix + key: tuple(value.shape) for key, value in state.items()}


def short(values: torch.Tensor) -> list:
    return [[float(f"{v:.8g}") for v in row] for row in values.tolist()]


def last(values: torch.Tensor) -> np.ndarray:
    return values.permute(0, 2, 3, 1).numpy()


def reg(size: int, batch: int) -> dict:
    """Logits, and numbers of the map and of the last features."""
    model = Xception("reg", None, num_classes=2)
    shapes = fill(model)
    images = torch.from_numpy(random_images(9, batch, size)).permute(0, 3, 1, 2)
    features, mask, _ = model.features(2 * images - 1)
    case = {"size": size, "batch": batch, "digest": digest(shapes), "logits": short(model.logits(features.clone()))}
    return case | {"map": numbers_of(last(mask)), "head": numbers_of(last(features))}


def tmp(batch: int) -> dict:
    """Numbers of the map, which is weighed by the features, and the weights of the templates."""
    rng = np.random.default_rng(10)
    templates, features = rng.random((10, 19, 19), np.float32), rng.standard_normal((batch, 19, 19, 728), np.float32)
    model = TemplateMap(728, torch.from_numpy(templates))
    shapes = fill(model, "map.")
    mask, weights = model(torch.from_numpy(features).permute(0, 3, 1, 2).contiguous())
    return {"batch": batch, "digest": digest(shapes), "map": numbers_of(last(mask)), "weights": short(weights)}


if __name__ == "__main__":
    found = {"reg": reg(75, 2), "tmp": tmp(2)}
    Path(__file__).with_name("ffd.json").write_text(json.dumps(found, indent=1) + "\n")
