"""Means, standard errors and paired intervals, held to closed forms and to a simulation."""

import numpy as np
import pytest
from scipy.stats import ttest_rel

from fdetect_jax.experiments.statistics import difference, estimate


def test_mean_and_standard_error():
    found = estimate({3: 1.0, 0: 2.0, 7: 6.0})
    assert found.values == (2.0, 1.0, 6.0)  # by seed
    assert found.mean == pytest.approx(3.0)
    assert found.error == pytest.approx(np.sqrt(7.0) / np.sqrt(3))  # variance 7


def test_a_paired_interval_is_that_of_the_paired_t_test():
    rng = np.random.default_rng(0)
    a, b = rng.normal(0.3, 1, 5), rng.normal(0, 1, 5)
    found = difference(dict(enumerate(a)), dict(enumerate(b)))
    wanted = ttest_rel(a, b).confidence_interval(0.95)
    assert found.mean == pytest.approx(np.mean(a - b))
    assert (found.low, found.high) == pytest.approx((wanted.low, wanted.high))


def test_the_interval_covers_the_truth_as_often_as_it_says():
    rng, hits, draws = np.random.default_rng(1), 0, 2000
    for _ in range(draws):
        shared = rng.normal(0, 5, 3)  # what a seed does to both variants falls out
        a, b = shared + rng.normal(0.2, 1, 3), shared + rng.normal(0, 1, 3)
        found = difference(dict(enumerate(a)), dict(enumerate(b)))
        hits += found.low <= 0.2 <= found.high
    assert hits / draws == pytest.approx(0.95, abs=4 * np.sqrt(0.95 * 0.05 / draws))


def test_pairs_are_by_seed():
    found = difference({0: 1.0, 1: 2.0, 2: 9.0}, {2: 8.0, 1: 1.0})
    assert found.values == (1.0, 1.0)
    assert found.verdict == "higher"
    assert difference({0: 0.0, 1: 0.1}, {0: 1.0, 1: 1.1}).verdict == "lower"
    assert difference({0: 0.0, 1: 1.0}, {0: 1.0, 1: 0.0}).verdict == "no clear difference"
    with pytest.raises(ValueError, match=r"two seeds that both variants have, found \[1\]"):
        difference({0: 1.0, 1: 2.0}, {1: 1.0, 2: 2.0})
