"""Probes and nearest neighbours on another detector: held to scikit-learn, refused by name where a field is wrong."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsClassifier
from sklearn.preprocessing import StandardScaler

from fdetect_jax.detectors import DETECTORS, Detector, make_detector
from fdetect_jax.detectors.probe import votes
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.nn.once import jit_once
from fdetect_jax.types import Outputs, margin
from tests.small import DETECTOR

RNG = np.random.default_rng(0)
IMAGES = RNG.random((24, 32, 32, 3), np.float32)
LABELS = np.arange(24) % 2
TRUNK = {"trunk": "efficientnet_small64", "trunk_overrides": DETECTOR}


@pytest.fixture(scope="module")
def trunk():
    """Variables of a network, and its embeddings (24, 16)."""
    module = make_detector(TRUNK["trunk"], DETECTOR)
    variables = jit_once(module.init)(jax.random.key(0), IMAGES)
    return variables, np.asarray(jit_once(module.apply)(variables, IMAGES).heads["embedding"])


def under(trunk: dict, fitted: dict) -> dict:
    """The trunk's variables with those of a classifier."""
    return {name: {"trunk": arrays} | fitted.pop(name, {}) for name, arrays in trunk.items()} | fitted


def test_a_probe_decides_as_scikit_learns_logistic_regression(trunk):
    variables, embeddings = trunk
    scaler = StandardScaler().fit(embeddings)
    model = LogisticRegression(C=0.3).fit(scaler.transform(embeddings), LABELS)
    fitted = {
        "params": {"fc": {"kernel": model.coef_.T, "bias": model.intercept_}},
        "fitted": {"standard": {"mean": scaler.mean_, "scale": scaler.scale_}},
    }
    fitted = jax.tree.map(lambda x: np.asarray(x, np.float32), fitted)
    found = jit_once(make_detector("probe", TRUNK).apply)(under(variables, fitted), IMAGES)
    wanted = model.decision_function(scaler.transform(embeddings))
    assert np.ptp(wanted) > 0.5
    np.testing.assert_allclose(margin(found.logits), wanted, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(found.heads["embedding"], embeddings, rtol=1e-5, atol=1e-6)
    assert "features/head" in found.heads


@pytest.mark.parametrize(("width", "weights"), [(1.3, "kernel"), (1e6, "uniform")])
def test_neighbours_decide_as_scikit_learns(trunk, width, weights):
    variables, embeddings = trunk
    scaler = StandardScaler().fit(embeddings)
    bank, asked = scaler.transform(embeddings)[:18], scaler.transform(embeddings)
    kernel = weights if weights == "uniform" else lambda d: np.exp(-(d**2) / (2 * width**2))
    model = KNeighborsClassifier(5, weights=kernel).fit(bank, LABELS[:18])
    fitted = {
        "fitted": {"standard": {"mean": scaler.mean_, "scale": scaler.scale_}, "width": width},
        "bank": {"embedding": bank, "label": LABELS[:18]},
    }
    fitted = jax.tree.map(lambda x: np.asarray(x, np.float32), fitted)
    module = make_detector("neighbours", TRUNK | {"k": 5, "faces": 18})
    found = jit_once(module.apply)(under(variables, fitted), IMAGES)
    share = model.predict_proba(asked)
    assert 0 < model.predict(asked).mean() < 1
    np.testing.assert_array_equal(np.asarray(margin(found.logits)) > 0, model.predict(asked) == 1)
    np.testing.assert_allclose(found.logits, np.log(5 * share + 1), rtol=2e-3, atol=2e-3)


def test_the_vote_of_a_face_far_from_all_is_that_of_its_nearest():
    bank = jnp.asarray([[0.0, 0.0], [3.0, 0.0], [0.0, 4.0]])
    share = votes(jnp.asarray([[1e4, 0.0]]), bank, jnp.eye(3), jnp.float32(1.0), 2)
    np.testing.assert_allclose(share, [[0, 1, 0]], atol=1e-6)


@pytest.mark.parametrize("name", ["probe", "neighbours"])
def test_more_classes_bytes_and_a_heat_map(name):
    module = make_detector(name, TRUNK | {"num_classes": 6}, dtype=jnp.bfloat16)
    pixels = (IMAGES[:2] * 255).round().astype(np.uint8)
    variables = jit_once(module.init)(jax.random.key(0), pixels)
    if name == "neighbours":
        bank = variables["bank"]
        bank = {"embedding": jax.random.normal(jax.random.key(1), bank["embedding"].shape), "label": jnp.arange(50) % 6}
        variables = {**variables, "bank": jax.tree.map(lambda x: x.astype(jnp.float32), bank)}
    run = jit_once(module.apply)
    found = run(variables, pixels)
    assert (found.logits.shape, found.logits.dtype) == ((2, 6), jnp.float32)
    np.testing.assert_allclose(
        found.logits, run(variables, pixels.astype(np.float32) / 255).logits, rtol=0.05, atol=0.02
    )
    heat = np.asarray(grad_cam(module.apply, variables, jnp.asarray(IMAGES[:2])))
    assert heat.shape == (2, 16, 16)
    assert heat.max() > 0


class Blind(nn.Module):
    """No embedding."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        return Outputs(nn.Dense(2)(images.mean(axis=(1, 2))), {"mask": images[..., :1]})


@pytest.mark.parametrize("name", ["probe", "neighbours", "fakespotter"])
def test_a_trunk_needs_an_embedding(name, monkeypatch):
    monkeypatch.setitem(DETECTORS, "blind", Detector(lambda overrides, axis, dtype: Blind()))
    module = make_detector(name, {"trunk": "blind"})
    with pytest.raises(UserError, match=r"detector\.trunk: found the heads \['mask'\], wanted one called embedding"):
        jax.eval_shape(module.init, jax.random.key(0), IMAGES)


@pytest.mark.parametrize(
    ("name", "overrides", "message"),
    [
        ("probe", {"trunk": "vgg"}, r"detector\.trunk: found 'vgg', wanted one of .*'meso4'"),
        ("probe", {"trunk": "probe"}, r"detector\.trunk: found 'probe', wanted one of"),
        ("fakespotter", {"trunk": "neighbours"}, r"detector\.trunk: found 'neighbours', wanted one of"),
        ("probe", {"trunk_overrides": {"width": -1}}, r"detector\.trunk_overrides\.width: found -1"),
        ("probe", {"trunk_overrides": 3}, r"detector\.trunk_overrides: found 3"),
        ("probe", {"num_classes": 1}, r"detector\.num_classes: found 1"),
        ("probe", {"k": 1}, r"detector\.k: found 1"),
        ("neighbours", {"k": 0}, r"detector\.k: found 0"),
        ("neighbours", {"k": 5, "faces": 4}, r"detector\.faces: found 4, wanted a whole number of at least k, 5"),
        ("fakespotter", {"neuron": "pixel"}, r"detector\.neuron: found 'pixel', wanted one of \['channel', 'unit'\]"),
        ("fakespotter", {"classifier": "tree"}, r"detector\.classifier: found 'tree'"),
        ("fakespotter", {"hidden": (8, 8, 0, 8)}, r"detector\.hidden: found 0"),
        ("fakespotter", {"hidden": (8, 8)}, r"detector\.hidden: found \(8, 8\)"),
    ],
)
def test_wrong_fields_are_named(name, overrides, message):
    with pytest.raises(UserError, match=message):
        make_detector(name, overrides)


def test_a_detector_of_clips_is_no_trunk(monkeypatch):
    monkeypatch.setitem(DETECTORS, "clips", Detector(lambda overrides, axis, dtype: Blind(), "clip"))
    with pytest.raises(UserError, match=r"detector\.trunk: found 'clips'"):
        make_detector("probe", {"trunk": "clips"})
