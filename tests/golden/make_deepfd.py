"""Writes deepfd.json: what the authors' two networks answer to made-up weights and images, and their triplet loss.

Run in an environment of its own, with the authors' code beside it: git clone
https://github.com/jesse1029/Fake-Face-Images-Detection-Tensorflow authors; pip install "tensorflow-cpu==2.15.1"; python
make_deepfd.py authors

Of a notebook only the functions that build the network are executed.
"""

import json
import sys
import types
from pathlib import Path

import numpy as np
import tensorflow
from random_weights import deepfd_array, numbers_of, random_array, random_images

tf = tensorflow.compat.v1
tf.disable_eager_execution()
# Their code is for TensorFlow 1, and imports what the functions do not need.
sys.modules["tensorflow"] = tf
for name in ("cv2", "utils", "sklearn"):
    sys.modules[name] = types.ModuleType(name)
sys.modules["sklearn"].metrics = None

NOTEBOOKS = {"deepfd": "ResNet_DeepUD.ipynb", "deepfd_coupled": "ResNet_DeepUD_triplet_TwStreaming.ipynb"}


def functions(folder: Path, file: str) -> dict:
    """The names of the notebook's part that builds the network, which its data readers follow."""
    cells = json.loads((folder / file).read_text())["cells"]
    source = "".join(next(cell["source"] for cell in cells if cell["cell_type"] == "code"))
    found: dict = {}
    exec(compile(source.split("def read_labeled_image_list")[0], file, "exec"), found)
    found["activation"] = lambda x: tf.nn.swish(x)  # later versions take no name
    return found


def run(folder: Path, name: str, batch: int) -> dict:
    """Every map, the feature, the logits and what the notebook calls saliency, without and with batch statistics."""
    tf.reset_default_graph()
    own = functions(folder, NOTEBOOKS[name])
    stages = []
    for made in ("conv2d", "residual_block"):

        def keeping(*given, made=own[made], first=made == "conv2d", **more):
            x = made(*given, **more)
            if not first or given[0] == "conv1":
                stages.append(x)
            return x

        own[made] = keeping
    images = tf.placeholder(tf.float32, (batch, 64, 64, 3))
    with tf.variable_scope("ResNet") as scope:
        tested = own["ResNet"](images, False)
        maps = list(stages)
        scope.reuse_variables()
        trained = own["ResNet"](images, True)
    with tf.Session() as session:
        for variable in tf.global_variables():
            variable.load(deepfd_array(variable.op.name, tuple(variable.shape.as_list())), session)
        logits, feature, saliency, *found = session.run([*tested, *maps], {images: random_images(4, batch, 64)})
        update = session.run([trained[0], trained[1]], {images: random_images(4, batch, 64)})
    return {
        "name": name,
        "batch": batch,
        "stages": [numbers_of(one) for one in found],
        "feature": feature[:, :8].tolist(),
        "logits": logits.tolist(),
        "saliency": np.asarray(saliency).tolist() if np.asarray(saliency).ndim == 3 else None,
        "trained": {"feature": update[1][:, :8].tolist(), "logits": update[0].tolist()},
    }


def triplets() -> dict:
    """The mean over a batch of made-up features, by distance and by squared distance."""
    import triplet_loss

    labels, feature = np.array([1, 0, 0, 1, 1, 0, 1]), random_array("triplet", (7, 4))
    with tf.Session() as session:
        found = [triplet_loss.batch_hard_triplet_loss(labels, feature, 0.8, squared) for squared in (False, True)]
        return dict(zip(("distance", "squared"), map(float, session.run(found)), strict=True))


if __name__ == "__main__":
    authors = Path(sys.argv[1])
    sys.path.insert(0, str(authors))
    content = {"networks": [run(authors, name, 3) for name in NOTEBOOKS], "triplet": triplets()}
    Path(__file__).with_name("deepfd.json").write_text(json.dumps(content, indent=1) + "\n")
