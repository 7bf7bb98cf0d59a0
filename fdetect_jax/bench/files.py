"""``predict``: photographs and clips to verdicts, everything included but the start. Both sides read the same files."""

from collections.abc import Callable
from pathlib import Path

import av
import cv2
import numpy as np

from fdetect_jax.bench.groups import paste, people, wall
from fdetect_jax.bench.setting import Setting
from fdetect_jax.facesim.faces import clip

PHOTOS, CLIPS = 8, 2
_SECONDS, _RATE, _KEYS = 20, 25, 25  # of a clip; frames a second; frames from one key frame to the next


def folder(setting: Setting) -> Path:
    """``PHOTOS`` photographs of 2 megapixels and ``CLIPS`` clips of 640 x 360, a drawn face in each; written once."""
    made = Path(setting.scratch) / "files"
    if made.is_dir():
        return made
    made.mkdir()
    photos, clips = (PHOTOS, CLIPS) if setting.pixels > 100 else (1, 1)
    for number, who in enumerate(people(photos)):
        scene = wall(1200, 1600)
        paste(scene, who, 320, 500, 300)
        cv2.imwrite(str(made / f"photo{number}.jpg"), scene[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
    for number in range(clips):
        _film(made / f"clip{number}.mp4", number)
    return made


def _film(path: Path, number: int) -> None:
    faces = [frame["image"] for frame in clip(3, number, _RATE, _RATE)]  # one second, again and again
    scene = wall(360, 640)
    with av.open(str(path), "w") as sink:
        stream = sink.add_stream("libx264", rate=_RATE, options={"g": str(_KEYS), "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = 640, 360, "yuv420p"
        for moment in range(_SECONDS * _RATE):
            scene[52:308, 192:448] = faces[moment % len(faces)]
            sink.mux(stream.encode(av.VideoFrame.from_ndarray(scene, format="rgb24")))
        sink.mux(stream.encode(None))


def predict(setting: Setting) -> tuple[Callable[[], object], int, dict[str, np.ndarray]]:
    """The bundled detector on the files: a call, the number of files, and how many it judged, as ``outputs``."""
    from fdetect_jax.predict.predictor import Predictor

    files, predictor = folder(setting), Predictor(dtype=setting.dtype)

    def call() -> list[str]:
        return [verdict.verdict for verdict in predictor.predict(files)]

    found = call()
    judged = sum(verdict in ("real", "suspicious", "fake") for verdict in found)
    return call, len(found), {"judged": np.array([judged], np.float32)}
