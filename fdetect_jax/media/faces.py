"""Finds faces and their landmarks. In: (H, W, 3) uint8 RGB. Out: boxes, scores, key points, 68 landmarks.

Coordinates are (x, y) in pixels, integer values at pixel centres.
"""

import contextlib
import ctypes
import os
import weakref
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.media.landmarks import MESH_TO_68
from fdetect_jax.media.models import DETECTOR, MESH, ModelsUnavailable, load_models
from fdetect_jax.media.warp import turned_square

__all__ = ["Face", "Faces", "ModelsUnavailable"]

_LARGEST_SIDE = 640  # the detector's input is 128 px; shrinking from more than this aliases in its own resizing
_MESH_SIZE = 192
_MESH_SCALE = 1.5  # the mesh expects the detector's box widened by this factor, eyes level
_SAME_FACE = 0.3  # intersection over union


@dataclass(frozen=True)
class Face:
    """One face.

    box: (x0, y0, x1, y1), brows to chin, may extend beyond the image's edge. score: in [0, 1].
    keypoints: (6, 2) float32: eyes (left in the image first), nose tip, mouth, left ear, right ear (in the image).
    landmarks: (68, 2) float32, iBUG order, or None if the mesh found no face in the box.
    """

    box: tuple[float, float, float, float]
    score: float
    keypoints: np.ndarray
    landmarks: np.ndarray | None

    @property
    def side(self) -> float:
        """The larger side of the box."""
        return max(self.box[2] - self.box[0], self.box[3] - self.box[1])

    @property
    def centre(self) -> np.ndarray:
        """(2,) float64, the middle of the box."""
        return np.array([self.box[0] + self.box[2], self.box[1] + self.box[3]]) / 2


class Faces:
    """BlazeFace (Bazarevsky et al., 2019) for boxes, MediaPipe's face mesh (Kartynnik et al., 2019) for
    landmarks.

    Do not share it between threads and do not pickle it; each process opens its own. Close it, or use it in a ``with``.
    """

    def __init__(self, min_confidence: float = 0.5):
        """Loads both models.

        Args:
            min_confidence: lowest accepted score of a box, in (0, 1].

        Raises:
            ModelsUnavailable: see ``media.models.load_models``.
            UserError: min_confidence out of range.
        """
        if not 0 < min_confidence <= 1:
            raise UserError(f"min_confidence: found {min_confidence}, wanted a number in (0, 1]")
        content = load_models()
        with _quiet():
            import mediapipe as mp
            from mediapipe.tasks.python import BaseOptions, vision

            self._image = lambda pixels: mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(pixels))
            options = vision.FaceDetectorOptions(
                base_options=BaseOptions(model_asset_buffer=content[DETECTOR]),
                min_detection_confidence=min_confidence,
            )
            self._detector: Any = vision.FaceDetector.create_from_options(options)
            # Not vision.FaceLandmarker: it reads the public mesh of 468 (x, y, z) as one of 478 (x, y) and returns
            # scrambled points without an error. ImageEmbedder returns the model's raw outputs.
            mesh = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_buffer=content[MESH]))
            self._mesh: Any = vision.ImageEmbedder.create_from_options(mesh)
            # The first inference logs too.
            blank = np.zeros((_MESH_SIZE, _MESH_SIZE, 3), np.uint8)
            self._boxes(blank)
            self._mesh.embed(self._image(blank))
        # MediaPipe's own __del__ fails while the interpreter shuts down, so it must never run.
        for task in (self._detector, self._mesh):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        self._finalizer = weakref.finalize(self, _close, self._detector, self._mesh)
        self._finalizer.atexit = False

    def detect(self, image: np.ndarray) -> list[Face]:
        """All faces, largest box first; an empty list if there are none.

        The short-range detector misses faces that fill the frame and tiny faces. An image without a detection is
        searched again with a wide black border and then in nine overlapping quarters.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            UserError: another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise UserError(f"image: found {image.dtype} of shape {image.shape}, wanted uint8 (H, W, 3)")
        found = self._boxes(image) or self._with_border(image) or self._in_quarters(image)
        faces = [Face(box, score, points, self._landmarks(image, box, points)) for box, score, points in found]
        return sorted(faces, key=lambda face: -area(face.box))

    def close(self) -> None:
        """Frees both models."""
        self._finalizer()

    def __enter__(self) -> "Faces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _boxes(self, image: np.ndarray, offset: tuple[float, float] = (0.0, 0.0)) -> list[tuple]:
        """[(box, score, keypoints)] in coordinates of the frame; ``image`` starts at ``offset`` in it."""
        height, width = image.shape[:2]
        factor = min(1.0, _LARGEST_SIDE / max(height, width))
        if factor < 1:
            small = max(1, round(width * factor)), max(1, round(height * factor))
            image = cv2.resize(image, small, interpolation=cv2.INTER_AREA)
        ratio = np.array([width / image.shape[1], height / image.shape[0]])
        shift = np.array(offset) - 0.5  # MediaPipe counts from the pixel's edge
        out = []
        for detection in self._detector.detect(self._image(image)).detections:
            found = detection.bounding_box
            low = np.array([found.origin_x, found.origin_y]) * ratio + shift
            high = low + np.array([found.width, found.height]) * ratio
            points = np.array([(point.x, point.y) for point in detection.keypoints]) * [width, height] + shift
            score = float(detection.categories[0].score)
            out.append(((*map(float, low), *map(float, high)), score, points.astype(np.float32)))
        return out

    def _with_border(self, image: np.ndarray) -> list[tuple]:
        # Measured on 417 faces cut at 0.8 of their box: 60 % found unchanged, 100 % with a black border of half the
        # size.
        y, x = image.shape[0] // 2, image.shape[1] // 2
        wide = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        return self._boxes(wide, (-x, -y))

    def _in_quarters(self, image: np.ndarray) -> list[tuple]:
        # Measured on faces of a tenth of the frame: 13 % found in the whole frame, 100 % in quarters.
        height, width = image.shape[:2]
        if min(height, width) < 4:
            return []
        found = []
        for y in (0, height // 4, height // 2):
            for x in (0, width // 4, width // 2):
                found += self._boxes(image[y : y + height // 2, x : x + width // 2], (x, y))
        kept: list[tuple] = []
        for one in sorted(found, key=lambda item: -item[1]):
            if all(overlap(one[0], other[0]) < _SAME_FACE for other in kept):
                kept.append(one)
        return kept

    def _landmarks(self, image: np.ndarray, box: tuple, points: np.ndarray) -> np.ndarray | None:
        eye, other = points[0], points[1]
        angle = float(np.arctan2(other[1] - eye[1], other[0] - eye[0]))
        centre = np.array([box[0] + box[2], box[1] + box[3]]) / 2
        side = _MESH_SCALE * max(box[2] - box[0], box[3] - box[1])
        crop, affine = turned_square(image, centre, side, angle, _MESH_SIZE, border=cv2.BORDER_CONSTANT)
        mesh, presence = (head.embedding for head in self._mesh.embed(self._image(crop)).embeddings)
        if presence[0] < 0:  # a logit
            return None
        found = np.asarray(mesh, np.float64).reshape(468, 3)[MESH_TO_68, :2] - 0.5
        back = cv2.invertAffineTransform(affine)
        return (found @ back[:, :2].T + back[:, 2]).astype(np.float32)


_own: Faces | None = None  # of this process; opened by open_faces


def open_faces() -> None:
    """Opens the face models for ``own_faces`` in a worker process, and limits OpenCV to one thread there."""
    global _own
    cv2.setNumThreads(1)
    _own = Faces()


def own_faces() -> Faces:
    """The face models that ``open_faces`` opened in this process."""
    return _own


def area(box: Sequence[float]) -> float:
    """The area of a box (x0, y0, x1, y1)."""
    return (box[2] - box[0]) * (box[3] - box[1])


def overlap(one: tuple, other: tuple) -> float:
    """Intersection over union of two boxes (x0, y0, x1, y1), in [0, 1]."""
    width = min(one[2], other[2]) - max(one[0], other[0])
    height = min(one[3], other[3]) - max(one[1], other[1])
    if width <= 0 or height <= 0:
        return 0.0
    return width * height / (area(one) + area(other) - width * height)


def _close(*tasks: Any) -> None:
    with _quiet():
        for task in tasks:
            task.close()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Discards the process's stderr: MediaPipe's C++ side logs there before it can be configured."""
    kept = os.dup(2)
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(sink)
