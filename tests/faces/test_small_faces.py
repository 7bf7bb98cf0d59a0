"""Faces that are small in their image are found, each once, and what the detector sees at once stays as it is."""

import cv2
import numpy as np
import pytest

from fdetect_jax.bench.groups import found_of, group, paste, wall
from fdetect_jax.bench.groups import people as drawn
from fdetect_jax.faces.boxes import same_face
from fdetect_jax.faces.tiles import tiles


@pytest.fixture(scope="module")
def people():
    return drawn()


def at_once(faces, scene: np.ndarray) -> tuple:
    """The box of the one face that the detector sees in the whole image, at most 640 pixels a side."""
    factor = max(scene.shape) / 640
    small = cv2.resize(scene, None, fx=1 / factor, fy=1 / factor, interpolation=cv2.INTER_AREA)
    ((box, _, _),) = faces._boxes(small)
    return tuple(float(factor * (edge + 0.5) - 0.5) for edge in box)


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
    squares = tiles(width, height)
    sides = [side for side, _, _ in squares]
    assert sides == sorted(sides, reverse=True)
    assert sides[-1] <= 1280
    assert len(squares) <= 200
    for side in set(sides):
        for length, axis in ((width, 1), (height, 2)):
            starts = sorted({square[axis] for square in squares if square[0] == side})
            assert starts[0] == 0
            assert starts[-1] + side >= length
            assert np.all(np.diff(starts) <= 0.8 * side + 1)  # what lies on one tile's edge is inside another


def test_each_tile_has_its_turn_in_a_video():
    squares = tiles(3840, 2160)
    shares = [tiles(3840, 2160, turn) for turn in range(len(squares))]
    assert {square for share in shares for square in share} == set(squares)
    assert max(map(len, shares)) <= 3
    assert tiles(1920, 1080, 5) == tiles(1920, 1080)


def test_a_small_face_of_a_video_is_found_in_its_turn_and_then_followed(faces, people):
    scene, found, first = wall(2160, 3840), [], None
    box = paste(scene, people[0], 90, 3000, 1500)
    for turn in range(30):
        found = faces.detect(scene, turn, [face.box for face in found])
        first = turn if first is None and found else first
        assert len(found) == (first is not None)
    assert first <= 24
    assert found_of([box], found) == 1


def test_faces_at_the_ends_of_a_panorama(faces, people):
    scene = wall(1200, 16000)
    boxes = [paste(scene, people[n], 200, x, 400) for n, x in enumerate((150, 5000, 15300))]
    found = faces.detect(scene)
    assert found_of(boxes, found) == len(found) == 3
