"""Faces of successive frames are tied to persons by the overlap of their boxes."""

from itertools import pairwise

import numpy as np

from fdetect_jax.faces.finder import Face
from fdetect_jax.faces.tracks import Tracker


def face(x: float, y: float = 100.0, side: float = 50.0) -> Face:
    return Face((x, y, x + side, y + side), 0.9, np.zeros((6, 2), np.float32), None)


def test_two_people_keep_their_numbers_when_their_order_changes():
    tracker = Tracker()
    assert tracker.update([face(0), face(300)]) == [0, 1]
    assert tracker.update([face(310), face(10)]) == [1, 0]
    assert tracker.update([face(20), face(320)]) == [0, 1]


def test_one_box_is_not_given_to_two_faces():
    tracker = Tracker()
    tracker.update([face(100)])
    first, second = tracker.update([face(110), face(95)])
    assert {first, second} == {0, 1}
    assert second == 0  # the nearer one


def test_a_moving_face_stays_one_track_and_a_jump_begins_another():
    tracker = Tracker()
    steps = [tracker.update([face(25.0 * step)])[0] for step in range(12)]
    assert steps == [0] * 12
    assert tracker.update([face(900)]) == [1]


def test_a_face_that_comes_back_soon_is_the_same_and_later_is_new():
    tracker = Tracker()
    tracker.update([face(0)])
    for _ in range(5):
        assert tracker.update([]) == []
    assert tracker.update([face(5)]) == [0]
    for _ in range(6):
        tracker.update([])
    assert tracker.update([face(5)]) == [1]


def test_the_sum_of_overlaps_decides():
    """Greedily, the first face would take the track that only the second one meets."""
    tracker = Tracker()
    tracker.update([face(0), face(40)])
    assert tracker.update([face(25), face(62)]) == [0, 1]


def test_crossing_at_a_distance():
    tracker = Tracker()
    places = [(10 * step, 300 - 10 * step) for step in range(31)]
    numbers = [tracker.update([face(a, 100), face(b, 200)]) for a, b in places]
    assert all(one == other for one, other in pairwise(numbers))
