"""Boxes, verdict and timeline stand where the verdict has them."""

import numpy as np
import pytest

from fdetect_jax.predict.draw import COLOURS, Painter, heat_sheet
from fdetect_jax.predict.verdict import Sighting, TrackVerdict, Verdict

SIZE = (320, 180)
GREY = np.full((180, 320, 3), 100, np.uint8)


def verdict(scores, *, word="fake", threshold=0.5, boxes=None) -> Verdict:
    """Samples a second apart."""
    boxes = boxes or [(100.0, 40.0, 180.0, 120.0)] * len(scores)
    seen = [Sighting(float(t), s, b) for t, (s, b) in enumerate(zip(scores, boxes, strict=True)) if s is not None]
    frames = tuple((float(t), s) for t, s in enumerate(scores))
    tracks = (TrackVerdict(0, 0.5, tuple(seen)),) if seen else ()
    return Verdict("a.mp4", word, 0.5, "", threshold, "video", float(len(scores)), frames, tracks)


def of_colour(picture: np.ndarray, name: str) -> np.ndarray:
    """(K, 2) rows and columns of the pixels of a colour."""
    return np.argwhere((picture == COLOURS[name]).all(axis=-1))


def boxed(picture: np.ndarray, name: str) -> tuple[int, int]:
    """Left and right end of what is drawn in a colour on the frame itself."""
    found = of_colour(picture[:180], name)
    return found[:, 1].min(), found[:, 1].max()


def test_the_strip_is_below_and_the_frame_is_left_alone_without_faces():
    paint = Painter(verdict([None, None], word="not_applicable"), SIZE)
    drawn = paint(GREY, 0.0)
    assert drawn.shape[0] > 180
    assert drawn.shape[0] % 2 == 0
    assert drawn.shape[1] == 320
    np.testing.assert_array_equal(drawn[:180], GREY)


def test_an_odd_height_becomes_even():
    assert Painter(verdict([0.2]), (320, 181))(np.zeros((181, 320, 3), np.uint8), 0.0).shape[0] % 2 == 0


def test_the_box_takes_the_colour_of_its_score():
    paint = Painter(verdict([0.9, 0.1]), SIZE)
    assert len(of_colour(paint(GREY, 0.0)[:180], "fake"))
    assert not len(of_colour(paint(GREY, 0.0)[:180], "real"))
    assert len(of_colour(paint(GREY, 1.0)[:180], "real"))


def test_between_samples_the_box_moves_evenly():
    boxes = [(50.0, 60.0, 100.0, 110.0), (150.0, 60.0, 200.0, 110.0)]
    paint = Painter(verdict([0.9, 0.9], boxes=boxes), SIZE)
    left, right = boxed(paint(GREY, 0.5), "fake")
    assert left == pytest.approx(100, abs=2)
    assert right == pytest.approx(150, abs=2)


def test_a_box_leaves_with_its_face():
    paint = Painter(verdict([0.9, None, None, None, None, 0.9]), SIZE)
    assert len(of_colour(paint(GREY, 0.5)[:180], "fake"))
    assert not len(of_colour(paint(GREY, 2.5)[:180], "fake"))
    assert len(of_colour(paint(GREY, 4.5)[:180], "fake"))


def test_the_timeline_rises_with_the_score_and_its_mark_moves():
    paint = Painter(verdict([0.1, 0.1, 0.95, 0.95]), SIZE)
    strip = paint(GREY, 0.0)[180:]
    low, high = of_colour(strip, "real"), of_colour(strip[:, 120:], "fake")
    assert high[:, 0].min() < low[:, 0].min()
    mark = [np.argwhere((paint(GREY, time)[180:] != paint(GREY, 9.0)[180:]).any(-1))[:, 1].min() for time in (0, 1, 2)]
    assert mark[0] < mark[1] < mark[2]


def test_a_face_at_the_edge_is_drawn():
    paint = Painter(verdict([0.9], boxes=[(-30.0, -20.0, 400.0, 300.0)]), SIZE)
    assert paint(GREY, 0.0).shape == paint(GREY, 5.0).shape


def test_the_heat_sheet_is_hot_where_the_heat_map_is():
    attention = np.zeros((3, 4, 4), np.float32)
    attention[:, 0, 0] = 1.0
    sheet = heat_sheet(np.full((3, 64, 64, 3), 80, np.uint8), attention, np.array([0.1, 0.5, 0.9]), side=64)
    assert sheet.shape == (2 * (64 + 24), 4 * 64, 3)
    over = sheet[:64, 64:128].astype(int).sum(-1)
    assert over[4:12, 4:12].mean() > over[40:, 40:].mean() + 100
