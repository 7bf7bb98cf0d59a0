"""Writes efficientnet.json: what EfficientNet-PyTorch and its Lite port answer to made-up weights and images.

Run in an environment of its own: pip install torch efficientnet_pytorch==0.7.1 efficientnet_lite_pytorch==0.1.0;
python make_efficientnet.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet as Lite
from efficientnet_pytorch import EfficientNet
from random_weights import random_array, random_images

# Name, size of the images, size that the static padding is computed for, batch. 163 halves to other parities than
# 224, so that there the static padding differs from SAME.
CASES = (("b0", 224, 224, 2), ("b0", 163, 224, 2), ("b4", 380, 380, 1), ("lite0", 163, 224, 2), ("lite2", 260, 260, 1))
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


def corners(feature: torch.Tensor) -> list[float]:
    """Numbers that move when a border or channel does: mean, deviation, both ends of the first image."""
    first = feature[0].permute(1, 2, 0)
    return [feature.mean(), feature.std(correction=0), *first[0, 0, :3], *first[-1, -1, :3]]


def run(name: str, size: int, static: int, batch: int) -> dict:
    """The answers of one case, with the facts needed to repeat it."""
    torch.set_num_threads(2)
    lite = name.startswith("lite")
    library = Lite if lite else EfficientNet
    net = library.from_name(f"efficientnet-{name}", image_size=static, num_classes=2).eval()
    state = net.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            state[key] = torch.from_numpy(random_array(key, tuple(value.shape)))
    net.load_state_dict(state)
    mean, deviation = ((127 / 255,) * 3, (128 / 255,) * 3) if lite else (MEAN, DEVIATION)
    images = (random_images(size, batch, size) - np.float32(mean)) / np.float32(deviation)
    found = {}

    def keep(key):
        def hook(module, inputs, output):
            found[key] = output

        return hook

    for i, block in enumerate(net._blocks):
        block.register_forward_hook(keep(f"block{i}"))
    net._bn1.register_forward_hook(keep("before_head_activation"))
    with torch.no_grad():
        logits = net(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
        before = found.pop("before_head_activation")
        head = torch.nn.functional.relu6(before) if lite else torch.nn.functional.silu(before)
    stages = {key: corners(value) for key, value in [*found.items(), ("head", head)]}
    return {
        "name": name,
        "size": size,
        "static": static,
        "batch": batch,
        "logits": logits.tolist(),
        "stages": {key: [float(f"{float(v):.8g}") for v in values] for key, values in stages.items()},
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("efficientnet.json")
    path.write_text(json.dumps([run(*case) for case in CASES], indent=1) + "\n")
