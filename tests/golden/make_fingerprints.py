"""Writes fingerprints.json: what the authors' networks and losses answer to made-up weights and images.

Run in an environment of its own, with the authors' code beside it: git clone
https://github.com/ningyu1991/GANFingerprints; pip install tensorflow-cpu; python make_fingerprints.py GANFingerprints

The code is of TensorFlow 1 and of GPUs: it runs here through the compatibility module of TensorFlow 2, with the
convolutions and averages turned to the order of axes that a CPU has.
"""

import contextlib
import functools
import importlib.util
import json
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow.compat.v1 as tf
from random_weights import numbers_of, random_array, random_images

SIZE, BATCH, CLASSES = 32, 4, 3
NETWORK = {"resolution": SIZE, "fmap_base": 64, "fmap_max": 24}
CASES = {
    "postpool": {"mode": "postpool", "switching_res": 4},
    "postpool8": {"mode": "postpool", "switching_res": 8},
    "predownscale8": {"mode": "predownscale", "switching_res": 8},
}


def channels_last(function):
    """An operation on (B, C, H, W), computed on (B, H, W, C)."""

    @functools.wraps(function)
    def turned(x, *args, **options):
        place = lambda one: [one[i] for i in (0, 2, 3, 1)] if isinstance(one, list) else one  # noqa: E731
        options |= {name: place(options[name]) for name in ("strides", "ksize") if name in options}
        found = function(tf.transpose(x, [0, 2, 3, 1]), *args, **options | {"data_format": "NHWC"})
        return tf.transpose(found, [0, 3, 1, 2])

    return turned


def authors(root: Path, folder: str, name: str):
    """One of the authors' files, whose constants belong to the graph of the moment."""
    spec = importlib.util.spec_from_file_location(f"{folder}_{name}", root / folder / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def same(value):
    return value


class Network:
    """A function that builds a network, with its variables shared between calls."""

    def __init__(self, name: str, build, **options):
        self.name, self.build, self.options = name, build, options

    def get_output_for(self, images):
        with tf.variable_scope(self.name, reuse=tf.AUTO_REUSE):
            return self.build(images, **self.options)


def assign(session) -> dict[str, list[int]]:
    """Made-up values for every variable, by its name without that of its network."""
    shapes = {}
    for variable in tf.global_variables():
        network, _, name = variable.name.removesuffix(":0").partition("/")
        name = f"D/{name}" if network == "D" else name
        shapes[name] = [int(size) for size in variable.shape]
        array = random_array(name.replace("/", "."), tuple(shapes[name]), gain=None)
        variable.load(array, session)
    return dict(sorted(shapes.items()))


def tensors(wanted: str) -> list:
    """The outputs of the activations, in order."""
    return [one.outputs[0] for one in tf.get_default_graph().get_operations() if one.name.endswith(wanted)]


def run(build, images: np.ndarray) -> dict:
    """The shapes of the variables, mean and ends of every activation, and what ``build`` returns."""
    tf.reset_default_graph()
    outputs = build(tf.constant(2 * images.transpose(0, 3, 1, 2) - 1))
    stages = tensors("LeakyRelu/Maximum") or tensors("Maximum")
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        shapes = assign(session)
        outputs, stages = session.run([outputs, stages])
    maps = [numbers_of(stage.transpose(0, 2, 3, 1)) for stage in stages if stage.ndim == 4]
    return {"shapes": shapes, "stages": maps, "outputs": outputs}


def plain(values) -> list[float]:
    return [float(f"{value:.8g}") for value in np.ravel(values)]


def main(root: Path) -> dict:
    sys.modules |= {
        "tensorflow": tf,
        "tfutil": types.SimpleNamespace(autosummary=lambda name, value: value, lerp=lambda a, b, t: a + (b - a) * t),
    }
    tf.disable_v2_behavior()
    tf.nn.conv2d, tf.nn.avg_pool = channels_last(tf.nn.conv2d), channels_last(tf.nn.avg_pool)
    # Where the gradient of D is taken: half way between an image and its reconstruction.
    tf.random_uniform = lambda shape, low, high, dtype: tf.fill(shape, tf.constant(0.5, dtype))
    images, found = random_images(7, BATCH, SIZE), {"size": SIZE, "batch": BATCH, "classes": CLASSES, "cases": {}}

    def classified(x, options):
        build = authors(root, "classifier", "networks").C_patch
        return Network("C", build, **NETWORK, **options, latent_res=-1, label_size=CLASSES).get_output_for(x)

    for name, options in CASES.items():
        case = run(functools.partial(classified, options=options), images)
        found["cases"][name] = case | {"outputs": plain(case["outputs"])}
    labels = np.eye(CLASSES, dtype=np.float32)[np.arange(BATCH) % CLASSES]

    def both(x):
        explicit, loss = (authors(root, "classifier_visNet", name) for name in ("networks", "loss"))
        autoencoder = Network("EG", explicit.EG, **NETWORK, latent_res=4, label_size=CLASSES)
        critic = Network("D", explicit.D_patch, **NETWORK, latent_res=-1)
        rebuilt, residual, logits = autoencoder.get_output_for(x)
        unscaled = types.SimpleNamespace(apply_loss_scaling=same, undo_loss_scaling=same)
        return {
            "reconstruction": tf.transpose(rebuilt, [0, 2, 3, 1]),
            "fingerprints": tf.transpose(residual, [0, 2, 3, 1]),
            "logits": logits,
            "critic/real": critic.get_output_for(x),
            "critic/reconstruction": critic.get_output_for(rebuilt),
            "loss": loss.EG_classification(autoencoder, critic, x, labels, 20.0, 0.1),
            "critic loss": loss.D_rec_wgangp(autoencoder, critic, unscaled, BATCH, x),
        }

    case = run(both, images)
    # Of the activations, the autoencoder's alone: the later ones are those of the critic, and of further calls.
    count = 2 * (int(np.log2(SIZE)) - 2) + 2 + 2 * (int(np.log2(SIZE)) - 1)
    outputs = {
        name: numbers_of(values) if values.ndim == 4 and values.shape[1] > 1 else plain(values)
        for name, values in case["outputs"].items()
    }
    found["explicit"] = {"shapes": case["shapes"], "stages": case["stages"][:count], "outputs": outputs}
    return found


if __name__ == "__main__":
    with contextlib.chdir(Path(__file__).parent):
        text = json.dumps(main(Path(sys.argv[1]).resolve()))
    Path(__file__).with_name("fingerprints.json").write_text(text + "\n")
