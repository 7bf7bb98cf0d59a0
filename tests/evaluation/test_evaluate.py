"""Tests of videos and frames whose answer is known: pooled, per data set, source and method; and their page."""

import json
import re

import numpy as np
import pytest
from scipy.special import expit

from fdetect_jax.evaluation.evaluate import evaluate, groups
from fdetect_jax.evaluation.evaluation_report import page_of
from fdetect_jax.evaluation.metrics import METRICS, Metric
from fdetect_jax.evaluation.mistakes import Mistakes
from fdetect_jax.evaluation.results import summary
from fdetect_jax.evaluation.units import units_of
from fdetect_jax.inference.calibration import Calibration, calibrate
from fdetect_jax.inference.labelled import Excluded, LabelledFile, ScoredFile, files_of
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.types import FAKE, REAL
from tests.pages import HOSTILE, Page

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


def test_units_follow_protocol_and_calibration():
    files = [
        one("a", REAL, [-1.0, 3.0, -2.0], frames=[0, 0, 4], areas=[100, 40, 100]),
        one("b", FAKE, [2.0, 1.0], image=True, frames=[0, 0], areas=[100, 1]),
    ]
    calibration = Calibration(2.0, 0.5)
    found = units_of(files, calibration, Protocol())
    a = expit([0.0, -0.5])  # the face of 40 is too small to count
    np.testing.assert_allclose(calibration.scores(found["frame"].margin), [*a, expit(1.5)])
    np.testing.assert_allclose(calibration.scores(found["video"].margin), [a.mean(), expit(1.5)])
    assert found["frame"].label.tolist() == [0, 0, 1]
    assert found["frame"].group.tolist() == [0, 0, 1]
    assert found["frame"].method.tolist() == ["real", "real", "swap"]
    largest = units_of(files, NONE, Protocol(multi_face="largest", aggregation="max"))
    np.testing.assert_allclose(largest["video"].margin, [-1.0, 2.0])


def test_margins_of_files_keep_their_order_where_probabilities_saturate():
    files = [one(f"{n}", n % 2, [60.0 + n, 61.0 + n]) for n in range(8)]
    assert (np.diff(units_of(files, NONE, Protocol())["video"].margin) > 0.5).all()
    assert evaluate(files, [], NONE, Protocol()).content["tests"]["video"]["auc"] == 10 / 16


def test_one_class_alone_has_the_figures_that_one_class_has():
    found = evaluate([one("a", FAKE, [1.0]), one("b", FAKE, [-1.0])], [], NONE, Protocol()).content["tests"]["video"]
    names = ("accuracy", "auc", "auc_interval", "balanced_accuracy", "verdict")
    assert [found[name] for name in names] == [0.5, None, None, None, None]
    assert found["brier"] == pytest.approx(np.mean((expit([1.0, -1.0]) - 1) ** 2))
    assert "0 real and 2 fake" in found["undefined"]["auc"]


def sets():
    """Two sources; one method of the first is easy, the other inverted."""
    files = drawn(40, shift=4.0, method="easy", source="one") + drawn(30, seed=1, method="other", source="two")
    inverted = [one(f"i{n}", FAKE, [-9.0], method="inverted", source="one") for n in range(5)]
    return files + inverted


def test_each_method_stands_against_the_reals_of_its_source():
    files = sets()
    found = groups(files)
    assert [(one.name, one.title, one.shown) for one in found] == [
        ("", "All", True),
        ("/one", "one", True),
        ("/one/easy", "one: easy", True),
        ("/one/inverted", "one: inverted", True),
        ("/two", "two", True),
        ("/two/other", "two: other", False),
    ]
    members = {one.name: [files[n].file for n in one.files] for one in found}
    assert {file.source for file in members["/one/easy"]} == {"one"}
    assert {file.method for file in members["/one/inverted"]} == {"real", "inverted"}
    assert len(members["/one/inverted"]) == 20 + 5
    tests = evaluate(files, [], NONE, Protocol()).content["tests"]
    assert list(tests) == [f"{level}{one.name}" for level in ("video", "frame") for one in found]
    assert tests["video/one/easy"]["auc"] == 1.0
    assert tests["video/one/inverted"]["auc"] < 0.1
    assert tests["frame/two"]["auc"] == tests["frame/two/other"]["auc"]
    assert tests["video"]["n_real"] + tests["video"]["n_fake"] == len(files)
    assert tests["frame"]["n_groups"] == len(files)
    assert (tests["video"]["sources"], tests["video"]["methods"]) == (["one", "two"], ["easy", "inverted", "other"])


def test_data_sets_are_pooled_at_one_threshold_and_measured_alone():
    """Two sets, each parted by a threshold of its own, are not parted by one."""
    files = [one(f"a{n}", n % 2, [2.0 + n % 2], source="a") for n in range(8)]
    files += [one(f"b{n}", n % 2, [-2.0 - 1 + n % 2], source=f"b: {n % 4 // 2}") for n in range(8)]
    threshold = float(expit(2.5))
    found = evaluate(files, [], NONE, Protocol(threshold=threshold), sets=["a"] * 8 + ["b"] * 8)
    tests = found.content["tests"]
    assert {"video/a", "video/b", "video/b: 0", "video/b: 1"} <= set(tests)
    assert (tests["video/a"]["auc"], tests["video/b"]["auc"]) == (1.0, 1.0)
    assert tests["video"]["auc"] == 0.75
    accuracies = [tests[name]["accuracy"] for name in ("video/a", "video/b", "video")]
    assert accuracies == [1.0, 0.5, 0.75]
    assert tests["video/b"]["sources"] == ["b: 0", "b: 1"]
    assert [name for name in found.shown if name.startswith("video")] == [
        "video",
        "video/a",
        "video/b",
        "video/b: 0",
        "video/b: 1",
    ]


def test_content_counts_what_was_excluded_and_is_json():
    excluded = [Excluded(LabelledFile(f"x{n}", n % 2, "", "set"), "no face") for n in range(3)]
    excluded.append(Excluded(LabelledFile("y", 1, "m", "set"), "truncated"))
    calibration, protocol = Calibration(2.0, 0.1, 0.4, "v", 1, 1), Protocol(threshold=0.4)
    model = {"file": "d.safetensors", "description": "a detector", "recipe": {}}
    found = evaluate(drawn(), excluded, calibration, protocol, 5, title="set", model=model).content
    assert json.loads(json.dumps(found, allow_nan=False)) == found
    assert (found["schema"], found["job"], found["title"], found["description"]) == (
        2,
        "evaluation",
        "set",
        "a detector",
    )
    assert found["data"] == {
        "scored": 30,
        "excluded": 4,
        "reasons": {"no face": ["x0", "x1", "x2"], "truncated": ["y"]},
    }
    assert (found["seed"], found["calibration"]["temperature"], found["threshold"]) == (5, 2.0, 0.4)
    assert found["protocol"]["threshold"] == 0.4
    assert found["figures"] == {}
    assert (found["files"][1]["frames"], found["files"][1]["method"]) == (8, "swap")
    with pytest.raises(ValueError, match=r"any of 4 files \(no face; truncated\)"):
        evaluate([], excluded, NONE, Protocol())


def test_calibration_lowers_the_calibration_error_and_keeps_every_order():
    sharp = [one(f.file.name, f.file.label, 6 * f.margins + 4) for f in drawn(400, shift=0.7)]
    fitted = calibrate(sharp[:200], [f.file.label for f in sharp[:200]], Protocol(), "first half")
    before, after, strict = (
        evaluate(sharp[200:], [], c, Protocol(threshold=t)).content["tests"]
        for c, t in ((NONE, 0.5), (fitted, fitted.threshold), (fitted, 0.9))
    )
    assert after["frame"]["ece"] < 0.5 * before["frame"]["ece"]
    assert after["frame"]["auc"] == pytest.approx(before["frame"]["auc"], abs=1e-9)
    assert after["video"]["balanced_accuracy"] > strict["video"]["balanced_accuracy"]


def page(files, excluded=(), title="set"):
    found = evaluate(files, excluded, NONE, Protocol(), title=title)
    return page_of(found, NONE, Mistakes(NONE, Protocol()))


def test_page_is_whole_offline_and_shows_every_line():
    text = page(sets(), [Excluded(LabelledFile("bad.mp4", 1, "", "one"), "no face")])
    found = Page(text)
    found.check()
    sections = ["Videos", "Frames", "ROC: videos", "ROC: frames", "Reliability", "Scores"]
    assert found.headings == [*sections, "Most confident mistakes", "Excluded"]
    rows = re.findall(r'<th scope="row">([^<]+)</th><td>(?:<b[^>]*>(\w+)</b>)?</td><td>([^<]+)</td>', text)
    assert [title for title, *_ in rows[:5]] == ["All", "one", "one: easy", "one: inverted", "two"]
    assert rows[3][1] == "inverted"
    captions = re.findall(r"<figcaption>([^<]+)</figcaption>", text)
    assert [captions.count(title) for title, *_ in rows[:5]] == [2] * 5  # reliability and scores
    assert "bad.mp4" in text
    assert text == page(sets(), [Excluded(LabelledFile("bad.mp4", 1, "", "one"), "no face")])


def test_page_of_images_has_one_table():
    files = [one(f"{n}", n % 2, [n % 2 + 0.1 * n], image=True) for n in range(12)]
    assert Page(page(files)).headings == ["Files", "ROC: files", "Reliability", "Scores", "Most confident mistakes"]


def test_page_escapes_what_it_is_given():
    files = [one(f"{n}", n % 2, [1.0 * (n % 2)], source=HOSTILE, method=HOSTILE) for n in range(8)]
    files += [one(f"m{n}", FAKE, [1.0], source="b", method=HOSTILE + str(n)) for n in range(2)]
    text = page(files, [Excluded(LabelledFile(HOSTILE, 1, "", "b"), HOSTILE)], title=HOSTILE)
    Page(text).check()
    assert text.count("&lt;script&gt;") > 10


def test_a_metric_from_outside_stands_in_the_table_and_in_the_text(monkeypatch):
    gap = Metric(lambda view: 0.125, "Gap", "At {threshold}.", "share")
    monkeypatch.setitem(METRICS, "gap", gap)
    found = evaluate(sets(), [], NONE, Protocol())
    assert {one["gap"] for one in found.content["tests"].values()} == {0.125}
    text = page_of(found, NONE, Mistakes(NONE, Protocol()))
    assert text.count("<td>12.5 %</td>") == len(found.shown)
    assert "<b>Gap</b>: At 0.500." in text
    lines = list(summary(found.content, found.shown))
    assert "Gap" in lines[0]
    assert len(lines) == 1 + len(found.shown)
    assert all("12.5 %" in line for line in lines[1:])


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
