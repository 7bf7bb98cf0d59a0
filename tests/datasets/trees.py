"""Miniature downloads of drawn people, for the tests of layouts, prepare and doctor."""

import functools
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

from fdetect_jax.facesim.faces import clip

SIZE = 128


@functools.cache
def frames(identity: int, count: int = 5) -> np.ndarray:
    """(count, SIZE, SIZE, 3) uint8 of one drawn person."""
    return np.stack([example["image"] for example in clip(3, identity, count, 25.0, SIZE)])


def write_video(path: Path, pixels: np.ndarray, faststart: bool = False) -> Path:
    """H.264 at 25 frames a second. faststart: the index first, so that what is left of a cut file can be opened."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "+faststart"} if faststart else {}) as sink:
        stream = sink.add_stream("libx264", rate=25, options={"crf": "12", "preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = pixels.shape[2], pixels.shape[1], "yuv420p"
        stream.time_base = Fraction(1, 25)
        for picture in pixels:
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode(None))
    return path


def write_person(path: Path, identity: int = 0) -> Path:
    """A video of one drawn person."""
    return write_video(path, frames(identity))


def touch(root: Path, *files: str) -> Path:
    """Files that are there and hold nothing of use: enough where only names matter."""
    for file in files:
        (root / file).parent.mkdir(parents=True, exist_ok=True)
        (root / file).write_bytes(b"video")
    return root


def splits(root: Path, **pairs: list) -> Path:
    """FaceForensics++'s lists."""
    (root / "splits").mkdir(parents=True, exist_ok=True)
    for split in ("train", "val", "test"):
        (root / "splits" / f"{split}.json").write_text(json.dumps(pairs.get(split, [])))
    return root
