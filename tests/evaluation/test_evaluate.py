"""Figures per level, source and method of files whose answer is known, and the page that shows them."""

import json
import re

import numpy as np
import pytest
from tests.evaluation.test_report import HOSTILE, Page

from fdetect_jax.evaluation import metrics
from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.evaluate import calibrate, figures, groups, levels, report
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.labelled import Excluded, LabelledFile, ScoredFile, files_of
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.evaluation_page import render
from fdetect_jax.types import FAKE, REAL

NONE = Calibration()


def one(name, label, margins, method="swap", source="set", frames=None, areas=None, image=False):
    method = "real" if label == REAL else method
    frames = np.arange(len(margins)) if frames is None else np.array(frames)
    areas = np.ones(len(margins)) if areas is None else np.array(areas)
    file = LabelledFile(name, label, method, source)
    return ScoredFile(file, image, frames, frames / 25, areas, np.array(margins, float))


def drawn(count=30, frames=8, seed=0, shift=1.5, **fields):
    """Videos whose margins wander about a mean of their own."""
    rng = np.random.default_rng(seed)
    return [
        one(f"{seed}-{n}", n % 2, rng.normal(shift * (2 * (n % 2) - 1), 1.5) + rng.normal(0, 1, frames), **fields)
        for n in range(count)
    ]


def logistic(x):
    return 1 / (1 + np.exp(-np.asarray(x)))


def test_levels_follow_protocol_and_calibration():
    judged = [
        one("a", REAL, [-1.0, 3.0, -2.0], frames=[0, 0, 4], areas=[100, 40, 100]),
        one("b", FAKE, [2.0, 1.0], image=True, frames=[0, 0], areas=[100, 1]),
    ]
    found = levels(judged, Calibration(2.0, 0.5), Protocol())
    a = logistic([0.0, -0.5])  # the face of 40 is too small to count
    np.testing.assert_allclose(found["frame"].scores, [*a, logistic(1.5)])
    np.testing.assert_allclose(found["video"].scores, [a.mean(), logistic(1.5)])
    assert found["frame"].labels.tolist() == [0, 0, 1]
    assert found["frame"].videos.tolist() == [0, 0, 1]
    largest = levels(judged, NONE, Protocol(multi_face="largest", aggregation="max"))
    np.testing.assert_allclose(largest["video"].scores, logistic([-1.0, 2.0]))


def test_figures_are_those_of_metrics():
    level = levels(drawn(240), NONE, Protocol())["frame"]
    found = figures(level, 0.4, seed=3)
    basic = metrics.classification(level.labels, level.scores, 0.4)
    assert {name: found[name] for name in basic} == basic
    assert found["auc_interval"] == list(auc_interval(level.labels, level.scores, level.videos, seed=3))
    assert found["tpr_at_fpr_1%"] == metrics.tpr_at(level.labels, level.scores, 0.01)
    assert found["ece"] == metrics.calibration_error(level.labels, level.scores)
    assert found["brier"] == metrics.brier(level.labels, level.scores)
    assert found["n_videos"] == 240
    assert found["tpr_at_fpr_0.1%"] is None
    assert found["undefined"] == {"tpr_at_fpr_0.1%": "a rate of 0.001 needs 1000 reals, found 960"}


def test_frames_of_a_video_make_no_narrower_interval():
    wide = figures(levels(drawn(60, frames=2), NONE, Protocol())["frame"], 0.5)["auc_interval"]
    many = figures(levels(drawn(60, frames=64), NONE, Protocol())["frame"], 0.5)["auc_interval"]
    assert np.ptp(many) > 0.6 * np.ptp(wide)


def test_balanced_accuracy_counts_classes_alike():
    judged = [one("r", REAL, [-1.0])] + [one(f"f{n}", FAKE, [1.0 if n else -1.0]) for n in range(4)]
    found = figures(levels(judged, NONE, Protocol())["video"], 0.5)
    assert (found["accuracy"], found["balanced_accuracy"]) == (0.8, (1 + 0.75) / 2)


def test_one_class_alone_has_the_figures_that_one_class_has():
    found = figures(levels([one("a", FAKE, [1.0]), one("b", FAKE, [-1.0])], NONE, Protocol())["video"], 0.5)
    assert (found["accuracy"], found["auc"], found["auc_interval"], found["balanced_accuracy"]) == (
        0.5,
        None,
        None,
        None,
    )
    assert found["brier"] == pytest.approx(np.mean((logistic([1.0, -1.0]) - 1) ** 2))
    assert "0 real and 2 fake" in found["undefined"]["auc"]


def sets():
    """Two sources; one method of the first is easy, the other inverted."""
    judged = drawn(40, shift=4.0, method="easy", source="one") + drawn(30, seed=1, method="other", source="two")
    inverted = [one(f"i{n}", FAKE, [-9.0], method="inverted", source="one") for n in range(5)]
    return judged + inverted


def test_each_method_stands_against_the_reals_of_its_source():
    judged = sets()
    members = groups(judged)
    assert list(members) == [("one", None), ("one", "easy"), ("one", "inverted"), ("two", None), ("two", "other")]
    files = {key: [judged[n].file for n in numbers] for key, numbers in members.items()}
    assert {file.source for file in files["one", "easy"]} == {"one"}
    assert {file.method for file in files["one", "inverted"]} == {"real", "inverted"}
    assert len(files["one", "inverted"]) == 20 + 5
    found = report(judged, [], NONE, Protocol())
    assert found["methods"]["one"]["easy"]["video"]["auc"] == 1.0
    assert found["methods"]["one"]["inverted"]["video"]["auc"] < 0.1
    assert found["sources"]["two"]["video"] == found["methods"]["two"]["other"]["video"]
    assert found["video"]["n_real"] + found["video"]["n_fake"] == len(judged) == len(found["files"])


def test_report_counts_what_was_excluded_and_is_json():
    excluded = [Excluded(LabelledFile(f"x{n}", n % 2, "", "set"), "no face") for n in range(3)]
    excluded.append(Excluded(LabelledFile("y", 1, "m", "set"), "truncated"))
    found = report(drawn(), excluded, Calibration(2.0, 0.1, 0.4, "v", 1, 1), Protocol(threshold=0.4), seed=5)
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert found["data"] == {
        "judged": 30,
        "excluded": 4,
        "reasons": {"no face": ["x0", "x1", "x2"], "truncated": ["y"]},
    }
    assert (found["seed"], found["calibration"]["temperature"], found["protocol"]["threshold"]) == (5, 2.0, 0.4)
    assert found["files"][1]["frames"] == 8
    with pytest.raises(ValueError, match=r"any of 4 files \(no face; truncated\)"):
        report([], excluded, NONE, Protocol())


def test_calibration_lowers_the_calibration_error_and_keeps_every_order():
    sharp = [one(j.file.name, j.file.label, 6 * j.margins + 4) for j in drawn(400, shift=0.7)]
    fitted = calibrate(sharp[:200], Protocol(), "first half")
    held_out = sharp[200:]
    before, after = (figures(levels(held_out, c, Protocol())["frame"], c.threshold) for c in (NONE, fitted))
    assert after["ece"] < 0.5 * before["ece"]
    assert after["auc"] == pytest.approx(before["auc"], abs=1e-9)
    assert (fitted.data, fitted.n_real, fitted.n_fake) == ("first half", 800, 800)
    video = levels(held_out, fitted, Protocol())["video"]
    assert figures(video, fitted.threshold)["balanced_accuracy"] > figures(video, 0.9)["balanced_accuracy"]


def page(judged, excluded=(), **fields):
    found = report(judged, excluded, NONE, Protocol())
    return render(found, judged, levels(judged, NONE, Protocol()), fields.get("title", "set"), "a detector")


def test_page_is_whole_offline_and_shows_every_line():
    text = page(sets(), [Excluded(LabelledFile("bad.mp4", 1, "", "one"), "no face")])
    found = Page(text)
    assert found.headings == [
        "Videos",
        "Frames",
        "ROC: videos",
        "ROC: frames",
        "Reliability",
        "Scores",
        "Excluded",
    ]
    assert not {"script", "link", "iframe"} & set(found.tags)
    assert not re.search(r'(?:src|href)="(?!#)', text)
    assert len(found.ids) == len(set(found.ids))
    rows = re.findall(r"<th scope=row>([^<]+)</th><td>(?:<b[^>]*>(\w+)</b>)?</td><td>([^<]+)</td>", text)
    assert [title for title, *_ in rows[:5]] == ["All", "one", "one: easy", "one: inverted", "two"]
    assert rows[3][1] == "inverted"
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", text)
    assert [captions.count(title) for title, *_ in rows[:5]] == [2] * 5  # reliability and scores
    assert "bad.mp4" in text
    assert text == page(sets(), [Excluded(LabelledFile("bad.mp4", 1, "", "one"), "no face")])


def test_page_of_images_has_one_table():
    judged = [one(f"{n}", n % 2, [n % 2 + 0.1 * n], image=True) for n in range(12)]
    assert Page(page(judged)).headings == ["Files", "ROC: files", "Reliability", "Scores"]


def test_page_escapes_what_it_is_given():
    judged = [one(f"{n}", n % 2, [1.0 * (n % 2)], source=HOSTILE, method=HOSTILE) for n in range(8)]
    judged += [one(f"m{n}", FAKE, [1.0], source="b", method=HOSTILE + str(n)) for n in range(2)]
    text = page(judged, [Excluded(LabelledFile(HOSTILE, 1, "", "b"), HOSTILE)], title=HOSTILE)
    assert "<script" not in text.lower()
    assert "script" not in Page(text).tags


def test_files_of_a_folder(tmp_path):
    names = ["real/a.jpg", "real/deep/b.mp4", "fake/c.png", "fake/swap/d.mp4", "fake/swap/e/f.mp4", "fake/.hidden"]
    for name in names:
        path = tmp_path / "set" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    found = files_of(tmp_path / "set")
    assert [(file.name, file.label, file.method) for file in found] == [
        ("real/a.jpg", 0, "real"),
        ("real/deep/b.mp4", 0, "real"),
        ("fake/c.png", 1, "fake"),
        ("fake/swap/d.mp4", 1, "swap"),
        ("fake/swap/e/f.mp4", 1, "swap"),
    ]
    assert {file.source for file in found} == {"set"}
    with pytest.raises(ValueError, match="no folder 'real'"):
        files_of(tmp_path)
    (tmp_path / "real").mkdir()
    with pytest.raises(ValueError, match=r"real: found no file"):
        files_of(tmp_path)
