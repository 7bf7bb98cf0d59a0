"""Adds to resnet.json what torchvision's or TF-slim's ResNet answers to made-up weights and images.

Run once in an environment of its own for each: pip install torch torchvision, then python make_resnet.py torchvision;
pip install tensorflow-cpu==2.15.1 tf_slim, then python make_resnet.py slim. Both get the same weights, under the names
of torchvision.
"""

import json
import sys
from pathlib import Path

import numpy as np
from random_weights import digest, numbers_of, random_array, random_images

SIZE, BATCH, CLASSES = 96, 2, 2
MEAN, DEVIATION = np.float32((0.485, 0.456, 0.406)), np.float32((0.229, 0.224, 0.225))
IMAGES = (random_images(5, BATCH, SIZE) - MEAN) / DEVIATION
SLIM = {"gamma": "weight", "beta": "bias", "moving_mean": "running_mean", "moving_variance": "running_var"}
SLIM |= {"weights": "weight", "biases": "bias"}


def torchvision() -> dict:
    """Every stage of ResNet-50, and the keys of all three."""
    import torch
    import torchvision.models as zoo

    keys = {name: getattr(zoo, name)().state_dict() for name in ("resnet50", "resnet101", "resnet152")}
    net = zoo.resnet50(num_classes=CLASSES).eval()
    state = net.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            state[key] = torch.from_numpy(random_array(key, tuple(value.shape)))
    net.load_state_dict(state)
    found = {}

    def keep(name):
        return lambda module, inputs, output: found.__setitem__(name, output.permute(0, 2, 3, 1).numpy().copy())

    net.relu.register_forward_hook(keep("stem"))
    for number in range(1, 5):
        getattr(net, f"layer{number}").register_forward_hook(keep(f"stage{number}"))
    with torch.no_grad():
        logits = net(torch.from_numpy(IMAGES).permute(0, 3, 1, 2)).tolist()
    stages = {name: numbers_of(value) for name, value in found.items()}
    shapes = {name: {key: tuple(value.shape) for key, value in state.items()} for name, state in keys.items()}
    return {"logits": logits, "stages": stages, "keys": {name: digest(one) for name, one in shapes.items()}}


def theirs(name: str) -> str:
    """torchvision's name of TF-slim's variable."""
    _, *scopes, entry = name.removesuffix(":0").split("/")
    layer = scopes[0]
    if layer.startswith("block"):
        unit = f"layer{layer[-1]}.{int(scopes[1].rpartition('_')[2]) - 1}"
        layer = f"{unit}.downsample.0" if scopes[3] == "shortcut" else f"{unit}.{scopes[3]}"
    if scopes[-1] == "BatchNorm":
        layer = f"{layer[:-1]}1" if "downsample" in layer else layer.replace("conv", "bn")
    return f"{layer.replace('logits', 'fc')}.{SLIM[entry]}"


def slim() -> dict:
    """Every stage of ResNet-50, in which the last unit of a block strides, and the names of its variables."""
    import tensorflow.compat.v1 as tf
    import tf_slim
    from tf_slim.nets import resnet_v1

    tf.disable_v2_behavior()
    with tf_slim.arg_scope(resnet_v1.resnet_arg_scope()):
        logits, points = resnet_v1.resnet_v1_50(tf.constant(IMAGES), CLASSES, is_training=False)
    wanted = {f"stage{number}": points[f"resnet_v1_50/block{number}"] for number in range(1, 5)}
    with tf.Session() as session:
        for variable in tf.global_variables():
            shape = tuple(variable.shape.as_list())
            turned = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
            array = random_array(theirs(variable.name), turned[:2] if "logits" in variable.name else turned)
            array = array.reshape(turned)
            variable.load(array.transpose(2, 3, 1, 0) if len(shape) == 4 else array, session)
        logits, found = session.run([logits, wanted])
    names = {one.name.removesuffix(":0"): tuple(one.shape.as_list()) for one in tf.global_variables()}
    stages = {name: numbers_of(value) for name, value in found.items()}
    return {"logits": logits.reshape(BATCH, CLASSES).tolist(), "stages": stages, "keys": digest(names)}


if __name__ == "__main__":
    path = Path(__file__).with_name("resnet.json")
    answers = json.loads(path.read_text()) if path.is_file() else {"size": SIZE, "batch": BATCH, "classes": CLASSES}
    answers[sys.argv[1]] = {"torchvision": torchvision, "slim": slim}[sys.argv[1]]()
    path.write_text(json.dumps(answers, indent=1) + "\n")
