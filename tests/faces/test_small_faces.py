"""Faces that are small in their image are found, each once, and what the detector sees at once stays as it is."""

import cv2
import numpy as np
import pytest

from fdetect_jax.faces.boxes import overlap, same_face
from fdetect_jax.faces.tiles import tiles
from fdetect_jax.facesim.faces import render
from fdetect_jax.facesim.person import person, shot

SEED = 7


@pytest.fixture(scope="module")
def people():
    """24 people: (picture of 256 px, 68 landmarks)."""
    return [render(person(SEED, one), shot(SEED, one, 0), 256, [SEED, one, 0])[:2] for one in range(24)]


def wall(height: int, width: int) -> np.ndarray:
    """Blots of four sizes, without a face."""
    rng = np.random.default_rng(0)
    blots = np.zeros((height, width, 3), np.float32)
    for size in (4, 16, 64, 256):
        coarse = rng.standard_normal((height // size + 2, width // size + 2, 3), np.float32)
        blots += 2.5 * size**0.5 * cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    return np.clip(120 + blots, 0, 255).astype(np.uint8)


def paste(scene: np.ndarray, who: tuple, face: float, x: int, y: int) -> tuple:
    """Puts a person at (x, y), so that the landmarks' larger side is ``face`` pixels; returns their box."""
    image, landmarks = who
    factor = face / np.ptp(landmarks, axis=0).max()
    side = round(256 * factor)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    scene[y : y + side, x : x + side] = cv2.resize(image, (side, side), interpolation=method)
    points = landmarks * side / 256 + [x, y]
    return (*points.min(0), *points.max(0))


def group(people, sizes: list[float]) -> tuple[np.ndarray, list[tuple]]:
    """12 megapixels, in 4 rows of 6 people; and the box of each."""
    scene, rng = wall(3000, 4000), np.random.default_rng(1)
    boxes = []
    for number, (who, size) in enumerate(zip(people, sizes, strict=True)):
        row, column = divmod(number, 6)
        x, y = np.array([column * 666, row * 750]) + rng.integers(0, 150, 2)
        boxes.append(paste(scene, who, size, x, y))
    return scene, boxes


def at_once(faces, scene: np.ndarray) -> tuple:
    """The box of the one face that the detector sees in the whole image, at most 640 pixels a side."""
    factor = max(scene.shape) / 640
    small = cv2.resize(scene, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    ((box, _, _),) = faces._boxes(small)
    return tuple(float(factor * (edge + 0.5) - 0.5) for edge in box)


def found_of(boxes: list[tuple], found: list) -> int:
    return sum(any(overlap(box, face.box) > 0.3 for face in found) for box in boxes)


@pytest.mark.parametrize("large", [False, True], ids=["all small", "one large"])
def test_a_group_of_24(faces, people, large):
    sizes = list(np.geomspace(64, 160, 24))
    if large:
        sizes[8] = 330
    scene, boxes = group(people, sizes)
    found = faces.detect(scene)
    assert found_of(boxes, found) >= 0.95 * len(boxes)
    assert len(found) <= len(boxes)
    assert not any(same_face(one.box, other.box) for one in found for other in found if one is not other)
    assert all(face.landmarks is not None for face in found)


def test_small_faces_beside_a_large_one(faces, people):
    scene = wall(720, 1280)
    boxes = [paste(scene, people[0], 300, 60, 60)]
    boxes += [paste(scene, people[1 + n], 120, 700 + 280 * (n % 2), 60 + 320 * (n // 2)) for n in range(4)]
    found = faces.detect(scene)
    assert len(found) == 5
    assert found_of(boxes, found) == 5
    assert found[0].box == pytest.approx(at_once(faces, scene))


def test_a_single_portrait_keeps_its_box(faces, people):
    for image, _ in people[:6]:
        scene = np.ascontiguousarray(cv2.resize(image, (900, 900)))
        found = faces.detect(scene)
        assert len(found) == 1
        assert found[0].box == pytest.approx(at_once(faces, scene))


def test_no_face_on_a_wall(faces):
    assert [face for face in faces.detect(wall(3000, 4000)) if face.landmarks is not None] == []


@pytest.mark.parametrize("size", [(1, 1), (300, 200), (1280, 720), (1920, 1080), (5, 3000), (4000, 3000), (8000, 8000)])
def test_tiles_cover_the_image(size):
    width, height = size
    levels = tiles(width, height)
    for side, corners in levels:
        for length, starts in ((width, {x for x, _ in corners}), (height, {y for _, y in corners})):
            starts = sorted(starts)
            assert starts[0] == 0
            assert starts[-1] + side >= length
            assert np.all(np.diff(starts) <= 0.8 * side + 1)  # what lies on one tile's edge is inside another
    assert [side for side, _ in levels] == sorted((side for side, _ in levels), reverse=True)
    assert levels[-1][0] <= 1280
    assert sum(len(corners) for _, corners in levels) <= 200
