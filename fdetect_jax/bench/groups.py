"""``face_search``: a drawn group of 24 people in 12 megapixels, and a frame of a video with one large face."""

import statistics
import time
from collections.abc import Callable

import cv2
import numpy as np

from fdetect_jax.faces.boxes import overlap
from fdetect_jax.facesim.faces import render
from fdetect_jax.facesim.person import person, shot

PEOPLE = 24
_SEED, _DRAWN = 7, 256  # pixels, the size at which a face is drawn
_ROWS, _COLUMNS = 4, 6
_FOUND = 0.3  # least overlap of a found box with the landmarks' own

Box = tuple[float, float, float, float]


def people(number: int = PEOPLE) -> list[tuple[np.ndarray, np.ndarray]]:
    """[(picture of 256 px, its (68, 2) landmarks)] of different people."""
    return [render(person(_SEED, one), shot(_SEED, one, 0), _DRAWN, [_SEED, one, 0])[:2] for one in range(number)]


def wall(height: int, width: int) -> np.ndarray:
    """(H, W, 3) uint8: blots of four sizes, without a face."""
    rng = np.random.default_rng(0)
    blots = np.zeros((height, width, 3), np.float32)
    for size in (4, 16, 64, 256):
        coarse = rng.standard_normal((height // size + 2, width // size + 2, 3), np.float32)
        blots += 2.5 * size**0.5 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + blots, 0, 255).astype(np.uint8)


def paste(scene: np.ndarray, who: tuple[np.ndarray, np.ndarray], face: float, x: int, y: int) -> Box:
    """Puts a person at (x, y), so that the landmarks' larger side is ``face`` pixels; returns the landmarks' box."""
    image, landmarks = who
    factor = face / np.ptp(landmarks, axis=0).max()
    side = round(_DRAWN * factor)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scene[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=method)
    points = landmarks * side / _DRAWN + [x, y]
    return (*map(float, points.min(0)), *map(float, points.max(0)))


def group(who: list[tuple], sizes: list[float]) -> tuple[np.ndarray, list[Box]]:
    """(3000, 4000, 3) uint8 with 4 rows of 6 people, whose faces have these sizes in pixels; and the box of each."""
    scene, rng = wall(3000, 4000), np.random.default_rng(1)
    boxes = []
    for number, (one, size) in enumerate(zip(who, sizes, strict=True)):
        row, column = divmod(number, _COLUMNS)
        x, y = np.array([column * 4000 // _COLUMNS, row * 3000 // _ROWS]) + rng.integers(0, 150, 2)
        boxes.append(paste(scene, one, size, x, y))
    return scene, boxes


def found_of(boxes: list[Box], found: list) -> int:
    """How many of the boxes a found ``Face`` shows."""
    return sum(any(overlap(box, face.box) > _FOUND for face in found) for box in boxes)


def face_search() -> tuple[Callable[[], object], dict[str, float]]:
    """The search of the group image, and figures.

    recall: share of the 24 faces of 64 to 160 px that it finds. frame, whole: seconds for a frame of 1920 x 1080 with
    one large face, and for the detector and the mesh alone on the whole frame; times: their ratio.
    """
    from fdetect_jax.faces.finder import Faces

    who, faces = people(), Faces()
    scene, boxes = group(who, list(np.geomspace(64, 160, PEOPLE)))
    recall = found_of(boxes, faces.detect(scene)) / PEOPLE
    frame = wall(1080, 1920)
    paste(frame, who[0], 380, 700, 300)
    whole, searched = _in_turn(lambda: faces.at_once(frame), lambda: faces.detect(frame, 0))
    figures = {"recall": recall, "frame": searched, "whole": whole, "times": searched / whole}
    return lambda: faces.detect(scene), figures


def _in_turn(*works: Callable[[], object], repeats: int = 15) -> list[float]:
    """The median seconds of each, run in turns."""
    spent: list[list[float]] = [[] for _ in works]
    for _ in range(repeats):
        for seconds, work in zip(spent, works, strict=True):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return [statistics.median(seconds) for seconds in spent]
