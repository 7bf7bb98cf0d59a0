"""From faces to a file's score: SBI's rules by default, every rule against a case worked by hand."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.special import expit, logit

from fdetect_jax.inference.protocol import AGGREGATIONS, Protocol, mean_margin, to_score
from fdetect_jax.media.video import Sampling

# Two people in frame 0, one in frame 3, three in frame 7; the small one of frame 7 stands in the background.
FRAMES = [0, 0, 3, 7, 7, 7]
AREAS = [100, 60, 50, 90, 45, 44]
SCORES = [0.2, 0.6, 0.4, 0.1, 0.3, 0.9]


def found(image=False, **fields):
    protocol = Protocol(**fields)
    frames, margins = protocol.frame_margins(FRAMES, AREAS, logit(SCORES), image=image)
    assert frames.tolist() == [0, 3, 7]
    return pytest.approx(expit(margins))


def of_file(scores, **fields):
    return to_score(Protocol(**fields).file_margin(logit(scores)))


def test_defaults_are_sbis():
    protocol = Protocol()
    assert found() == [0.6, 0.4, 0.3]  # half of 90 is 45: it counts, 44 does not
    assert of_file([0.6, 0.4, 0.3]) == pytest.approx(1.3 / 3)
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
    assert found(**fields) == wanted


@pytest.mark.parametrize(
    ("aggregation", "wanted"), [("mean", 0.5), ("median", 0.45), ("max", 0.9), ("top_third", (0.9 + 0.8) / 2)]
)
def test_frames_of_a_file(aggregation, wanted):
    scores = [0.1, 0.9, 0.3, 0.4, 0.8, 0.5]
    assert of_file(scores, aggregation=aggregation) == pytest.approx(wanted)
    assert of_file([0.7], aggregation=aggregation) == pytest.approx(0.7)


def test_votes_are_the_share_of_fake_frames():
    assert of_file([0.1, 0.9, 0.3, 0.4, 0.8, 0.5], aggregation="votes") == pytest.approx(2 / 6)  # at even odds: real
    assert of_file([0.7, 0.6], aggregation="votes") == pytest.approx(1, abs=1e-5)
    assert of_file([0.2], aggregation="votes") == pytest.approx(0, abs=1e-5)


def test_top_third_is_rounded_down():
    assert of_file([0.1, 0.2, 0.3, 0.4, 0.5], aggregation="top_third") == pytest.approx(0.5)


def test_an_odd_number_of_frames_has_one_in_the_middle():
    assert of_file([0.1, 0.9, 0.3], aggregation="median") == pytest.approx(0.3)


@pytest.mark.parametrize("aggregation", [name for name in AGGREGATIONS if name != "votes"])
def test_margins_that_float64_scores_cannot_tell_apart_keep_their_order(aggregation):
    protocol = Protocol(aggregation=aggregation)
    margins = [protocol.file_margin(np.array([sign * 700.0 + step, sign * 700.0])) for sign, step in ORDERED]
    assert np.all(np.diff(margins) > 0)
    assert expit(700.0) == expit(701.0) == 1


ORDERED = ((-1, 0.0), (-1, 2.0), (1, 0.0), (1, 2.0))


def test_the_mean_is_of_scores_not_of_margins():
    assert expit(mean_margin(np.array([-800.0, 3.0, 3.0]))) == pytest.approx(2 / 3 * expit(3.0))
    np.testing.assert_allclose(mean_margin(np.array([1.0, -2.0])), logit((expit(1) + expit(-2)) / 2), rtol=1e-12)


def test_without_a_face_there_is_no_score():
    protocol = Protocol()
    frames, margins = protocol.frame_margins([], [], [])
    assert (len(frames), len(margins)) == (0, 0)
    assert protocol.file_margin(margins) is None
    assert to_score(None) is None
    assert protocol.track_margins([], []) == {}


def test_tracks_keep_their_own_scores():
    margins = Protocol().track_margins([0, 1, 0, 1, 2], logit([0.1, 0.9, 0.3, 0.7, 0.5]))
    assert {track: to_score(one) for track, one in margins.items()} == pytest.approx({0: 0.2, 1: 0.8, 2: 0.5})


def test_threshold_counts_as_fake():
    protocol = Protocol(threshold=0.7)
    assert (protocol.is_fake(logit(0.7)), protocol.is_fake(logit(0.69))) == (True, False)
    assert Protocol(threshold=0.0).is_fake(-800.0)
    assert not Protocol(threshold=1.0).is_fake(800.0)


def test_there_and_back_through_json():
    protocol = Protocol(Sampling(per_second=5.0), "largest", 0.0, "mean", "top_third", 0.25, views=10)
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
        ("views", 0),
        ("views", 101),
        ("views", 2.0),
    ],
)
def test_names_the_field_that_does_not_fit(field, value):
    with pytest.raises(ValueError, match=f"protocol.{field}"):
        Protocol(**{field: value})


def test_a_face_has_the_mean_of_its_higher_views():
    scores = np.array([[0.9, 0.1, 0.5, 0.7], [0.2, 0.2, 0.4, 0.1]])
    np.testing.assert_allclose(expit(Protocol(views=4).face_margins(logit(scores))), [0.8, 0.3])
    np.testing.assert_allclose(expit(Protocol(views=3).face_margins(logit(scores[:, :3]))), [0.7, 0.3])
    margins = np.array([[800.0], [-800.0]])
    np.testing.assert_array_equal(Protocol().face_margins(margins), margins[:, 0])
    assert Protocol(views=4).face_margins(np.empty((0, 4))).shape == (0,)


def test_refuses_margins_that_are_no_numbers():
    with pytest.raises(ValueError, match="1 of 2 that are NaN"):
        Protocol().frame_margins([0, 1], [1, 1], [0.5, np.nan])
    with pytest.raises(ValueError, match=r"\(K,\)"):
        Protocol().frame_margins([0, 1], [1, 1], [0.5])


def test_every_field_is_stored():
    assert set(Protocol().to_dict()) == {field.name for field in dataclasses.fields(Protocol)}
