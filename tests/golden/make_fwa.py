"""Adds to fwa.json what the authors' FWA or DSP-FWA answers to made-up weights and images; writes a small checkpoint.

Run once in an environment of its own for each, with the authors' code beside it:

    git clone https://github.com/yuezunli/CVPRW2019_Face_Artifacts; pip install tensorflow-cpu==2.15.1 tf_slim
    PYTHONPATH=CVPRW2019_Face_Artifacts python make_fwa.py fwa
    git clone https://github.com/yuezunli/DSP-FWA; pip install torch torchvision
    PYTHONPATH=DSP-FWA python make_fwa.py dsp_fwa

Weights have torchvision's names; images are levels of 0 to 255, blue first.
"""

import json
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
from make_resnet import theirs
from random_weights import random_array, random_images

BATCH, CLASSES = 2, 2
SIZES = {"fwa": 96, "dsp_fwa": 193}  # pixels; DSP-FWA needs a last map of 7 x 7
TINY = 1  # channels of the stem in the small checkpoint


def pixels(name: str) -> np.ndarray:
    images = (random_images(6, BATCH, SIZES[name]) * 255).clip(0, 255).astype(np.uint8)
    return images[..., ::-1].astype(np.float32)


def array_of(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """TF-slim's variable: what torchvision's of this name would hold, in TF-slim's order."""
    turned = (shape[3], shape[2], *shape[:2]) if len(shape) == 4 else shape
    array = random_array(theirs(name), turned[:2] if "logits" in name else turned).reshape(turned)
    return array.transpose(2, 3, 1, 0) if len(shape) == 4 else array


def fwa() -> dict:
    """P(fake) of the authors' ``ResoNet`` with ResNet-50; and a checkpoint of its variables, narrower."""
    import tensorflow.compat.v1 as tf
    import tf_slim
    from tf_slim.nets import resnet_v1, vgg

    nets = ModuleType("nets")
    nets.resnet_v1, nets.vgg = resnet_v1, vgg
    tf.contrib = ModuleType("contrib")  # TensorFlow 1 had TF-slim inside
    contrib = "tensorflow.contrib"
    sys.modules |= {"tensorflow": tf, contrib: tf.contrib, f"{contrib}.slim": tf_slim}
    tf.contrib.slim = tf_slim
    sys.modules |= {f"{contrib}.slim.python.slim.nets": nets}
    from resolution_network import ResoNet

    tf.disable_v2_behavior()
    size = SIZES["fwa"]
    fields = {"BASE_NETWORK": "res50", "IMG_SIZE": (size, size, 3), "NUM_CLASSES": CLASSES}
    net = ResoNet(SimpleNamespace(**fields, PIXEL_MEAN=(103.939, 116.779, 123.68)), is_train=False)
    net.build()
    variables = tf.global_variables()
    with tf.Session() as session:
        for one in variables:
            one.load(array_of(one.name, tuple(one.shape.as_list())), session)
        logits = session.run(net.logits, {net.input: pixels("fwa")})
    shapes = {one.name.removesuffix(":0"): tuple(one.shape.as_list()) for one in variables}
    with tf.Graph().as_default(), tf.Session() as session:
        small = [tf.Variable(array_of(name, narrow(name, shape)), name=name) for name, shape in shapes.items()]
        small.append(tf.Variable(np.int64(7), name="global_step"))
        session.run(tf.global_variables_initializer())
        saver = tf.train.Saver(small)
        saver.save(session, str(Path(__file__).with_name("tiny_slim")), write_meta_graph=False, write_state=False)
    return {"logits": logits.tolist()}


def narrow(name: str, shape: tuple[int, ...]) -> tuple[int, ...]:
    """The shape with the channels of a stem of ``TINY``."""
    return tuple(n if n in (1, 2, 3, 7) else n * TINY // 64 for n in shape)


def dsp_fwa() -> dict:
    """Logits of the authors' ``SPPNet``."""
    import torch
    from py_utils.DL.pytorch_utils.models.classifier import SPPNet

    net = SPPNet(backbone=50, num_class=CLASSES, pretrained=False).eval()
    state = net.state_dict()
    for key, value in state.items():
        if not key.endswith("num_batches_tracked"):
            state[key] = torch.from_numpy(random_array(key, tuple(value.shape)))
    net.load_state_dict(state)
    mean = np.float32((103.939, 116.779, 123.68))
    with torch.no_grad():
        logits = net(torch.from_numpy(pixels("dsp_fwa") - mean).permute(0, 3, 1, 2).contiguous())
    return {"logits": logits.tolist(), "keys": {key: list(value.shape) for key, value in list(state.items())[-6:]}}


if __name__ == "__main__":
    path, name = Path(__file__).with_name("fwa.json"), sys.argv[1]
    answers = json.loads(path.read_text()) if path.is_file() else {"batch": BATCH}
    answers[name] = {"size": SIZES[name]} | {"fwa": fwa, "dsp_fwa": dsp_fwa}[name]()
    path.write_text(json.dumps(answers, indent=1) + "\n")
