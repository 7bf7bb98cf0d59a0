"""ArcFace's margin against its formula, at its edges, and its derivative against finite differences."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.nn.margin import CosineHead, margin_logits

M, S = 0.5, 64.0


def own(theta: np.ndarray, form: str = "true", margin: float = M) -> np.ndarray:
    """The own class's logit at angles ``theta``."""
    cosines = jnp.stack([jnp.cos(theta), jnp.zeros_like(theta)], axis=1)
    return np.asarray(margin_logits(cosines, jnp.zeros(len(theta), jnp.int32), margin, S, form)[:, 0])


@pytest.mark.parametrize("form", ["true", "straight_through"])
@pytest.mark.parametrize("margin", [0.0, 0.1, 0.5, 1.0])
def test_the_formula(form, margin):
    theta = np.linspace(0.01, np.pi - margin - 0.01, 200).astype(np.float32)
    np.testing.assert_allclose(own(theta, form, margin), S * np.cos(theta + margin), atol=2e-3)


def test_other_classes_are_left_alone():
    cosines = jnp.asarray(np.random.default_rng(0).uniform(-1, 1, (16, 5)), jnp.float32)
    labels = jnp.arange(16) % 5
    logits = np.asarray(margin_logits(cosines, labels, M, S))
    others = np.arange(5)[None] != np.asarray(labels)[:, None]
    np.testing.assert_allclose(logits[others], S * np.asarray(cosines)[others], rtol=1e-6)
    assert (logits[~others] < S * np.asarray(cosines)[~others]).all()


def test_it_falls_all_the_way():
    """Past θ + m = π too, where cos(θ + m) would rise again."""
    theta = np.linspace(0, np.pi, 2001).astype(np.float32)
    values = own(theta)
    inside = theta < np.pi - M - 1e-3
    assert (np.diff(values[inside]) <= 1e-4).all()
    assert (np.diff(values[theta > np.pi - M + 1e-3]) <= 1e-4).all()
    turned = S * np.cos(theta + M)
    assert values[-1] < turned[-1] - 1


@pytest.mark.parametrize("theta", [0.3, 1.0, 2.0, 2.5, 2.9])
def test_the_true_derivative(theta):
    def logit(c):
        return margin_logits(jnp.array([[c, 0.0]]), jnp.array([0]), M, 1.0)[0, 0]

    def closed(c):
        t = np.arccos(c)
        return np.cos(t + M) if t + M < np.pi else c - M * np.sin(M)

    c, h = np.cos(theta), 1e-5
    wanted = (closed(c + h) - closed(c - h)) / (2 * h)
    assert float(jax.grad(logit)(jnp.float32(c))) == pytest.approx(wanted, rel=2e-3)


def test_straight_through_has_the_slope_of_the_plain_cosine():
    def logit(c):
        return margin_logits(jnp.stack([c, 0 * c], axis=1), jnp.zeros(3, jnp.int32), M, S, "straight_through")[
            :, 0
        ].sum()

    np.testing.assert_allclose(jax.grad(logit)(jnp.array([-0.99, 0.0, 0.7])), S, rtol=1e-6)


@pytest.mark.parametrize("form", ["true", "straight_through"])
@pytest.mark.parametrize("c", [-1.0, 1.0])
def test_the_ends_are_finite(form, c):
    def logit(c):
        return margin_logits(jnp.array([[c, 0.0]]), jnp.array([0]), M, S, form)[0, 0]

    value, slope = jax.value_and_grad(logit)(jnp.float32(c))
    assert np.isfinite(value)
    assert np.isfinite(slope)


def test_the_head_gives_cosines_whatever_the_lengths():
    x = jax.random.normal(jax.random.key(0), (6, 32))
    variables = CosineHead().init(jax.random.key(1), x)
    kernel = np.asarray(variables["params"]["kernel"])
    cosines = np.asarray(CosineHead().apply(variables, x))
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(kernel, axis=0)
    np.testing.assert_allclose(cosines, np.asarray(x) @ kernel / lengths, atol=1e-5)
    np.testing.assert_allclose(CosineHead().apply(variables, 7 * x), cosines, atol=1e-5)
    assert np.isfinite(CosineHead().apply(variables, jnp.zeros((1, 32)))).all()


@pytest.mark.parametrize(
    ("change", "named"), [({"margin": -0.1}, "margin"), ({"scale": 0.0}, "scale"), ({"form": "x"}, "form")]
)
def test_refusals(change, named):
    options = {"margin": M, "scale": S} | change
    with pytest.raises(ValueError, match=named):
        margin_logits(jnp.zeros((1, 2)), jnp.zeros(1, jnp.int32), **options)
