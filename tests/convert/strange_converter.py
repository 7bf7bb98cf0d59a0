"""A converter that does to its process what a hostile checkpoint might."""

import os
import time
from pathlib import Path

import numpy as np

from fdetect_jax import weights
from fdetect_jax.convert.tensors import CheckpointError

LAYOUTS = ("theirs",)
DEEDS = ("convert", "refuse", "abort", "hang", "fill", "recurse", "fail", "half")


def convert(found, deed="convert"):
    match deed:
        case "refuse":
            raise CheckpointError("not what it should be")
        case "abort":
            os.abort()
        case "hang":
            time.sleep(600)
        case "fill":
            return np.zeros(1 << 37)
        case "recurse":
            return convert(found, deed)
        case "fail":
            return {}["a bug"]
        case "half":
            weights.save = _half
    return {"width": 1}, {"params": {"w": found["w"].array().T}}, "theirs"


def _half(path, *_, **__):
    Path(path).write_bytes(b"half a file")
    os._exit(1)


def export(config, variables, layout):
    return {"w": variables["params"]["w"].T}
