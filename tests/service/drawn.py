"""Drawn material for the tests of the service: a clip and a photo of people who do not exist, and a text file."""

from pathlib import Path

import av
import cv2
import numpy as np

from fdetect_jax.facesim.faces import FaceSim, clip


def scene(faces: list[np.ndarray]) -> np.ndarray:
    """Faces (S, S, 3) uint8 side by side, with a border of their own colours."""
    return np.concatenate([cv2.copyMakeBorder(face, 24, 24, 40, 40, cv2.BORDER_REPLICATE) for face in faces], axis=1)


def drawn_clip(path: Path, people: tuple[int, ...] = (4,), seconds: float = 2, rate: int = 10, size: int = 160) -> Path:
    """A clip (H.264) of one or several people. people: their identities. size: of a face, pixels,
    even."""
    frames = round(seconds * rate)
    films = [clip(0, identity, frames, rate, size) for identity in people]
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=rate)
        stream.width, stream.height, stream.pix_fmt = (size + 80) * len(people), size + 48, "yuv420p"
        for shots in zip(*films, strict=True):
            picture = scene([shot["image"] for shot in shots])
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        sink.mux(stream.encode(None))
    return path


def drawn_photo(path: Path, person: int = 0, size: int = 192) -> Path:
    """A photo of one person. size: of the face, pixels."""
    face = FaceSim("test", size, person + 1, 1)[person]["image"]
    cv2.imwrite(str(path), scene([face])[..., ::-1])
    return path


def text_file(path: Path) -> Path:
    """A file that is neither a picture nor a video."""
    path.write_text("nothing to see here\n" * 40)
    return path
