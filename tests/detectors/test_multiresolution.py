"""The attention and multi-resolution detector: its maps, heads and gradients, with every size of trunk."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.efficientnet import VARIANTS
from fdetect_jax.detectors.multiresolution import MAPS

TRUNK = {
    "stages": ((1, 3, 2, 1, 8), (1, 3, 2, 2, 8), (1, 3, 2, 2, 16)),
    "stem": 8,
    "stem_stride": 1,
    "head": 24,
    "dropout": 0.0,
    "drop_connect": 0.0,
}
IMAGES = jax.random.uniform(jax.random.key(1), (3, 48, 48, 3))


def tiny(**fields):
    return make_detector("multiresolution", {"trunk": "small64", "trunk_overrides": TRUNK, "attention": 8} | fields)


@functools.cache
def started():
    """``tiny()`` and its variables; do not write into them."""
    return tiny(), jax.jit(tiny().init)(jax.random.key(0), IMAGES)


@pytest.mark.parametrize(("maps", "back"), list(MAPS.items()))
@pytest.mark.parametrize("head", ["arcface", "softmax"])
def test_maps_and_heads(maps, back, head):
    module = tiny(maps=maps, head=head)
    outputs, _ = jax.jit(module.init_with_output)(jax.random.key(0), IMAGES)
    width = VARIANTS["small64"].channels(24)
    assert outputs.logits.shape == (3, 2)
    assert outputs.heads["embedding"].shape == (3, width * (1 if back is None else 2))
    assert outputs.heads["attention"].shape == (3, 6, 6, 1)
    attention = outputs.heads["attention"]
    assert 0 < attention.min() <= attention.max() < 1
    assert ("cosines" in outputs.heads) == (head == "arcface")
    if back is not None:
        side = {1: 12, 2: 24}[back]
        assert outputs.heads["features/earlier"].shape == (3, side, side, width)
    if head == "arcface":
        np.testing.assert_allclose(outputs.logits, 16.0 * outputs.heads["cosines"])
        assert np.abs(outputs.heads["cosines"]).max() <= 1


def test_the_attention_weighs_the_features():
    """With the branch's last bias far down nothing of the maps is left, whatever the image."""
    module, variables = started()
    point = variables["params"]["attention"]["point"]
    closed = jax.tree.map(lambda x: x, variables)
    closed["params"]["attention"]["point"] = {"kernel": 0 * point["kernel"], "bias": point["bias"] - 200.0}
    apply = jax.jit(module.apply)
    before, after = (apply(v, IMAGES).heads["embedding"] for v in (variables, closed))
    assert np.ptp(before, axis=0).max() > 1e-3
    np.testing.assert_allclose(np.ptp(after, axis=0), 0, atol=1e-6)


def test_gradients_against_finite_differences():
    module, variables = started()

    @jax.jit
    def loss(params):
        outputs = module.apply(variables | {"params": params}, IMAGES)
        return jnp.sum(outputs.logits[:, 1]) + jnp.sum(outputs.heads["attention"])

    params, gradient = jax.device_get((variables["params"], jax.jit(jax.grad(loss))(variables["params"])))
    for part in ("attention", "conv_earlier", "fc", "conv_stem"):
        direction = jax.tree.map(np.zeros_like, gradient)
        direction[part] = jax.tree.map(lambda g: g / np.linalg.norm(g), gradient[part])

        def along(t, direction=direction):
            return loss(jax.tree.map(lambda p, d: p + np.float32(t) * d, params, direction))

        wanted = (along(1e-2) - along(-1e-2)) / 2e-2
        found = sum(jax.tree.leaves(jax.tree.map(lambda g, d: np.sum(g * d), gradient, direction)))
        assert float(found) == pytest.approx(float(wanted), rel=2e-2)


@pytest.mark.parametrize("trunk", sorted(VARIANTS))
def test_every_size_of_trunk(trunk):
    """Shapes alone; nothing is computed."""
    module = make_detector("multiresolution", {"trunk": trunk})
    images = jax.ShapeDtypeStruct((1, 64, 64, 3), jnp.float32)
    outputs, _ = jax.eval_shape(module.init_with_output, jax.random.key(0), images)
    assert outputs.logits.shape == (1, 2)
    assert outputs.heads["embedding"].shape == (1, 2 * VARIANTS[trunk].ends[1])


def test_training_changes_the_branch_statistics():
    module, variables = started()
    apply = jax.jit(functools.partial(module.apply, train=True, mutable=["batch_stats"]))
    _, changed = apply(variables, IMAGES, rngs={"dropout": jax.random.key(2)})
    before, after = (tree["batch_stats"]["attention"]["bn0"]["mean"] for tree in (variables, changed))
    assert np.abs(after - before).max() > 0


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"trunk": "b9"}, "detector.trunk"),
        ({"maps": "all"}, "detector.maps"),
        ({"head": "svm"}, "detector.head"),
        ({"scale": 0}, "detector.scale"),
        ({"attention": 0}, "detector.attention"),
        ({"trunk_overrides": {"depht": 1}}, "detector.depht"),
        ({"width": 2}, "detector.width"),
        ({"maps": "network2", "trunk_overrides": {"stages": ((1, 3, 1, 1, 8), (1, 3, 2, 2, 8))}}, "detector.maps"),
    ],
)
def test_refusals(fields, named):
    with pytest.raises(ValueError, match=named):
        tiny(**fields)
