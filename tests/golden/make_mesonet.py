"""Writes mesonet.json: what the authors' networks answer to made-up weights and images.

Run in an environment of its own, with the authors' code beside it: git clone https://github.com/DariusAf/MesoNet; pip
install keras jax; KERAS_BACKEND=jax PYTHONPATH=MesoNet python make_mesonet.py
"""

import json
import re
import sys
from pathlib import Path

import keras
import numpy as np
from random_weights import random_array, random_images

# The authors import Keras from TensorFlow; Keras 3 needs none.
sys.modules |= {"tensorflow": keras, "tensorflow.keras": keras} | {
    f"tensorflow.keras.{name}": getattr(keras, name) for name in ("models", "layers", "optimizers")
}

import classifiers  # noqa: E402 - the authors'


def run(name: str, batch: int) -> dict:
    """The answers of one network: its output, and mean and deviation of what each BatchNorm returns."""
    model = getattr(classifiers, name)().model
    numbered = {}
    for layer in model.layers:
        kind, _, number = layer.name.rpartition("_") if re.search(r"_\d+$", layer.name) else (layer.name, "", "0")
        numbered.setdefault(kind, []).append((int(number), layer))
    norms = []
    for kind, layers in numbered.items():
        for number, (_, layer) in enumerate(sorted(layers, key=lambda one: one[0])):
            for value in layer.weights:
                entry = value.name.rpartition("/")[2]
                value.assign(random_array(f"{kind}.{number}.{entry}", tuple(value.shape)))
            norms += [layer] if kind == "batch_normalization" else []
    probe = keras.Model(model.inputs, [model.output, *(layer.output for layer in norms)])
    output, *found = (np.asarray(value) for value in probe(random_images(4, batch, 256)))
    stages = [[float(one.mean()), float(one.std()), *map(float, one[0, 0, 0, :3])] for one in found]
    return {"name": name, "batch": batch, "output": output.ravel().tolist(), "stages": stages}


if __name__ == "__main__":
    path = Path(__file__).with_name("mesonet.json")
    path.write_text(json.dumps([run(name, 3) for name in ("Meso4", "MesoInception4")], indent=1) + "\n")
