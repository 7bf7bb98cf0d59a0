"""Intervals of an AUC: against their definition written out, against known coverage, and by group."""

import time

import numpy as np
import pytest
from scipy.stats import norm
from sklearn.metrics import roc_auc_score

from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.view import Undefined


def normal(rng, reals, fakes, shift=1.0):
    labels = np.repeat([0, 1], [reals, fakes])
    return labels, rng.normal(shift * labels)


@pytest.mark.parametrize("decimals", [8, 1])  # 1: many ties
def test_is_the_bootstrap_written_out(decimals):
    rng = np.random.default_rng(0)
    labels, scores = normal(rng, 12, 15)
    scores, groups = scores.round(decimals), np.concatenate([np.arange(12) // 3, np.arange(15) // 2])
    groups[labels == 1] += 4  # a group is a video of one class
    resamples, draws = np.random.default_rng(7), []
    times = np.concatenate([resamples.multinomial(n, np.full(n, 1 / n), 300) for n in (4, 8)], axis=1)
    for number in range(300):
        weight = times[number][groups]
        draws.append(roc_auc_score(labels, scores, sample_weight=weight))
    wanted = np.quantile(draws, [0.05, 0.95])
    found = auc_interval(labels, scores, groups, confidence=0.9, resamples=300, seed=7)
    np.testing.assert_allclose(found, wanted, rtol=1e-12)


def test_a_face_and_its_fake_are_drawn_together():
    rng, faces = np.random.default_rng(9), 30
    labels, groups = np.repeat([0, 1], faces), np.tile(np.arange(faces), 2)
    scores = np.concatenate([rng.normal(size=faces), rng.normal(1.0, 1.0, faces)])
    times = np.random.default_rng(3).multinomial(faces, np.full(faces, 1 / faces), 300)
    draws = [roc_auc_score(labels, scores, sample_weight=one[groups]) for one in times]
    found = auc_interval(labels, scores, groups, resamples=300, seed=3)
    np.testing.assert_allclose(found, np.quantile(draws, [0.025, 0.975]), rtol=1e-12)


def test_what_a_face_and_its_fake_share_does_not_widen_the_interval():
    rng, faces, hits, widths = np.random.default_rng(10), 200, 0, []
    shared = rng.normal(size=(80, faces))
    labels, groups = np.repeat([0, 1], faces), np.tile(np.arange(faces), 2)
    truth = norm.cdf(0.5 / np.sqrt(2 * (1 + 0.2**2)))
    for number, of_face in enumerate(shared):
        scores = np.tile(of_face, 2) + 0.5 * labels + rng.normal(0, 0.2, 2 * faces)
        low, high = auc_interval(labels, scores, groups, resamples=300, seed=number)
        alone = auc_interval(labels, scores, resamples=300, seed=number)
        hits += low <= truth <= high
        widths.append((high - low) / (alone[1] - alone[0]))
    assert hits / 80 >= 0.88
    assert np.mean(widths) < 0.75  # rows taken for independent: too wide


def test_covers_the_truth_as_often_as_it_says():
    rng, shift, hits = np.random.default_rng(1), 1.0, 0
    truth = norm.cdf(shift / np.sqrt(2))
    for number in range(300):
        low, high = auc_interval(*normal(rng, 60, 60, shift), resamples=500, seed=number)
        hits += low <= truth <= high
    assert 0.91 <= hits / 300 <= 0.98  # 0.95, three standard errors of 300 trials


def test_covers_the_truth_of_frames_that_share_a_video():
    rng, videos, frames, hits, alone = np.random.default_rng(8), 40, 4, 0, 0
    truth = norm.cdf(1.0 / np.sqrt(2 * (1 + 0.5**2)))  # deviation 1 between videos, 0.5 within
    groups = np.repeat(np.arange(2 * videos), frames)
    for number in range(120):
        labels, means = normal(rng, videos, videos)
        scores = np.repeat(means, frames) + rng.normal(0, 0.5, len(groups))
        low, high = auc_interval(np.repeat(labels, frames), scores, groups, resamples=400, seed=number)
        hits += low <= truth <= high
        low, high = auc_interval(np.repeat(labels, frames), scores, resamples=400, seed=number)
        alone += low <= truth <= high
    assert 0.89 <= hits / 120 <= 0.99
    assert alone / 120 < 0.8  # frames taken for independent


def test_is_as_wide_as_hanley_and_mcneil_say():
    labels, scores = normal(np.random.default_rng(2), 400, 300)
    low, high = auc_interval(labels, scores)
    auc = roc_auc_score(labels, scores)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)
    variance = (auc * (1 - auc) + 299 * (q1 - auc**2) + 399 * (q2 - auc**2)) / (400 * 300)
    assert (high - low) / 2 == pytest.approx(1.96 * np.sqrt(variance), rel=0.1)


def test_copies_of_a_frame_are_no_evidence():
    labels, scores = normal(np.random.default_rng(3), 40, 40)
    alone = auc_interval(labels, scores)
    copies = [np.repeat(x, 16) for x in (labels, scores, np.arange(80))]
    np.testing.assert_allclose(auc_interval(*copies), alone, atol=1e-12)
    low, high = auc_interval(*copies[:2])
    assert high - low < 0.4 * (alone[1] - alone[0])


def test_same_seed_same_interval():
    labels, scores = normal(np.random.default_rng(4), 30, 30)
    assert auc_interval(labels, scores, seed=1) == auc_interval(labels, scores, seed=1)
    assert auc_interval(labels, scores, seed=1) != auc_interval(labels, scores, seed=2)


def test_memory_is_bounded_without_changing_the_draws(monkeypatch):
    labels, scores = normal(np.random.default_rng(5), 20, 30)
    one = auc_interval(labels, scores, resamples=400)
    monkeypatch.setattr("fdetect_jax.evaluation.bootstrap._CELLS", 50 * 64)
    assert np.abs(np.subtract(one, auc_interval(labels, scores, resamples=400))).max() < 0.05


def test_twenty_thousand_frames_take_seconds():
    labels, scores = normal(np.random.default_rng(6), 10_000, 10_000)
    start = time.monotonic()
    auc_interval(labels, scores, np.arange(20_000) // 32)
    assert time.monotonic() - start < 20


def test_completely_parted_classes_and_too_few_groups():
    labels, scores = np.repeat([0, 1], 5), np.arange(10.0)
    assert auc_interval(labels, scores) == (1.0, 1.0)
    with pytest.raises(Undefined, match="two real groups"):
        auc_interval(labels, scores, np.where(labels == 0, 0, np.arange(10)))
