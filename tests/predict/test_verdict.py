"""A verdict holds what the protocol says of the faces' scores, and survives JSON."""

import json

import numpy as np
import pytest
from scipy.special import logit

from fdetect_jax.faces.clips import FaceCrop, MediaFaces
from fdetect_jax.inference.evidence import Evidence, of_detector
from fdetect_jax.inference.familiar import Limits
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.video import VideoInfo
from fdetect_jax.predict.verdict import decide, unable

INFO = VideoInfo(
    width=640, height=360, duration=4.0, frame_rate=30.0, codec="h264", container="mp4", rotation=0, has_audio=False
)
SHARP = {"image": np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)}
BOX, SMALL = (0.0, 0.0, 100.0, 100.0), (200.0, 0.0, 250.0, 50.0)


def clip() -> MediaFaces:
    """Two people: one in every frame but the second, a small one in the first."""
    crops = (
        FaceCrop(0, 0.0, 0, BOX, 0.9, SHARP),
        FaceCrop(0, 0.0, 1, SMALL, 0.9, SHARP),
        FaceCrop(60, 2.0, 0, BOX, 0.9, SHARP),
        FaceCrop(90, 3.0, 0, BOX, 0.9, SHARP),
    )
    return MediaFaces("video", INFO, (640, 360), ((0, 0.0), (30, 1.0), (60, 2.0), (90, 3.0)), crops)


def test_a_video():
    verdict = decide("a.mp4", clip(), logit([0.2, 0.9, 0.4, 0.6]), Protocol(threshold=0.35))
    assert verdict.verdict == "fake"
    assert verdict.score == pytest.approx(0.4)  # the small face does not count: (0.2 + 0.4 + 0.6) / 3
    assert verdict.frames == ((0.0, pytest.approx(0.2)), (1.0, None), *((n, pytest.approx(0.2 * n)) for n in (2, 3)))
    first, second = verdict.tracks
    assert (first.track, first.score) == (0, pytest.approx(0.4))
    assert [one.time for one in first.sightings] == [0.0, 2.0, 3.0]
    assert second.score == pytest.approx(0.9)  # yet it is shown
    assert "3 of 4 frames" in verdict.reason


def test_the_threshold_itself_is_fake():
    assert decide("a", clip(), np.zeros(4), Protocol(threshold=0.5)).verdict == "fake"
    assert decide("a", clip(), np.zeros(4), Protocol(threshold=0.51)).verdict == "real"


def test_in_an_image_a_small_face_counts():
    crops = (FaceCrop(0, 0.0, 0, BOX, 0.9, SHARP), FaceCrop(0, 0.0, 1, SMALL, 0.9, SHARP))
    seen = MediaFaces("image", None, (640, 360), ((0, 0.0),), crops)
    assert decide("a.png", seen, logit([0.1, 0.8]), Protocol()).score == pytest.approx(0.8)


def test_without_a_face_there_is_no_score():
    seen = MediaFaces("video", INFO, (640, 360), ((0, 0.0), (30, 1.0)), ())
    verdict = decide("a.mp4", seen, np.zeros(0), Protocol())
    assert (verdict.verdict, verdict.score, verdict.tracks) == ("not_applicable", None, ())
    assert "2 sampled frames" in verdict.reason


OTHER = Evidence("other", "odd", "fake", 0.2, "Something is odd.")


def test_the_detectors_evidence_comes_first():
    verdict = decide("a.mp4", clip(), np.full(4, 3.0), Protocol(), evidence=[OTHER], notes=["no luck"])
    first, second = verdict.evidence
    assert (first.name, first.value, first.words, first.speaks_for) == (
        "detector",
        verdict.score,
        verdict.reason,
        "fake",
    )
    assert (second, verdict.notes) == (OTHER, ("no luck",))
    nothing = MediaFaces("image", None, (640, 360), ((0, 0.0),), ())
    assert decide("a.png", nothing, np.zeros(0), Protocol(), evidence=[OTHER]).evidence == (OTHER,)


def test_a_fake_has_a_likeliest_kind_where_the_detector_knows_several():
    classes, names = np.array([[0.2, 0.1, 0.7], [0.1, 0.6, 0.3], [0.4, 0.4, 0.2], [0.3, 0.1, 0.6]]), ("real", "a", "b")
    verdict = decide("a", clip(), np.ones(4), Protocol(), classes, names)
    assert verdict.classes == pytest.approx({"real": 0.25, "a": 0.3, "b": 0.45})
    assert verdict.reason.endswith("; of the fakes it is most like b")
    assert "most like" not in decide("a", clip(), -np.ones(4), Protocol(), classes, names).reason
    assert decide("a", clip(), np.ones(4), Protocol(), classes[:, :2], names[:2]).classes == {}
    far, near = (decide("a", clip(), np.ones(4), Protocol(), classes, names, lead=lead).reason for lead in (9.0, 0.0))
    assert far.endswith("; it is like none of the classes that the detector knows")
    assert "most like" in near


def test_margins_beyond_float64s_scores_are_compared_as_they_are():
    high, higher = (decide("a", clip(), np.full(4, value), Protocol(threshold=1.0)) for value in (700.0, 800.0))
    assert high.score == higher.score == 1
    assert high.verdict == "real"  # no finite margin has P(fake) = 1


@pytest.mark.parametrize(
    "verdict", [decide("a.mp4", clip(), np.full(4, -1.0), Protocol()), unable("b", "empty", Protocol())]
)
def test_rows_survive_json(verdict):
    row = json.loads(json.dumps(verdict.to_row(), allow_nan=False))
    assert row["frames"] == [[time, score and pytest.approx(score, abs=1e-6)] for time, score in verdict.frames]
    assert [track["track"] for track in row["tracks"]] == [track.track for track in verdict.tracks]
    for track, own in zip(row["tracks"], verdict.tracks, strict=True):
        assert [face["box"] for face in track["faces"]] == [list(one.box) for one in own.sightings]
        assert [face["time"] for face in track["faces"]] == [one.time for one in own.sightings]
    for name in ("file", "verdict", "reason", "threshold", "kind", "duration"):
        assert row[name] == getattr(verdict, name)
    assert row["score"] == (verdict.score and pytest.approx(verdict.score, abs=1e-6))
    assert [one["name"] for one in row["evidence"]] == [one.name for one in verdict.evidence]


@pytest.mark.parametrize(
    ("margin", "word", "side"), [(3.0, "fake", "fake"), (0.0, "suspicious", "neither"), (-3.0, "real", "real")]
)
def test_between_two_thresholds_a_file_is_suspicious(margin, word, side):
    protocol = Protocol(threshold=0.8, suspicious=0.3)
    verdict = decide("a.mp4", clip(), np.full(4, margin), protocol)
    assert (verdict.verdict, verdict.evidence[0].speaks_for) == (word, side)
    assert (verdict.to_row()["threshold"], verdict.to_row()["suspicious"]) == (0.8, 0.3)
    assert ("from which on a file is suspicious" in verdict.reason) == (word == "suspicious")
    assert decide("a.mp4", clip(), np.full(4, margin), Protocol(threshold=0.8)).verdict != "suspicious"


def test_what_is_real_is_measured_from_where_suspicion_ends():
    protocol = Protocol(threshold=0.8, suspicious=0.4)
    assert of_detector(0.4, "real", protocol, "").strength == 0
    assert of_detector(0.1, "real", protocol, "").strength == pytest.approx(0.75)
    assert of_detector(0.9, "fake", protocol, "").strength == pytest.approx(0.5)
    assert of_detector(0.7, "suspicious", protocol, "").strength == 0


def test_small_blurred_and_strange_faces_are_said():
    def verdict(box, example, limits=Limits(80.0, 6.0), far=np.nan):
        crop = FaceCrop(0, 0.0, 0, box, 0.9, example)
        seen = MediaFaces("image", None, (640, 360), ((0, 0.0),), (crop,))
        return decide("a.png", seen, np.ones(1), Protocol(), strangeness=np.array([far]), limits=limits)

    flat = {"image": np.full((64, 64, 3), 99, np.uint8)}
    assert verdict(BOX, SHARP, far=0.9).notes == ()
    (small,) = verdict(SMALL, SHARP).notes
    assert small == "the largest face is only 50 pixels large, where scores mean little (below 80)"
    (blurred,) = verdict(BOX, flat).notes
    assert blurred == "the faces are blurred, where scores mean little (sharpness 0.0, below 6)"
    (strange,) = verdict(BOX, SHARP, far=1.44).notes
    assert "unlike those that the detector knows" in strange
    assert "1.4 times as far" in strange
    assert verdict(SMALL, flat, Limits()).notes == ()  # a file that states no limits
