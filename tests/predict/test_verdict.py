"""A verdict holds what the protocol says of the faces' scores, and survives JSON."""

import json

import numpy as np
import pytest

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.clips import FaceCrop, MediaFaces
from fdetect_jax.media.video import VideoInfo
from fdetect_jax.predict.verdict import decide, unable

INFO = VideoInfo(
    width=640, height=360, duration=4.0, frame_rate=30.0, codec="h264", container="mp4", rotation=0, has_audio=False
)
BOX, SMALL = (0.0, 0.0, 100.0, 100.0), (200.0, 0.0, 250.0, 50.0)


def clip() -> MediaFaces:
    """Two people: one in every frame but the second, a small one in the first."""
    crops = (
        FaceCrop(0, 0.0, 0, BOX, 0.9, {}),
        FaceCrop(0, 0.0, 1, SMALL, 0.9, {}),
        FaceCrop(60, 2.0, 0, BOX, 0.9, {}),
        FaceCrop(90, 3.0, 0, BOX, 0.9, {}),
    )
    return MediaFaces("video", INFO, (640, 360), ((0, 0.0), (30, 1.0), (60, 2.0), (90, 3.0)), crops)


def test_a_video():
    verdict = decide("a.mp4", clip(), np.array([0.2, 0.9, 0.4, 0.6]), Protocol(threshold=0.35))
    assert verdict.verdict == "fake"
    assert verdict.score == pytest.approx(0.4)  # the small face does not count: (0.2 + 0.4 + 0.6) / 3
    assert verdict.frames == ((0.0, 0.2), (1.0, None), (2.0, 0.4), (3.0, 0.6))
    first, second = verdict.tracks
    assert (first.track, first.score) == (0, pytest.approx(0.4))
    assert [one.time for one in first.sightings] == [0.0, 2.0, 3.0]
    assert second.score == pytest.approx(0.9)  # yet it is shown
    assert "3 of 4 frames" in verdict.reason


def test_the_threshold_itself_is_fake():
    scores = np.full(4, 0.5)
    assert decide("a", clip(), scores, Protocol(threshold=0.5)).verdict == "fake"
    assert decide("a", clip(), scores, Protocol(threshold=0.51)).verdict == "real"


def test_in_an_image_a_small_face_counts():
    crops = (FaceCrop(0, 0.0, 0, BOX, 0.9, {}), FaceCrop(0, 0.0, 1, SMALL, 0.9, {}))
    seen = MediaFaces("image", None, (640, 360), ((0, 0.0),), crops)
    assert decide("a.png", seen, np.array([0.1, 0.8]), Protocol()).score == pytest.approx(0.8)


def test_without_a_face_there_is_no_score():
    seen = MediaFaces("video", INFO, (640, 360), ((0, 0.0), (30, 1.0)), ())
    verdict = decide("a.mp4", seen, np.zeros(0), Protocol())
    assert (verdict.verdict, verdict.score, verdict.tracks) == ("not_applicable", None, ())
    assert "2 frames" in verdict.reason


@pytest.mark.parametrize(
    "verdict", [decide("a.mp4", clip(), np.full(4, 0.25), Protocol()), unable("b", "empty", Protocol())]
)
def test_rows_survive_json(verdict):
    row = json.loads(json.dumps(verdict.to_row(), allow_nan=False))
    assert row["frames"] == [list(frame) for frame in verdict.frames]
    assert [track["track"] for track in row["tracks"]] == [track.track for track in verdict.tracks]
    for track, own in zip(row["tracks"], verdict.tracks, strict=True):
        assert [face["box"] for face in track["faces"]] == [list(one.box) for one in own.sightings]
        assert [face["time"] for face in track["faces"]] == [one.time for one in own.sightings]
    for name in ("file", "verdict", "score", "reason", "threshold", "kind", "duration"):
        assert row[name] == getattr(verdict, name)
