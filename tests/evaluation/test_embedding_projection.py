"""The projection of embeddings, held to a closed form, and its chart."""

import numpy as np

from fdetect_jax.evaluation.embeddings import embedding_chart, project


def test_the_two_directions_of_most_variance():
    rng = np.random.default_rng(0)
    turn = np.linalg.qr(rng.standard_normal((5, 5)))[0]
    flat = rng.standard_normal((60, 5)) * [9, 3, 0.1, 0.1, 0.1]
    flat -= flat.mean(0)
    points, shares = project({"real": (flat @ turn)[:20], "fake": (flat @ turn)[20:] + 0})
    found = np.concatenate([points["real"], points["fake"]])
    axes = np.linalg.svd(flat, full_matrices=False)[2][:2]
    np.testing.assert_allclose(np.abs(found), np.abs(flat @ axes.T), atol=1e-9)
    np.testing.assert_allclose(shares, (flat @ axes.T).var(0) / flat.var(0).sum())


def test_every_kind_is_named_and_a_hundred_of_each_are_drawn():
    rng = np.random.default_rng(1)
    rows = {"real": rng.standard_normal((150, 4)), "gan_inverted": rng.standard_normal((30, 4))}
    chart = embedding_chart("t", rows, "x")
    assert [label for label in (entry.label for entry in chart.legend)] == ["Real", "GAN inverted"]
    assert chart.legend[0].colour == "real"
    assert chart.svg.count("<use") >= 130
