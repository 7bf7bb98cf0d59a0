"""Analyses extract by themselves, weigh in order, and fail without taking anything with them."""

import json

import numpy as np
import pytest

from fdetect_jax.errors import UserError
from fdetect_jax.faces.clips import FaceCrop
from fdetect_jax.inference.analyses import Analysis, Extracted, extract, extractions, weigh
from fdetect_jax.inference.evidence import Evidence, of_detector
from fdetect_jax.inference.protocol import Protocol


def crops():
    image = np.zeros((4, 4, 3), np.uint8)
    return tuple(
        FaceCrop(n, float(n), track, (0.0, 0.0, 1.0, 1.0), 0.9, {"image": image + n})
        for n, track in enumerate([0, 1, 0])
    )


def length(path):
    return len(path.read_bytes())


def brightest(crop):
    return int(crop.example["image"].max()) or None


def duration(clip):
    return clip[-1].time - clip[0].time


def fails(_):
    raise RuntimeError("no such luck")


def not_plain(_):
    return lambda: None


def says(value):
    return Evidence("", float(np.sum(value)), "fake", 0.5, f"found {value}")


def test_each_unit_gets_what_is_its_own(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    analyses = {
        "length": Analysis("file", length, says, "Length"),
        "brightest": Analysis("face", brightest, says, "Brightest"),
        "duration": Analysis("clip", duration, says, "Duration"),
        "silent": Analysis("file", lambda_free_none, says, "Silent"),
    }
    found = extract((tmp_path / "a", crops(), extractions(analyses)))
    assert found == Extracted({"length": 5, "brightest": [1, 2], "duration": [2.0, 0.0]})
    evidence, notes = weigh(found, analyses)
    assert [(one.name, one.value) for one in evidence] == [("length", 5.0), ("brightest", 3.0), ("duration", 2.0)]
    assert notes == ()
    assert extract((tmp_path / "a", (), extractions(analyses))).data == {"length": 5}


def lambda_free_none(_):
    return None


def test_one_that_fails_is_a_note_and_the_others_go_on(tmp_path):
    (tmp_path / "a").write_bytes(b"1")
    analyses = {
        "first": Analysis("file", fails, says, ""),
        "second": Analysis("file", not_plain, says, ""),
        "third": Analysis("file", length, fails, ""),
        "fourth": Analysis("file", length, lambda _: Evidence("", float("nan"), "fake", 0.5, ""), ""),
        "fifth": Analysis("file", length, lambda _: None, ""),
        "last": Analysis("file", length, says, ""),
    }
    evidence, notes = weigh(extract((tmp_path / "a", crops(), extractions(analyses))), analyses)
    assert [one.name for one in evidence] == ["last"]
    assert notes[0] == "analysis first failed: RuntimeError: no such luck"
    assert [note.split()[1] for note in notes] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize(
    ("name", "function", "message"),
    [
        ("a", lambda path: path, "analyses.a.extract: .* wanted a function of a module"),
        ("../a", length, "found the name '../a'"),
        ("detector", length, "found the name 'detector'"),
    ],
)
def test_what_workers_cannot_use_is_refused_before_work_starts(name, function, message):
    with pytest.raises(UserError, match=message):
        extractions({name: Analysis("file", function, says, "")})


def test_an_unknown_unit_is_refused():
    with pytest.raises(UserError, match="analysis unit: found 'video'"):
        Analysis("video", length, says, "")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("speaks_for", "nobody"),
        ("strength", 1.5),
        ("strength", float("nan")),
        ("value", [1]),
        ("picture", np.zeros((3, 3), np.uint8)),
        ("picture", np.zeros((3, 3, 3))),
    ],
)
def test_evidence_names_the_field_that_does_not_fit(field, value):
    fields = {"name": "a", "value": 1.0, "speaks_for": "real", "strength": 0.1, "words": "", field: value}
    with pytest.raises(ValueError, match=f"evidence.{field}"):
        Evidence(**fields)


def test_a_row_is_plain():
    assert Evidence("a", np.int64(3), "real", 0, "").to_row()["value"] == 3
    one = Evidence("a", np.float32(1 / 3), "fake", np.float64(0.5), "words", np.zeros((2, 2, 3), np.uint8))
    row = json.loads(json.dumps(one.to_row()))
    assert row == {"name": "a", "value": 0.333333, "speaks_for": "fake", "strength": 0.5, "words": "words"}


@pytest.mark.parametrize(
    ("score", "threshold", "strength"), [(0.4, 0.4, 0.0), (0.7, 0.4, 0.5), (1.0, 0.4, 1.0), (0.1, 0.4, 0.75), (0, 0, 0)]
)
def test_the_detectors_strength_grows_from_the_threshold(score, threshold, strength):
    found = of_detector(score, "fake" if score >= threshold else "real", Protocol(threshold=threshold), "because")
    assert found.strength == pytest.approx(strength)
    assert (found.name, found.value, found.words) == ("detector", score, "because")
    assert found.speaks_for == ("fake" if score >= threshold else "real")
