"""Miniature downloads of drawn people, for the tests of layouts, prepare and doctor."""

import functools
import json
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np

from fdetect_jax.facesim.faces import FaceSim, clip

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


def write_photo(path: Path, person: int, picture: int = 0) -> Path:
    """One of two photographs of one of 40 drawn people."""
    path.parent.mkdir(parents=True, exist_ok=True)
    drawn = FaceSim(split="val", size=SIZE, identities=40, per_identity=2)[2 * person + picture]
    cv2.imwrite(str(path), drawn["image"][..., ::-1])
    return path


def write_people(root: Path) -> Path:
    """12 people with two photographs each, a broken photograph, one without a face, and a text."""
    for person in range(12):
        for picture in range(2):
            write_photo(root / f"p{person:02d}" / f"{picture}.PNG", person, picture)
    (root / "p03" / "broken.jpg").write_bytes(b"nothing")
    cv2.imwrite(str(root / "p04" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))
    (root / "notes.txt").write_text("no photo")
    return root


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
