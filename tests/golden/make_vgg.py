"""Writes vgg.json: what torchvision's VGG-16 and VGG-19, an eighth as wide, answer to made-up weights and images.

Run in an environment of its own: pip install torch torchvision; python make_vgg.py
"""

import json
from pathlib import Path

import numpy as np
import torch
from random_weights import numbers_of, random_array, random_images
from torchvision.models import vgg

CONFIGURATIONS = {"vgg16": "D", "vgg19": "E"}
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
WIDTH, HIDDEN, CLASSES, SIZE, BATCH = 8, 24, 5, 99, 2  # WIDTH divides the channels; 99 is odd at several poolings


def run(name: str) -> dict:
    """Logits, hidden layer and every pooled map of one network."""
    channels = [one if one == "M" else one // WIDTH for one in vgg.cfgs[CONFIGURATIONS[name]]]
    net = vgg.VGG(vgg.make_layers(channels), num_classes=CLASSES).eval()
    for place, (inputs, outputs) in {0: (49 * 512 // WIDTH, HIDDEN), 3: (HIDDEN, HIDDEN), 6: (HIDDEN, CLASSES)}.items():
        net.classifier[place] = torch.nn.Linear(inputs, outputs)
    state = {key: torch.from_numpy(random_array(key, tuple(v.shape), 1.4)) for key, v in net.state_dict().items()}
    net.load_state_dict(state)
    found = {}

    def keep(key, layer):
        layer.register_forward_hook(lambda module, inputs, output: found.update({key: output.detach()}))

    pools = [layer for layer in net.features if isinstance(layer, torch.nn.MaxPool2d)]
    for number, layer in enumerate(pools, start=1):
        keep(f"pool{number}", layer)
    keep("hidden", net.classifier[4])
    images = (random_images(5, BATCH, SIZE) - np.float32(MEAN)) / np.float32(DEVIATION)
    with torch.no_grad():
        logits = net(torch.from_numpy(images).permute(0, 3, 1, 2).contiguous())
    hidden = found.pop("hidden")
    return {
        "name": name,
        "width": 1 / WIDTH,
        "classes": CLASSES,
        "size": SIZE,
        "logits": logits.tolist(),
        "hidden": hidden.tolist(),
        "pools": {key: numbers_of(value.permute(0, 2, 3, 1).numpy()) for key, value in found.items()},
    }


if __name__ == "__main__":
    path = Path(__file__).with_name("vgg.json")
    path.write_text(json.dumps([run(name) for name in CONFIGURATIONS], indent=1) + "\n")
