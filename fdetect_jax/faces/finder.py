"""Finds faces and their landmarks. In: (H, W, 3) uint8 RGB. Out: boxes, scores, key points, 68 landmarks.

Coordinates are (x, y) in pixels, integer values at pixel centres.
"""

import contextlib
import ctypes
import math
import os
import weakref
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from types import TracebackType
from typing import Any

import cv2
import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.faces.boxes import SAME, area, overlap, same_face
from fdetect_jax.faces.landmarks import MESH_TO_68
from fdetect_jax.faces.models import DETECTOR, MESH, SEARCH, ModelsUnavailable, load_models
from fdetect_jax.faces.tiles import tiles
from fdetect_jax.faces.warp import turned_square

__all__ = ["Face", "Faces", "ModelsUnavailable"]

_LARGEST_SIDE = 640  # the detector's input is 128 px; shrinking from more than this aliases in its own resizing
_MESH_SIZE = 192
_MESH_SCALE = 1.5  # the mesh expects the detector's box widened by this factor, eyes level
_SEARCH_SIDE = 256  # least, where there are as many pixels: the search's input is 192 px
_SEARCH_SCORE = 0.2  # lowest score of a place that the detector then looks at
_SECOND_LOOK = 3.0  # how much wider than the search's box the square is in which the detector looks
_SECOND_SIZE = 320  # of that square, pixels
_SECOND_SCORE = 0.7  # lowest of a face found there; measured: 0.79 to 0.98 of faces, 0.51 to 0.64 of false alarms


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
    """BlazeFace (Bazarevsky et al., 2019) for boxes, MediaPipe's face mesh (Kartynnik et al., 2019) for landmarks.

    Do not share it between threads and do not pickle it; each process opens its own. Close it, or use it in a ``with``.
    broken: a model has failed, after which MediaPipe refuses every other image too; open another one. content: of the
    models' files, by name.
    """

    def __init__(self, min_confidence: float = 0.5, content: Mapping[str, bytes] | None = None):
        """Loads the models.

        Args:
            min_confidence: lowest accepted score of a box, in (0, 1].
            content: what ``load_models`` returned; None: it is called here.

        Raises:
            ModelsUnavailable: see ``faces.models.load_models``.
            UserError: min_confidence out of range.
        """
        if not 0 < min_confidence <= 1:
            raise UserError(f"min_confidence: found {min_confidence}, wanted a number in (0, 1]")
        content = load_models() if content is None else content
        self.broken, self.content = False, content
        with _quiet():
            import mediapipe as mp
            from mediapipe.tasks.python import BaseOptions, vision

            self._image = lambda pixels: mp.Image(mp.ImageFormat.SRGB, np.ascontiguousarray(pixels))

            def detector(name: str, confidence: float) -> Any:
                base = BaseOptions(model_asset_buffer=content[name])
                options = vision.FaceDetectorOptions(base_options=base, min_detection_confidence=confidence)
                return vision.FaceDetector.create_from_options(options)

            self._detector = detector(DETECTOR, min_confidence)
            self._search = detector(SEARCH, _SEARCH_SCORE)
            # Not vision.FaceLandmarker: it reads the public mesh of 468 (x, y, z) as one of 478 (x, y) and returns
            # scrambled points without an error. ImageEmbedder returns the model's raw outputs.
            mesh = vision.ImageEmbedderOptions(base_options=BaseOptions(model_asset_buffer=content[MESH]))
            self._mesh: Any = vision.ImageEmbedder.create_from_options(mesh)
            # The first inference logs too.
            blank = np.zeros((_MESH_SIZE, _MESH_SIZE, 3), np.uint8)
            self._boxes(blank)
            self._places(blank, blank)
            self._mesh.embed(self._image(blank))
        self._beside = ThreadPoolExecutor(1, "search")  # searches while the detector and the mesh look at the image
        # MediaPipe's own __del__ fails while the interpreter shuts down, so it must never run.
        tasks = self._detector, self._search, self._mesh
        for task in tasks:
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(task))
        self._finalizer = weakref.finalize(self, _close, self._beside, *tasks)
        self._finalizer.atexit = False

    def detect(
        self, image: np.ndarray, turn: int | None = None, known: Sequence[tuple[float, float, float, float]] = ()
    ) -> list[Face]:
        """All faces, largest box first; an empty list if there are none.

        The short-range detector looks at the whole image, and with a wide black border if it finds nothing: it misses
        faces that fill the frame, and small ones. The full-range detector then searches overlapping tiles. Each place
        that it proposes counts if the short-range detector finds a face there, with a score of at least 0.7, and the
        mesh finds landmarks. So every box is the short-range detector's, and what it sees in the whole image stays as
        it is.

        The smallest face, as the larger side of its 68 landmarks, of which at least 95 % were found among drawn faces:
        52 pixels in an image of 4000 x 3000, 84 in one of 1280 x 720, and 100 in one of 1920 x 1080, which has fewer
        tiles so that a frame of a video takes at most twice as long as without the search. Smaller ones may be missed.

        Args:
            image: (H, W, 3) uint8 RGB.
            turn: for a frame of a video, its number: it searches a share of the tiles, see ``tiles``. None: all.
            known: boxes of the frame before. The detector looks there too, so a small face that was found once in its
                tile's turn is followed.

        Raises:
            UserError: another shape or type.
        """
        if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or image.size == 0:
            raise UserError(f"image: found {image.dtype} of shape {image.shape}, wanted uint8 (H, W, 3)")
        small = _shrunk(image)
        places = self._beside.submit(self._places, image, small, turn)
        faces = self._seen(image, small)
        for place in [*known, *places.result()]:
            if any(_shows(face, place) for face in faces):
                continue
            seen = self._second_look(image, small, place)
            if seen is None or any(_shows(face, seen[0]) for face in faces):
                continue
            face = self._face(image, seen)
            # Measured on five images of 12 megapixels: 20 boxes were false alarms, all without landmarks.
            if face.landmarks is not None:
                faces.append(face)
        return sorted(faces, key=lambda face: -area(face.box))

    def at_once(self, image: np.ndarray) -> list[Face]:
        """The faces that ``detect`` finds without a search: large ones, in the detector's order."""
        return self._seen(image, _shrunk(image))

    def close(self) -> None:
        """Frees the models."""
        self._finalizer()

    def __enter__(self) -> "Faces":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _boxes(self, image: np.ndarray) -> list[tuple]:
        """[(box, score, keypoints)] of the detector, in pixels of the image."""
        return self._run(self._detector, image)

    def _seen(self, image: np.ndarray, small: np.ndarray) -> list[Face]:
        return [self._face(image, one) for one in self._whole(image, small)]

    def _whole(self, image: np.ndarray, small: np.ndarray) -> list[tuple]:
        """The faces that the detector sees in the whole image, which is given shrunk too, or with a black border."""
        ratio = np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]])
        return [_moved(one, ratio, ratio / 2 - 0.5) for one in self._boxes(small) or self._with_border(small)]

    def _with_border(self, image: np.ndarray) -> list[tuple]:
        # Measured on 417 faces cut at 0.8 of their box: 60 % found unchanged, 100 % with a black border of half the
        # size.
        y, x = image.shape[0] // 2, image.shape[1] // 2
        wide = cv2.copyMakeBorder(image, y, y, x, x, cv2.BORDER_CONSTANT, value=(0, 0, 0))
        small = _shrunk(wide)
        ratio = np.array([wide.shape[1] / small.shape[1], wide.shape[0] / small.shape[0]])
        return [_moved(one, ratio, ratio / 2 - 0.5 - [x, y]) for one in self._boxes(small)]

    def _places(self, image: np.ndarray, small: np.ndarray, turn: int | None = None) -> list[tuple]:
        """Boxes that the search finds in the tiles of the image, the surest first; a face may have several."""
        found = []
        for side, *corner in tiles(image.shape[1], image.shape[0], turn):
            level, scale = small, _scale(image, small)
            if side < _SEARCH_SIDE * scale:
                level, scale = image, 1.0
            x, y = (round(start / scale) for start in corner)
            factor = max(1, int(side / scale) // _SEARCH_SIDE)  # a whole number: OpenCV is several times as fast
            tile = _reduced(level[y : y + math.ceil(side / scale), x : x + math.ceil(side / scale)], factor)
            shift = scale * (np.array([x, y]) + factor / 2) - 0.5
            found += [_moved(one, scale * factor, shift) for one in self._run(self._search, tile)]
        found.sort(key=lambda one: -one[1])
        return [box for box, _, _ in found]

    def _second_look(self, image: np.ndarray, small: np.ndarray, place: tuple) -> tuple | None:
        """What the detector finds at a place that the search proposes, in the middle of a square of its own."""
        side = _SECOND_LOOK * max(place[2] - place[0], place[3] - place[1])
        scale = _scale(image, small)
        if side < _SECOND_SIZE * scale:
            small, scale = image, 1.0
        centre = (np.array([place[0] + place[2], place[1] + place[3]]) / 2 + 0.5) / scale - 0.5
        square, affine = turned_square(small, centre, side / scale, 0.0, _SECOND_SIZE, border=cv2.BORDER_CONSTANT)
        factor = scale / affine[0, 0]
        shift = scale * (0.5 - affine[:, 2] / affine[0, 0]) - 0.5
        seen = [_moved(one, factor, shift) for one in self._boxes(square)]
        seen = [one for one in seen if one[1] >= _SECOND_SCORE and same_face(one[0], place)]
        return max(seen, key=lambda one: overlap(one[0], place), default=None)

    def _run(self, detector: Any, image: np.ndarray) -> list[tuple]:
        height, width = image.shape[:2]
        try:
            detections = detector.detect(self._image(image)).detections
        except RuntimeError:
            self.broken = True
            raise
        out = []
        for detection in detections:
            found = detection.bounding_box
            if not found.width or not found.height:  # rounded to whole pixels; in images of a few
                continue
            low = np.array([found.origin_x, found.origin_y]) - 0.5  # MediaPipe counts from the pixel's edge
            high = low + np.array([found.width, found.height])
            points = np.array([(point.x, point.y) for point in detection.keypoints]) * [width, height] - 0.5
            score = float(detection.categories[0].score)
            out.append(((*map(float, low), *map(float, high)), score, points.astype(np.float32)))
        return out

    def _face(self, image: np.ndarray, found: tuple) -> Face:
        box, score, points = found
        return Face(box, score, points, self._landmarks(image, box, points))

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
    """The face models that ``open_faces`` opened in this process, opened anew where they are broken."""
    global _own
    if _own.broken:
        _own.close()
        _own = Faces(content=_own.content)  # a confined process may not be able to read the files any more
    return _own


def _shows(face: Face, box: tuple) -> bool:
    """Whether a box shows that face. One without landmarks may be a false alarm, and hides no smaller face in it."""
    return same_face(face.box, box) if face.landmarks is not None else overlap(face.box, box) >= SAME


def _shrunk(image: np.ndarray) -> np.ndarray:
    """The image with at most ``_LARGEST_SIDE`` pixels a side."""
    height, width = image.shape[:2]
    factor = _LARGEST_SIDE / max(height, width)
    if factor >= 1:
        return image
    small = max(1, round(width * factor)), max(1, round(height * factor))
    return cv2.resize(image, small, interpolation=cv2.INTER_AREA)


def _scale(image: np.ndarray, small: np.ndarray) -> float:
    """How many pixels of the image one of the shrunk image is; of the longer side, as the other may be a single one."""
    return max(image.shape[:2]) / max(small.shape[:2])


def _reduced(image: np.ndarray, factor: int) -> np.ndarray:
    """The image with a ``factor``-th of its pixels a side; a rest at the right and at the bottom is left out."""
    width, height = image.shape[1] // factor, image.shape[0] // factor
    if factor == 1 or not width or not height:
        return image
    whole = image[: height * factor, : width * factor]
    return cv2.resize(whole, (width, height), interpolation=cv2.INTER_AREA)


def _moved(one: tuple, scale: Any, shift: Any) -> tuple:
    """(box, score, keypoints) with every point multiplied by ``scale`` and moved by ``shift``, (x, y)."""
    box, score, points = one
    corners = np.reshape(box, (2, 2)) * scale + shift
    return tuple(map(float, corners.ravel())), score, (points * scale + shift).astype(np.float32)


def _close(beside: ThreadPoolExecutor, *tasks: Any) -> None:
    beside.shutdown()
    with _quiet():
        for task in tasks:
            with contextlib.suppress(RuntimeError):  # of a broken one
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
