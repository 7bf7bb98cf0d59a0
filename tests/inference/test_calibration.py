"""Platt scaling finds what it should, and the threshold and the file keep it."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, log_expit

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.inference.calibration import (
    Calibration,
    FileFaces,
    best_threshold,
    calibrate,
    fit,
    grouped,
    worst_source,
)
from fdetect_jax.inference.protocol import Protocol


def drawn(count=40_000, share=0.5, slope=0.5, intercept=0.7, seed=0):
    """Margins whose labels follow a known logistic function."""
    rng = np.random.default_rng(seed)
    margins = rng.normal(0, 4, count)
    labels = (rng.random(count) < expit(slope * margins + intercept)).astype(int)
    if share != 0.5:
        keep = (labels == 1) | (rng.random(count) < share)
        margins, labels = margins[keep], labels[keep]
    return margins, labels


def test_finds_the_function_that_drew_the_labels():
    margins, labels = drawn()
    found = fit(margins, labels, "drawn")
    odds = labels.mean() / (1 - labels.mean())
    assert 1 / found.temperature == pytest.approx(0.5, rel=0.03)
    assert found.bias == pytest.approx(0.7 - np.log(odds), abs=0.03)  # at even odds
    assert (found.n_real, found.n_fake, found.data) == (int((labels == 0).sum()), int((labels == 1).sum()), "drawn")


def test_the_mix_of_classes_does_not_move_it():
    whole, thinned = fit(*drawn(), "a"), fit(*drawn(share=0.2), "b")
    assert thinned.temperature == pytest.approx(whole.temperature, rel=0.05)
    assert thinned.bias == pytest.approx(whole.bias, abs=0.06)


def test_is_the_maximum_of_platts_likelihood():
    margins, labels = drawn(200)
    found = fit(margins, labels, "")
    n = np.where(labels == 1, (labels == 1).sum(), (labels == 0).sum())
    target = np.where(labels == 1, (n + 1) / (n + 2), 1 / (n + 2))

    def loss(p):
        z = p[0] * margins + p[1]
        return np.sum((np.logaddexp(0, z) - target * z) / n)

    best = minimize(loss, [1.0, 0.0], method="BFGS", options={"gtol": 1e-9})
    np.testing.assert_allclose([1 / found.temperature, found.bias], best.x, rtol=1e-4)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
def test_classes_that_part_get_no_certainty(scale):
    margins, labels = np.array([-2.0, -1.0, 1.0, 3.0]) * scale, np.array([0, 0, 1, 1])
    found = fit(margins, labels, "")
    scores = found.scores(margins)
    assert np.all(np.diff(scores) > 0)
    assert 0.5 < scores[2:].mean() < 0.9  # the targets are 3 / 4
    files, labels = grouped(margins, labels, np.arange(4))
    assert scores[1] < calibrate(files, labels, Protocol(), "").threshold < scores[2]


def test_no_calibration_is_the_softmax():
    margins = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(Calibration().scores(margins), 1 / (1 + np.exp(-margins)))
    np.testing.assert_array_equal(Calibration(2.0, 1.0).margins(margins), margins / 2 + 1)


def test_threshold_of_cases_worked_by_hand():
    assert best_threshold(np.array([0.1, 0.3, 0.7, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(0.5)
    # Cutting at 0.35 or at 0.7 misses one quarter each; the second gap is wider.
    assert best_threshold(np.array([0.2, 0.3, 0.4, 0.5, 0.9]), np.array([0, 0, 1, 0, 1])) == pytest.approx(0.35)
    assert best_threshold(np.array([0.2, 0.5, 0.4, 0.9]), np.array([0, 0, 1, 1])) == pytest.approx(0.7)
    # Four fakes weigh as much as one real.
    assert best_threshold(np.array([0.5, 0.1, 0.6, 0.7, 0.8]), np.array([0, 1, 1, 1, 1])) == pytest.approx(0.55)


def test_threshold_is_nowhere_worse_than_any_other():
    rng = np.random.default_rng(1)
    labels = rng.integers(0, 2, 300)
    scores = np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1).round(2)

    def balanced(threshold):
        called = scores >= threshold
        return called[labels == 1].mean() + (~called[labels == 0]).mean()

    best = balanced(best_threshold(scores, labels))
    assert best == pytest.approx(max(balanced(t) for t in np.linspace(0, 1.01, 1000)))


@pytest.mark.parametrize(
    ("margins", "labels", "message"),
    [
        ([1.0, -1.0], [0, 1], "slope"),
        ([1.0, 1.0], [0, 0], "2 real and 0 fake"),
        ([1.0, np.nan], [0, 1], "not finite"),
        ([1.0, 2.0, 3.0], [0, 1, 2], "of 3"),
        ([1.0], [0, 1], r"\(1,\), \(2,\)"),
        ([], [], "0 real and 0 fake"),
    ],
)
def test_refuses_what_cannot_be_fitted(margins, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(np.array(margins), np.array(labels), "")


@pytest.mark.parametrize(("field", "value"), [("temperature", 0.0), ("bias", np.nan), ("threshold", 1.5)])
def test_names_the_field_that_does_not_fit(field, value):
    with pytest.raises(ValueError, match=f"calibration.{field}"):
        Calibration(**{field: value})


def saturated(count=400, seed=0):
    """Margins of one face each, 22 ± 3 for reals and 27 ± 3 for fakes: float32 scores are 1 for nearly all of them."""
    rng = np.random.default_rng(seed)
    labels = np.arange(count) % 2
    return rng.normal(22 + 5 * labels, 3), labels


@pytest.mark.parametrize("shift", [0.0, 700.0])
def test_margins_that_saturate_keep_their_order_and_their_threshold(shift):
    margins, labels = saturated()
    margins = margins + shift
    files, of_files = grouped(margins, labels, np.arange(len(margins)))
    found = calibrate(files, of_files, Protocol(), "saturated")
    scores = [
        Protocol().file_margin(Protocol().frame_margins(one.frames, one.areas, found.margins(one.margins))[1])
        for one in files
    ]
    assert auc(scores, of_files) == auc(margins, labels) > 0.85
    best = max(balanced(margins >= cut, labels) for cut in margins)
    protocol = Protocol(threshold=found.threshold)
    assert balanced(np.array([protocol.is_fake(one) for one in scores]), of_files) == pytest.approx(best)


def auc(values, labels):
    values, labels = np.asarray(values), np.asarray(labels)
    real, fake = values[labels == 0], values[labels == 1]
    return np.mean(real[:, None] < fake) + np.mean(real[:, None] == fake) / 2


def balanced(called, labels):
    return (called[labels == 1].mean() + (~called[labels == 0]).mean()) / 2


def video(rng, label, faces=2, frames=8):
    """A file of several faces a frame, whose highest margin is far above that of a single face."""
    margins = rng.normal(2.0 * label, 1.5, frames * faces)
    return FileFaces(np.repeat(np.arange(frames), faces), np.ones(frames * faces), margins)


@pytest.mark.parametrize("rules", [{}, {"multi_face": "mean", "aggregation": "max"}])
def test_the_threshold_is_that_of_file_scores(rules):
    rng = np.random.default_rng(0)
    labels = np.arange(60) % 2
    files, protocol = [video(rng, label) for label in labels], Protocol(**rules)
    found = calibrate(files, labels, protocol, "videos")
    of_frames = [protocol.frame_margins(one.frames, one.areas, found.margins(one.margins))[1] for one in files]
    scores = expit([protocol.file_margin(one) for one in of_frames])
    assert found.threshold == best_threshold(scores, labels)
    frame_labels = np.repeat(labels, [len(one) for one in of_frames])
    assert found.threshold != pytest.approx(best_threshold(expit(np.concatenate(of_frames)), frame_labels), abs=0.02)
    assert (found.n_real, found.n_fake) == (240, 240)  # frames


def test_faces_of_one_group_and_label_are_a_file():
    files, labels = grouped([0.1, 0.2, 0.3, 0.4, 0.5], [0, 1, 0, 1, 0], ["a", "a", "b", "a", "a"])
    assert labels.tolist() == [0, 1, 0]
    assert [one.margins.tolist() for one in files] == [[0.1, 0.5], [0.2, 0.4], [0.3]]
    assert [one.frames.tolist() for one in files] == [[0, 1], [0, 1], [0]]
    with pytest.raises(UserError, match="no file"):
        calibrate([], [], Protocol(), "")


def test_scores_of_files_are_right_where_frames_repeat_each_other():
    """Eight frames that say the same with noise of their own: a file is surer than each of its frames."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 600)
    evidence = np.where(labels, 1.0, -1.0) + rng.normal(size=1200)
    files = [FileFaces(np.arange(8), np.ones(8), one + 3 * rng.normal(size=8)) for one in evidence]
    found, frames = (
        calibrate(files, labels, Protocol(), "d"),
        fit(np.concatenate([one.margins for one in files]), np.repeat(labels, 8), "d"),
    )

    def loss(calibration):
        margins = [Protocol().file_margin(calibration.margins(one.margins)) for one in files]
        return -log_expit(np.where(labels, margins, np.negative(margins))).mean()

    assert loss(found) < loss(frames) - 0.02
    assert found.temperature < frames.temperature
    near = [
        dataclasses.replace(found, temperature=found.temperature * step, bias=found.bias + move)
        for step, move in ((0.9, 0), (1.1, 0), (1, 0.1), (1, -0.1))
    ]
    assert all(loss(one) > loss(found) - 1e-5 for one in near)


def test_single_faces_are_calibrated_as_they_are():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], 50)
    margins = rng.normal(size=100) + 2 * labels
    files = [FileFaces(np.arange(1), np.ones(1), margins[n : n + 1], True) for n in range(100)]
    found, wanted = calibrate(files, labels, Protocol(), "d"), fit(margins, labels, "d")
    assert (found.temperature, found.bias) == (wanted.temperature, wanted.bias)


def test_file_keeps_it_and_its_arrays(tmp_path):
    path, output = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    arrays = {"params": {"kernel": np.random.default_rng(0).normal(size=(3, 4)), "count": np.array(7)}}
    weights.save(path, "detector", {"name": "n"}, arrays, np.float16, size="64")
    calibration = Calibration(2.0, -0.5, 0.4, "held-out", 10, 12)
    weights.annotate(path, output, **calibration.to_metadata())
    config, found, metadata = weights.read(output)
    assert Calibration.from_metadata(metadata) == calibration
    assert json.loads(metadata["calibration"]) == json.loads(calibration.to_json())
    assert (config, metadata["size"], metadata["dtype"]) == ({"name": "n"}, "64", "float16")
    before = weights.read(path)[1]
    np.testing.assert_array_equal(found["params"]["kernel"], before["params"]["kernel"])
    end = [8 + int.from_bytes(file.read_bytes()[:8], "little") for file in (path, output)]
    assert path.read_bytes()[end[0] :] == output.read_bytes()[end[1] :]
    weights.annotate(output, output, **Calibration().to_metadata())  # in place, and anew
    assert Calibration.from_metadata(weights.describe(output)[1]) == Calibration()


def test_metadata_without_or_with_another_calibration():
    assert Calibration.from_metadata({}) == Calibration()
    assert Calibration.from_metadata(Calibration(2.0, data="d").to_metadata()) == Calibration(2.0, data="d")
    for text in ('{"slope": 1}', "[1, 2]", '"x"', "temperature 2"):
        with pytest.raises(ValueError, match=r"wanted the fields|wanted no such field"):
            Calibration.from_metadata({"calibration": text})


def test_thresholds_of_the_worst_source():
    """Sources of 100, 40 and 5 + 4 real files; the worst decides, and small ones count together."""
    rng = np.random.default_rng(0)
    sources = np.repeat(["a", "b", "c", "d"], [100, 40, 5, 4])
    scores = rng.uniform(0, 0.5, len(sources))
    scores[sources == "b"] += 0.3
    found = worst_source(scores, sources, 0.05)
    alarms = {name: (scores[sources == name] >= found).mean() for name in "ab"}
    assert alarms["b"] == pytest.approx(0.05)
    assert alarms["a"] == 0
    assert found == pytest.approx(np.sort(scores[sources == "b"])[[-3, -2]].mean())
    # None of nine may reach it: above the highest.
    scores[sources == "d"] = 0.9
    assert 0.9 < worst_source(scores, sources, 0.05) == pytest.approx(0.9)
    for share in (-0.1, 1.0):
        with pytest.raises(ValueError, match="false_alarms: found"):
            worst_source(scores, sources, share)


def test_two_thresholds_are_fitted_and_kept():
    rng = np.random.default_rng(1)
    labels = np.arange(400) % 2
    files, of_files = grouped(rng.normal(2 * labels), labels, np.arange(400))
    found = calibrate(files, of_files, Protocol(), "two", ["one"] * 400, (0.05, 0.01))
    assert found.threshold == pytest.approx(0.5, abs=1e-3)
    plain = calibrate(files, of_files, Protocol(), "one")
    assert (found.temperature, found.bias < plain.bias) == (plain.temperature, True)
    scores = found.scores(np.array([file.margins[0] for file in files]))[of_files == 0]
    assert (scores >= found.suspicious).mean() == pytest.approx(0.05)
    assert (scores >= found.threshold).mean() == pytest.approx(0.01)
    assert Calibration.from_metadata(found.to_metadata()) == found
    assert "suspicious" not in Calibration().to_json()  # files of one threshold stay as they were
    with pytest.raises(ValueError, match=r"calibration\.suspicious: found 0\.9, wanted one in \[0, 0\.5\]"):
        Calibration(suspicious=0.9)
