"""From faces to a file's score: SBI's rules by default, every rule against a case worked by hand."""

import dataclasses
import json

import numpy as np
import pytest

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.video import Sampling

# Two people in frame 0, one in frame 3, three in frame 7; the small one of frame 7 stands in the background.
FRAMES = [0, 0, 3, 7, 7, 7]
AREAS = [100, 60, 50, 90, 45, 44]
SCORES = [0.2, 0.6, 0.4, 0.1, 0.3, 0.9]


def found(image=False, **fields):
    protocol = Protocol(**fields)
    frames, scores = protocol.frame_scores(FRAMES, AREAS, SCORES, image=image)
    assert frames.tolist() == [0, 3, 7]
    return scores.tolist()


def test_defaults_are_sbis():
    protocol = Protocol()
    assert found() == [0.6, 0.4, 0.3]  # half of 90 is 45: it counts, 44 does not
    assert protocol.file_score(found()) == pytest.approx(1.3 / 3)
    assert protocol.sampling == Sampling(count=32)
    assert protocol.threshold == 0.5


def test_in_an_image_no_face_is_too_small():
    assert found(image=True) == [0.6, 0.4, 0.9]


@pytest.mark.parametrize(
    ("fields", "wanted"),
    [
        ({"min_face_share": 0.0}, [0.6, 0.4, 0.9]),
        ({"min_face_share": 1.0}, [0.2, 0.4, 0.1]),
        ({"multi_face": "mean"}, [0.4, 0.4, 0.2]),
        ({"multi_face": "largest"}, [0.2, 0.4, 0.1]),
    ],
)
def test_faces_of_a_frame(fields, wanted):
    assert found(**fields) == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("aggregation", "wanted"), [("mean", 0.5), ("median", 0.45), ("max", 0.9), ("top_third", (0.9 + 0.8) / 2)]
)
def test_frames_of_a_file(aggregation, wanted):
    scores = [0.1, 0.9, 0.3, 0.4, 0.8, 0.5]
    assert Protocol(aggregation=aggregation).file_score(scores) == pytest.approx(wanted)
    assert Protocol(aggregation=aggregation).file_score([0.7]) == 0.7


def test_top_third_is_rounded_down():
    assert Protocol(aggregation="top_third").file_score([0.1, 0.2, 0.3, 0.4, 0.5]) == 0.5


def test_without_a_face_there_is_no_score():
    protocol = Protocol()
    frames, scores = protocol.frame_scores([], [], [])
    assert (len(frames), len(scores)) == (0, 0)
    assert protocol.file_score(scores) is None
    assert protocol.track_scores([], []) == {}


def test_tracks_keep_their_own_scores():
    scores = Protocol().track_scores([0, 1, 0, 1, 2], [0.1, 0.9, 0.3, 0.7, 0.5])
    assert scores == {0: pytest.approx(0.2), 1: pytest.approx(0.8), 2: 0.5}


def test_threshold_counts_as_fake():
    protocol = Protocol(threshold=0.7)
    assert (protocol.is_fake(0.7), protocol.is_fake(0.69)) == (True, False)


def test_there_and_back_through_json():
    protocol = Protocol(Sampling(per_second=5.0), "largest", 0.0, "mean", "top_third", 0.25)
    assert Protocol.from_dict(json.loads(json.dumps(protocol.to_dict()))) == protocol
    with pytest.raises(ValueError, match="found fields"):
        Protocol.from_dict(protocol.to_dict() | {"frames": 3})


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("sampling", 32),
        ("faces", "first"),
        ("multi_face", "min"),
        ("aggregation", "mode"),
        ("min_face_share", -0.1),
        ("threshold", 1.1),
        ("threshold", float("nan")),
        ("threshold", True),
    ],
)
def test_names_the_field_that_does_not_fit(field, value):
    with pytest.raises(ValueError, match=f"protocol.{field}"):
        Protocol(**{field: value})


def test_refuses_scores_that_are_none():
    with pytest.raises(ValueError, match="1 of 2 that are NaN"):
        Protocol().frame_scores([0, 1], [1, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match=r"\(K,\)"):
        Protocol().frame_scores([0, 1], [1, 1], [0.5])


def test_every_field_is_stored():
    assert set(Protocol().to_dict()) == {field.name for field in dataclasses.fields(Protocol)}
