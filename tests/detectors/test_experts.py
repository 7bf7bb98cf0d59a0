"""Several networks as one: the margin is the mean of theirs, in training as in files that were joined."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax import weights
from fdetect_jax.cli import main
from fdetect_jax.convert.experts import join
from fdetect_jax.detectors import experts, make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.loading import load
from fdetect_jax.nn.once import jit_once
from fdetect_jax.types import margin

TINY = {"stages": ((1, 3, 1, 1, 8), (1, 3, 2, 2, 8)), "stem": 8, "head": 16, "num_classes": 6}
IMAGES = np.random.default_rng(0).random((3, 32, 32, 3), np.float32)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """Two files of one network, with statistics of their own."""
    folder, paths = tmp_path_factory.mktemp("trained"), []
    module = make_detector("efficientnet_lite0", TINY)
    for number in range(2):
        variables = jit_once(module.init)(jax.random.key(number), IMAGES)
        stats = jax.tree.map(lambda x, by=0.1 * (1 + number): x + by, variables["batch_stats"])
        paths.append(folder / f"{number}.safetensors")
        notes = {"recipe": '{"size": 32}', "size": "32", "classes": json.dumps(["real", "fake"]), "source": str(number)}
        config = {"name": "efficientnet_lite0", "overrides": TINY}
        weights.save(paths[-1], "detector", config, {**variables, "batch_stats": stats}, np.float16, **notes)
    return paths


def test_the_margin_is_the_mean_and_the_kinds_are_shared_as_the_logits_say():
    logits = jax.random.normal(jax.random.key(0), (2, 4, 6)) * 3
    found = experts.averaged(logits)
    np.testing.assert_allclose(margin(found), (margin(logits[0]) + margin(logits[1])) / 2, rtol=1e-5)
    fakes = jax.nn.softmax(logits[..., 1:].mean(0))
    np.testing.assert_allclose(jax.nn.softmax(found[:, 1:]), fakes, rtol=1e-5)
    two = logits[..., :2]
    np.testing.assert_allclose(margin(experts.averaged(two)), (margin(two[0]) + margin(two[1])) / 2, rtol=1e-5)


def test_joined_files_average_their_margins(trained, tmp_path):
    output = tmp_path / "both.safetensors"
    assert main(["join", *map(str, trained), "--output", str(output), "--description", "two"]) == 0
    both, alone = load(output), [load(path) for path in trained]
    found = both(IMAGES)
    wanted = [one(IMAGES) for one in alone]
    np.testing.assert_allclose(
        margin(found.logits), np.mean([margin(one.logits) for one in wanted], axis=0), rtol=1e-3, atol=1e-4
    )
    embedding = np.concatenate([one.heads["embedding"] for one in wanted], axis=-1)
    np.testing.assert_allclose(found.heads["embedding"], embedding, rtol=1e-3, atol=1e-4)
    described = weights.describe(output)[-1]
    assert (described["size"], described["description"], json.loads(described["source"])) == ("32", "two", ["0", "1"])


def test_a_heat_map_is_of_all(trained, tmp_path):
    join(trained, tmp_path / "both.safetensors")
    both = load(tmp_path / "both.safetensors")
    heat = np.asarray(grad_cam(both.run, both.variables, jnp.asarray(IMAGES)))
    assert heat.shape == (3, 8, 8)
    assert np.isfinite(heat).all()
    assert heat.max() == 1


def test_it_is_trained_like_any_detector():
    module = make_detector("experts", {"trunk": "lite0", "trunk_overrides": TINY, "count": 3})
    variables = jit_once(module.init)(jax.random.key(0), IMAGES)
    assert {name for name in variables["params"] if name.startswith("expert")} == {"expert0", "expert1", "expert2"}

    def loss(params):
        rest = {"batch_stats": variables["batch_stats"]}
        rngs = {"dropout": jax.random.key(1)}
        outputs, _ = module.apply({"params": params, **rest}, IMAGES, train=True, rngs=rngs, mutable=["batch_stats"])
        return margin(outputs.logits).sum()

    gradient = jax.jit(jax.grad(loss))(variables["params"])
    assert all(np.abs(np.asarray(gradient[f"fc{number}"]["kernel"])).max() > 0 for number in range(3))


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        ({"trunk": "vgg"}, "detector.trunk: found 'vgg'"),
        ({"count": 0}, "detector.count: found 0"),
        ({"count": 17}, "detector.count: found 17"),
        ({"trunk_overrides": {"width": -1}}, "detector.width: found -1"),
        ({"nothing": 1}, "detector.nothing"),
    ],
)
def test_wrong_fields_are_named(overrides, message):
    with pytest.raises(UserError, match=message):
        make_detector("experts", overrides)


def test_what_cannot_be_joined_is_named(trained, tmp_path):
    output = tmp_path / "x.safetensors"
    with pytest.raises(UserError, match="join: found 1 weights, wanted at least two"):
        join(trained[:1], output)
    other = tmp_path / "other.safetensors"
    weights.annotate(trained[0], other, size="64")
    with pytest.raises(UserError, match=r"other\.safetensors: found size '64', wanted '32'"):
        join([trained[0], other], output)
    join(trained, output)
    with pytest.raises(UserError, match="found a detector 'experts', wanted an EfficientNet"):
        join([output, output], tmp_path / "y.safetensors")
