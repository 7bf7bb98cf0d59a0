"""Writes xception.json: what Cadene's Xception answers to made-up weights and images.

Run in an environment of its own, with that code beside it: git clone
https://github.com/Cadene/pretrained-models.pytorch; pip install torch numpy;
PYTHONPATH=pretrained-models.pytorch/pretrainedmodels/models python make_xception.py
"""

import json
from pathlib import Path

import torch
from random_weights import digest, numbers_of, random_array, random_images
from xception import Xception  # Cadene's

STAGES = {"stem": "bn2", "block1": "block1", "block3": "block3", "middle": "block11", "exit": "block12", "head": "bn4"}


def run(size: int, batch: int, classes: int) -> dict:
    """Logits, and numbers of the maps of some layers; of the stem after its ReLU."""
    model = Xception(classes).eval()
    model.last_linear = model.fc
    state = {key: tuple(value.shape) for key, value in model.state_dict().items() if key.split(".")[0] != "last_linear"}
    made = {key: random_array(key, shape) for key, shape in state.items() if not key.endswith("num_batches_tracked")}
    model.load_state_dict({key: torch.from_numpy(value) for key, value in made.items()}, strict=False)
    found = {}
    for name, layer in STAGES.items():
        hook = lambda module, given, out, name=name: found.update({name: out.detach().clone()})  # noqa: E731
        model.get_submodule(layer).register_forward_hook(hook)
    images = torch.from_numpy(random_images(6, batch, size)).permute(0, 3, 1, 2)
    with torch.no_grad():
        logits = model(2 * images - 1)
    found["stem"] = found["stem"].relu()
    stages = {name: numbers_of(value.permute(0, 2, 3, 1).numpy()) for name, value in found.items()}
    case = {"size": size, "batch": batch, "classes": classes, "digest": digest(state)}
    return case | {"logits": [[float(f"{v:.8g}") for v in row] for row in logits.tolist()], "stages": stages}


if __name__ == "__main__":
    path = Path(__file__).with_name("xception.json")
    path.write_text(json.dumps(run(75, 2, 3), indent=1) + "\n")
