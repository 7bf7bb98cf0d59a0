"""Platt scaling finds what it should, and the threshold and the file keep it."""

import dataclasses
import json

import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit

from fdetect_jax import weights
from fdetect_jax.inference.calibration import (
    Calibration,
    best_threshold,
    fit,
    margins_of,
    notes_of,
    write_calibrated,
)


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
    assert scores[1] < found.threshold < scores[2]


def test_no_calibration_is_the_softmax():
    margins = np.array([-3.0, 0.0, 2.0])
    np.testing.assert_allclose(Calibration().scores(margins), 1 / (1 + np.exp(-margins)))
    np.testing.assert_allclose(margins_of(expit(margins).astype(np.float32)), margins, rtol=1e-5, atol=1e-6)
    assert np.isfinite(margins_of(np.float32([0.0, 1.0]))).all()


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
    ],
)
def test_refuses_what_cannot_be_fitted(margins, labels, message):
    with pytest.raises(ValueError, match=message):
        fit(np.array(margins), np.array(labels), "")


@pytest.mark.parametrize(("field", "value"), [("temperature", 0.0), ("bias", np.nan), ("threshold", 1.5)])
def test_names_the_field_that_does_not_fit(field, value):
    with pytest.raises(ValueError, match=f"calibration.{field}"):
        Calibration(**{field: value})


def test_notes_of_a_detector_that_has_learned_and_of_one_that_has_not():
    margins, labels = drawn(500)
    scores = expit(margins).astype(np.float32)
    found = Calibration.from_metadata(notes_of(scores, labels, "held-out"))
    assert found.temperature == pytest.approx(fit(margins, labels, "").temperature, rel=1e-3)
    assert notes_of(scores, 1 - labels, "held-out") == {}


def test_file_keeps_it_and_its_arrays(tmp_path):
    path, output = tmp_path / "a.safetensors", tmp_path / "b.safetensors"
    arrays = {"params": {"kernel": np.random.default_rng(0).normal(size=(3, 4)), "count": np.array(7)}}
    weights.save(path, "detector", {"name": "n"}, arrays, np.float16, size="64")
    calibration = Calibration(2.0, -0.5, 0.4, "held-out", 10, 12)
    write_calibrated(path, output, calibration)
    config, found, metadata = weights.read(output)
    assert Calibration.from_metadata(metadata) == calibration
    assert json.loads(metadata["calibration"]) == dataclasses.asdict(calibration)
    assert (config, metadata["size"], metadata["dtype"]) == ({"name": "n"}, "64", "float16")
    before = weights.read(path)[1]
    np.testing.assert_array_equal(found["params"]["kernel"], before["params"]["kernel"])
    end = [8 + int.from_bytes(file.read_bytes()[:8], "little") for file in (path, output)]
    assert path.read_bytes()[end[0] :] == output.read_bytes()[end[1] :]
    write_calibrated(output, output, Calibration())  # in place, and anew
    assert Calibration.from_metadata(weights.describe(output)[1]) == Calibration()


def test_metadata_without_or_with_another_calibration():
    assert Calibration.from_metadata({}) == Calibration()
    for text in ('{"slope": 1}', "[1, 2]", '"x"', "temperature 2"):
        with pytest.raises(ValueError, match="wanted the fields"):
            Calibration.from_metadata({"calibration": text})
