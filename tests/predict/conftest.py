"""A detector that nobody trained and files of every sort, for the whole folder."""

import json

import av
import cv2
import jax
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.detectors import make_detector
from fdetect_jax.faces.crop import RECIPES
from fdetect_jax.facesim.faces import FaceSim
from fdetect_jax.nn.once import jit_once
from tests.small import DETECTOR


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """An untrained detector; its scores differ from crop to crop, and that is enough here."""
    module = make_detector("efficientnet_small64", DETECTOR)
    variables = jit_once(module.init)(jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    path = tmp_path_factory.mktemp("model") / "detector.safetensors"
    recipe = json.dumps(RECIPES["aligned64"].to_dict())
    config = {"name": "efficientnet_small64", "overrides": DETECTOR}
    weights.save(path, "detector", config, variables, recipe=recipe, size="64", source="none")
    return path


@pytest.fixture(scope="session")
def media(tmp_path_factory, faces):
    root = tmp_path_factory.mktemp("media")
    (root / "folder").mkdir()
    drawn = FaceSim(split="test", size=192, identities=3, per_identity=1)
    pictures = [cv2.copyMakeBorder(drawn[i]["image"], 40, 40, 60, 60, cv2.BORDER_REPLICATE) for i in range(3)]
    cv2.imwrite(str(root / "face.png"), pictures[0][..., ::-1])
    cv2.imwrite(str(root / "folder/face.jpg"), pictures[1][..., ::-1])
    cv2.imwrite(str(root / "wall.png"), np.full((90, 121, 3), 170, np.uint8))
    (root / "empty.jpg").write_bytes(b"")
    (root / "notes.txt").write_text("nothing to see here")
    with av.open(str(root / "clip.mp4"), "w") as sink:
        stream = sink.add_stream("libx264", rate=10)
        stream.width, stream.height, stream.pix_fmt = 312, 272, "yuv420p"
        for _ in range(15):
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(pictures[2], format="rgb24")))
        sink.mux(stream.encode(None))
    return root
