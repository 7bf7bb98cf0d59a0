"""FakeSpotter: counts, thresholds and gradients in closed form on a network whose layers are known."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.detectors import DETECTORS, Detector, make_detector
from fdetect_jax.detectors.fakespotter import coverage, layer_means
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.inference.spotter import Coverage
from fdetect_jax.nn.once import jit_once
from fdetect_jax.types import Outputs, margin
from tests.small import DETECTOR

# Of two images: a map (2, 2, 2, 2) and an embedding (2, 3).
MAP = np.array(
    [
        [[[0.0, 4.0], [0.0, 4.0]], [[2.0, 4.0], [2.0, 0.0]]],  # channel means 1 and 3
        [[[1.0, 0.0], [1.0, 0.0]], [[9.0, 0.0], [1.0, 4.0]]],  # 3 and 1
    ],
    np.float32,
)
EMBEDDING = np.array([[0.0, 0.0, 3.0], [5.0, 1.0, 3.0]], np.float32)
MEANS = np.array([[2.0, 1.0], [2.0, 3.0]])


def toy() -> Outputs:
    return Outputs(jnp.zeros((2, 2)), {"embedding": jnp.asarray(EMBEDDING), "features/one": jnp.asarray(MAP)})


def test_the_mean_of_each_layer():
    np.testing.assert_allclose(layer_means(toy()), MEANS)


@pytest.mark.parametrize(
    ("neuron", "wanted"),
    [
        # Of the map 8 values, above 2: three of the first image, two of the second; above 3.5 as many.
        ("unit", [[[3 / 8, 1 / 3], [3 / 8, 1 / 3]], [[2 / 8, 2 / 3], [2 / 8, 2 / 3]]]),
        ("channel", [[[1 / 2, 1 / 3], [0, 1 / 3]], [[1 / 2, 2 / 3], [0, 2 / 3]]]),
    ],
)
def test_the_share_of_neurons_above_the_thresholds(neuron, wanted):
    thresholds = jnp.asarray([[2.0, 2.0], [3.5, 2.0]])
    np.testing.assert_allclose(coverage(toy(), thresholds, neuron), wanted, rtol=1e-6)


def test_a_neuron_at_its_threshold_is_not_active():
    np.testing.assert_allclose(coverage(toy(), jnp.asarray([[4.0, 3.0]]), "unit")[:, 0], [[0, 0], [1 / 8, 1 / 3]])


def test_thresholds_of_a_stream_are_those_of_all_at_once():
    means = np.random.default_rng(0).standard_normal((23, 5))
    fold = np.arange(23) % 3
    stream = Coverage(fold)
    for part in np.split(means, [4, 5, 17]):
        stream.add(part)
    wanted = [means[fold != number].mean(axis=0) for number in range(3)] + [means.mean(axis=0)]
    np.testing.assert_allclose(stream.thresholds, wanted, rtol=1e-12)


def test_a_layers_threshold_is_the_mean_over_all_neurons_and_faces():
    stream = Coverage(np.array([0, 1]))
    stream.add(np.asarray(layer_means(toy())))
    np.testing.assert_allclose(stream.thresholds[-1], [MAP.mean(), EMBEDDING.mean()])
    np.testing.assert_allclose(stream.thresholds[-1][0], MAP.mean(axis=(1, 2)).mean())  # of channels as neurons


def test_the_gradient_is_that_of_the_mean_over_the_threshold():
    def first(x: jax.Array) -> jax.Array:
        outputs = Outputs(jnp.zeros((2, 2)), {"embedding": x, "features/one": jnp.asarray(MAP)})
        return coverage(outputs, jnp.asarray([[1.0, -4.0]]), "unit")[0, 0, 1]

    np.testing.assert_allclose(jax.grad(first)(jnp.asarray(EMBEDDING)), [[1 / 12] * 3, [0] * 3], rtol=1e-5)


class Toy(nn.Module):
    """Its only map is the image's red channel, its embedding the image's mean."""

    @nn.compact
    def __call__(self, images: jax.Array, train: bool = False) -> Outputs:
        embedding = images.mean(axis=(1, 2))
        return Outputs(nn.Dense(2)(embedding), {"embedding": embedding, "features/red": images[..., :1]})


def test_the_detector_classifies_standardised_counts(monkeypatch):
    monkeypatch.setitem(DETECTORS, "toy", Detector(lambda overrides, axis, dtype: Toy()))
    module = make_detector("fakespotter", {"trunk": "toy", "classifier": "svm"})
    images = np.random.default_rng(0).random((3, 4, 4, 3), np.float32)
    variables = dict(module.init(jax.random.key(0), images))
    assert {name: x.shape for name, x in variables["params"]["classifier"]["fc0"].items()} == {
        "kernel": (2, 2),
        "bias": (2,),
    }
    standard = {"mean": jnp.asarray([0.5, 0.4]), "scale": jnp.asarray([0.1, 0.2])}
    variables["fitted"] = {"standard": standard, "thresholds": jnp.asarray([0.6, 0.5])}
    kernel = jnp.asarray([[0.0, 2.0], [0.0, -3.0]])
    classifier = {"fc0": {"kernel": kernel, "bias": jnp.asarray([0.0, 0.25])}}
    variables["params"] = {**variables["params"], "classifier": classifier}
    found = module.apply(variables, images)
    counts = np.stack([(images[..., 0] > 0.6).mean((1, 2)), (images.mean((1, 2)) > 0.5).mean(-1)], -1)
    np.testing.assert_allclose(found.heads["embedding"], counts, rtol=1e-6)
    wanted = 2 * (counts[:, 0] - 0.5) / 0.1 - 3 * (counts[:, 1] - 0.4) / 0.2 + 0.25
    np.testing.assert_allclose(margin(found.logits), wanted, rtol=1e-4)


def test_five_dense_layers_over_every_layer_of_a_network():
    overrides = {"trunk": "efficientnet_small64", "trunk_overrides": DETECTOR, "hidden": (8, 7, 6, 5)}
    module = make_detector("fakespotter", overrides | {"neuron": "channel", "num_classes": 3}, dtype=jnp.bfloat16)
    images = np.random.default_rng(0).random((2, 32, 32, 3), np.float32)
    variables = dict(jit_once(module.init)(jax.random.key(0), images))
    layers = len(variables["fitted"]["thresholds"])
    assert layers == 5  # the stem, two stages, the head, the embedding
    shapes = [variables["params"]["classifier"][f"fc{number}"]["kernel"].shape for number in range(5)]
    assert shapes == [(layers, 8), (8, 7), (7, 6), (6, 5), (5, 3)]
    found = jit_once(module.apply)(variables, images)
    assert (found.logits.shape, found.logits.dtype) == ((2, 3), jnp.float32)
    assert found.heads["embedding"].shape == (2, layers)
    heat = np.asarray(grad_cam(module.apply, variables, jnp.asarray(images)))
    assert heat.shape == (2, 16, 16)
    assert np.isfinite(heat).all()
    gradient = jax.grad(lambda x: margin(module.apply(variables, x).logits).sum())(jnp.asarray(images))
    assert np.abs(np.asarray(gradient)).max() > 0
