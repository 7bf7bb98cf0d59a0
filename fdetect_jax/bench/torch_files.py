"""The peer of ``predict``: the script that one would write, with PyTorch, OpenCV and MediaPipe, file after file.

An image is read whole; of a clip, all frames are decoded and 32 of them kept, evenly spaced. MediaPipe's short-range
detector finds the faces, the largest one is cut out, and EfficientNet-Lite0 (random weights) scores all crops of a file
at once.
"""

import atexit
from collections.abc import Callable

import cv2
import mediapipe as mp
import numpy as np
import torch
from efficientnet_lite_pytorch import EfficientNet
from mediapipe.tasks.python import BaseOptions, vision

from fdetect_jax.bench.files import folder
from fdetect_jax.bench.setting import Setting
from fdetect_jax.faces.models import DETECTOR, load_models

_SIDE, _FRAMES, _MARGIN = 192, 32, 1.3


def predict(setting: Setting, device: str) -> tuple[Callable[[], list[float | None]], dict[str, np.ndarray]]:
    """A call that gives the mean P(fake) of each file, None without a face; and how many have one, as ``outputs``."""
    options = vision.FaceDetectorOptions(base_options=BaseOptions(model_asset_buffer=load_models()[DETECTOR]))
    detector = vision.FaceDetector.create_from_options(options)
    atexit.register(detector.close)
    net = EfficientNet.from_name("efficientnet-lite0", num_classes=2).eval().to(device)
    files = sorted(folder(setting).iterdir())

    def crops(pixels: np.ndarray) -> list[np.ndarray]:
        image = mp.Image(image_format=mp.ImageFormat.SRGB, data=np.ascontiguousarray(pixels))
        boxes = [found.bounding_box for found in detector.detect(image).detections]
        if not boxes:
            return []
        box = max(boxes, key=lambda one: one.width * one.height)
        half = _MARGIN * max(box.width, box.height) / 2
        x, y = box.origin_x + box.width / 2, box.origin_y + box.height / 2
        left, top = max(0, round(x - half)), max(0, round(y - half))
        part = pixels[top : round(y + half), left : round(x + half)]
        return [cv2.resize(part, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA)]

    def frames(path: str) -> list[np.ndarray]:
        if path.endswith(".jpg"):
            return [cv2.imread(path)[..., ::-1]]
        film, found = cv2.VideoCapture(path), []
        while True:
            more, pixels = film.read()
            if not more:
                break
            found.append(pixels)
        kept = np.linspace(0, len(found) - 1, min(_FRAMES, len(found)), dtype=int)
        return [found[index][..., ::-1] for index in kept]

    def call() -> list[float | None]:
        scores: list[float | None] = []
        for file in files:
            faces = [crop for pixels in frames(str(file)) for crop in crops(pixels)]
            if not faces:
                scores.append(None)
                continue
            batch = torch.from_numpy(np.stack(faces)).to(device).permute(0, 3, 1, 2).float()
            with torch.inference_mode():
                scores.append(float(net((batch - 127) / 128).softmax(1)[:, 1].mean()))
        return scores

    judged = sum(score is not None for score in call())
    return call, {"judged": np.array([judged], np.float32)}
