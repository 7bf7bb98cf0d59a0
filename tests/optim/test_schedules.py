"""Learning rates over the steps of a run."""

import math

import pytest

from fdetect_jax.optim.schedules import constant_then_linear, cosine, staircase


def test_constant_then_linear():
    """The paper's: the last 25 of 100 epochs decay linearly to zero."""
    rate = constant_then_linear(0.4, 100, 0.75)
    assert [float(rate(i)) for i in (0, 30, 75)] == pytest.approx([0.4] * 3)
    assert [float(rate(i)) for i in (80, 90, 99)] == pytest.approx([0.4 * 0.8, 0.4 * 0.4, 0.4 * 0.04], rel=1e-5)
    assert [float(rate(i)) for i in (100, 150)] == pytest.approx([0.0, 0.0], abs=1e-8)


def test_constant_throughout_and_linear_throughout():
    assert float(constant_then_linear(0.4, 100, 1.0)(99)) == pytest.approx(0.4)
    assert float(constant_then_linear(0.4, 100, 0.0)(25)) == pytest.approx(0.3)


def test_cosine():
    rate = cosine(0.4, 100)
    found = [float(rate(i)) for i in (0, 25, 50, 100, 120)]
    assert found == pytest.approx([0.4, 0.2 * (1 + math.sqrt(0.5)), 0.2, 0.0, 0.0], abs=1e-6)


def test_warmup_rises_to_the_rate_and_leaves_the_rest():
    plain, warm = (constant_then_linear(0.4, 100, 0.5, warmup) for warmup in (0.0, 0.1))
    assert [float(warm(step)) for step in (0, 5, 10, 49)] == pytest.approx([0.0, 0.2, 0.4, 0.4])
    assert [float(warm(step)) for step in (50, 75, 99)] == pytest.approx([float(plain(s)) for s in (50, 75, 99)])


def test_staircase():
    """MesoNet's: 1e-3, divided by ten every 1000 steps down to 1e-6."""
    rate = staircase(constant_then_linear(1e-3, 9000, 1.0), 1000, 0.1, 3)
    found = [float(rate(step)) for step in (0, 999, 1000, 2500, 3000, 8000)]
    assert found == pytest.approx([1e-3, 1e-3, 1e-4, 1e-5, 1e-6, 1e-6])
    once = staircase(constant_then_linear(1e-3, 9000, 1.0), 1000, 0.1, 1)
    assert [float(once(step)) for step in (999, 1000, 8000)] == pytest.approx([1e-3, 1e-4, 1e-4])
    plain = constant_then_linear(0.4, 100, 0.5)
    assert staircase(plain, 0, 0.1, 3) is plain


def test_staircase_by_another_factor():
    """FWA's: 5 % less every 1000 steps."""
    rate = staircase(constant_then_linear(1e-3, 9000, 1.0), 1000, 0.95, 1000)
    found = [float(rate(step)) for step in (999, 1000, 7639)]
    assert found == pytest.approx([1e-3, 0.95e-3, 1e-3 * 0.95**7])
