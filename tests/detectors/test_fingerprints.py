"""GAN fingerprints answer as the authors' networks do, and train with their losses."""

import json
import pickle
import re
import sys
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.fingerprints import attribution_rows, convert, export, fingerprints_rows
from fdetect_jax.convert.layout import from_state
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.fingerprints import correlated, reversed_gradient
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.losses.terms import class_cross_entropy, find_term
from fdetect_jax.types import Batch, Outputs
from tests.golden.random_weights import numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "fingerprints.json").read_text())
SMALL = {"size": GOLDEN["size"], "fmap_base": 64, "fmap_max": 24, "num_classes": GOLDEN["classes"]}
IMAGES = random_images(7, GOLDEN["batch"], GOLDEN["size"])
FACES = random_images(8, 4, 16)
TINY = {"size": 16, "fmap_base": 16, "num_classes": 3}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def made_up(name, module, rows, shapes):
    """Variables from the arrays that the authors' networks were given."""
    assert {row.key for row in rows} == shapes.keys()
    state = {key: random_array(key.replace("/", "."), tuple(shape), gain=None) for key, shape in shapes.items()}
    return from_state(name, state, rows)


def assert_like(found, numbers):
    np.testing.assert_allclose(numbers_of(np.asarray(found, np.float64)), numbers, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("case", GOLDEN["cases"])
def test_attribution_is_the_authors(case):
    """Made-up weights, every convolution's output and the logits, in each of the modes, by the authors' code."""
    wanted = GOLDEN["cases"][case]
    mode, switch = re.fullmatch(r"([a-z]+)(\d*)", case).groups()
    module = make_detector("attribution", SMALL | {"mode": mode, "switch": int(switch or 4)})
    variables = made_up("attribution", module, list(attribution_rows(module.config)), wanted["shapes"])
    outputs = jax.jit(module.apply)(variables, IMAGES)
    maps = {name: x for name, x in outputs.heads.items() if name.startswith("features/")}
    sides = sorted((int(name.removeprefix("features/side")) for name in maps), reverse=True)
    assert 2 * len(sides) - 1 == len(wanted["stages"])
    for side, numbers in zip(sides, [*wanted["stages"][1:-1:2], wanted["stages"][-1]], strict=True):
        assert_like(maps[f"features/side{side}"], numbers)
    np.testing.assert_allclose(outputs.logits, np.reshape(wanted["outputs"], (-1, 3)), rtol=2e-4, atol=1e-5)


def test_explicit_fingerprints_are_the_authors():
    """Every second convolution of the autoencoder, F, R(x), the logits, D, and both players' losses."""
    wanted = GOLDEN["explicit"]
    module = make_detector("fingerprints", SMALL | {"critic": True})
    variables = made_up("fingerprints", module, list(fingerprints_rows(module.config)), wanted["shapes"])
    outputs = jax.jit(module.apply)(variables, IMAGES)
    heads, numbers = outputs.heads, wanted["outputs"]
    names = [f"side{side}" for side in (32, 16, 8)] + [f"up{side}" for side in (4, 8, 16, 32)]
    stages = wanted["stages"][1::2]
    for name, stage in zip(names, stages[:3] + stages[4:], strict=True):  # the fourth is that of the latent
        assert_like(heads[f"features/{name}"], stage)
    assert_like(2 * heads["reconstruction"] - 1, numbers["reconstruction"])
    assert_like(heads["fingerprints"], numbers["fingerprints"])
    np.testing.assert_allclose(outputs.logits, np.reshape(numbers["logits"], (-1, 3)), rtol=2e-4, atol=2e-5)
    for name in ("critic/real", "critic/reconstruction"):
        np.testing.assert_allclose(heads[name], numbers[name], rtol=2e-4, atol=2e-6)
    method = jnp.arange(4) % 3
    rows = Batch(IMAGES, (method > 0).astype(jnp.int32), jnp.ones(4), {"method": method})
    own = class_cross_entropy(outputs, rows, "method") + 20 * find_term("reconstruction_l1").function(outputs, rows)
    np.testing.assert_allclose(own - 0.1 * heads["critic/reconstruction"], numbers["loss"], rtol=1e-4)
    np.testing.assert_allclose(find_term("critic").function(outputs, rows), numbers["critic loss"], rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "overrides", "wanted"),
    [
        ("attribution", {"num_classes": 5}, 8_913_797),
        ("fingerprints", {"num_classes": 5}, 14_400_019),
        ("attribution", {"size": 64, "fmap_base": 512, "num_classes": 5}, 2_226_565),
    ],
)
def test_numbers_of_parameters(name, overrides, wanted):
    module = make_detector(name, overrides)
    size = module.config.size
    assert count(jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))) == wanted


@pytest.fixture(scope="module")
def explicit():
    """A small detector with a critic, its variables, and its answer to the images while it trains."""
    module = make_detector("fingerprints", TINY | {"critic": True})
    variables = jax.jit(module.init)(jax.random.key(0), FACES)
    run = jax.jit(lambda seed: module.apply(variables, FACES, train=True, rngs={"dropout": jax.random.key(seed)}))
    return module, variables, run


@pytest.mark.parametrize("name", ["attribution", "fingerprints"])
def test_pixels_are_read_alike_and_the_size_is_checked(name):
    module = make_detector(name, TINY | {"num_classes": 2})
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    run = jax.jit(module.apply)
    found = run(variables, images)
    assert found.logits.shape == (2, 2)
    np.testing.assert_allclose(found.logits, run(variables, images / np.float32(255)).logits, rtol=1e-3)
    half = jax.jit(make_detector(name, TINY | {"num_classes": 2}, dtype=jnp.bfloat16).apply)(variables, images)
    assert {half.logits.dtype, half.heads["embedding"].dtype} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(half.logits, found.logits, atol=0.1)
    assert grad_cam(module.apply, variables, images).shape[0] == 2
    with pytest.raises(UserError, match=r"detector\.size: found 16 with images of 64 x 64"):
        module.apply(variables, np.zeros((1, 64, 64, 3), np.float32))


def test_the_embedding_adds_up_to_the_logits(explicit):
    found = explicit[-1](0)
    np.testing.assert_allclose(found.heads["embedding"].reshape(4, 16, 3).sum(1), found.logits, rtol=1e-4, atol=1e-5)


def test_normalised_correlations_are_the_paper_s():
    """Pearson's coefficient of the image's and the model's fingerprint."""
    rng = np.random.default_rng(0)
    residual, models = rng.standard_normal((2, 8, 8, 3), np.float32), rng.standard_normal((8, 8, 3, 3), np.float32)
    found = correlated(jnp.asarray(residual), jnp.asarray(models), "normalized").sum((1, 2))
    both = np.concatenate([residual.reshape(2, -1), models.reshape(-1, 3).T])
    np.testing.assert_allclose(found, np.corrcoef(both)[:2, 2:], rtol=1e-4, atol=1e-6)
    module = make_detector("fingerprints", TINY | {"correlation": "normalized"})
    logits = jax.jit(lambda: module.init_with_output(jax.random.key(0), FACES)[0].logits)()
    assert np.abs(logits).max() < 1


def test_one_term_trains_both_players(explicit):
    """D down its loss, R up D(R(x)) and nothing else; model fingerprints not at all."""
    module, variables, _ = explicit
    rows = Batch(FACES, jnp.zeros(4, jnp.int32), jnp.ones(4))

    def gradient(value):
        return jax.jit(jax.grad(lambda variables: value(module.apply(variables, FACES)).sum()))(variables)["params"]

    both = gradient(lambda outputs: find_term("critic").function(outputs, rows))
    score = gradient(lambda outputs: outputs.heads["critic/reconstruction"])  # already reversed on its way to R
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6), both["autoencoder"],
                 score["autoencoder"])  # fmt: skip
    assert not both["fingerprints"].any()
    assert max(float(jnp.abs(x).max()) for x in jax.tree.leaves(both["critic"])) > 1  # the penalty's is among them
    assert jax.grad(lambda x: reversed_gradient(x) * 3)(2.0) == -3


def test_the_penalty_is_taken_at_random_mixtures_while_training(explicit):
    a, b, c = (explicit[-1](seed).heads["critic/slope"] for seed in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(np.asarray(a - c)).max() > 1e-4


def test_terms_by_hand():
    heads = {"reconstruction": jnp.full((2, 4, 4, 3), 0.75), "critic/real": jnp.array([2.0, -1.0])}
    heads |= {"critic/reconstruction": jnp.array([0.5, 3.0]), "critic/slope": jnp.array([1.0, 1.5])}
    rows = Batch(np.stack([np.zeros((4, 4, 3)), np.ones((4, 4, 3))]).astype(np.float32), None, None)
    outputs = Outputs(jnp.zeros((2, 2)), heads)
    np.testing.assert_allclose(find_term("reconstruction_l1").function(outputs, rows), [1.5, 0.5], rtol=1e-6)
    wanted = [0.5 - 2 + 0.001 * 4, 3 + 1 + 10 * 0.25 + 0.001]
    np.testing.assert_allclose(find_term("critic").function(outputs, rows), wanted, rtol=1e-5)


class Network:
    """Pickles as the authors' networks do."""

    def __init__(self, state):
        listed = list(state.items())
        self.__dict__ = {"version": 2, "name": "N", "build_module_src": "import os", "variables": listed}


def pickled(state) -> bytes:
    """What the authors' training writes: the classifier, or the autoencoder, D and the average of the former."""
    module = types.ModuleType("tfutil")
    module.Network = Network
    Network.__module__, Network.__qualname__ = "tfutil", "Network"
    critic = {key.removeprefix("D/"): value for key, value in state.items() if key.startswith("D/")}
    own = {key: value for key, value in state.items() if not key.startswith("D/")}
    networks = (Network({}), Network(critic), Network(own)) if critic else Network(own)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "tfutil", module)
        return pickle.dumps(networks, 4)


@pytest.mark.parametrize("overrides", [{"num_classes": 5}, {"num_classes": 3, "critic": True}])
def test_a_conversion_goes_back_and_forth(overrides, tmp_path):
    name = "fingerprints" if "critic" in overrides else "attribution"
    module = make_detector(name, overrides)
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 128, 128, 3), np.float32))
    rng = np.random.default_rng(0)
    variables = jax.tree.map(lambda leaf: rng.random(leaf.shape, np.float32), shapes)
    state = export({"name": name, "overrides": overrides}, variables, "gan_fingerprints")
    config, found, layout = convert(state)
    assert (config, layout) == ({"name": name, "overrides": overrides}, "gan_fingerprints")
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))
    (tmp_path / "network-final.pkl").write_bytes(pickled(state))
    _, found, _ = convert(read_checkpoint(tmp_path / "network-final.pkl"))
    jax.tree.map(np.testing.assert_array_equal, found, dict(variables))
    del state[next(iter(state))]
    with pytest.raises(CheckpointError, match="missing"):
        convert(state)
    with pytest.raises(CheckpointError, match="wanted one of the authors' two networks"):
        convert({})


@pytest.mark.parametrize(
    ("name", "field", "value", "wanted"),
    [
        ("attribution", "size", 96, "a power of two"),
        ("attribution", "size", 4, "a power of two"),
        ("attribution", "fmap_base", 8, "a whole number of at least half of size, 64"),
        ("attribution", "fmap_max", 0, "a whole number of at least 1"),
        ("attribution", "num_classes", 1, "a whole number of at least 2"),
        ("attribution", "mode", "sum", "one of postpool, predownscale"),
        ("attribution", "switch", 5, r"one of \[4, 8, 16, 32, 64, 128\]"),
        ("fingerprints", "correlation", "cosine", "one of .*normalized"),
        ("fingerprints", "critic", "yes", "true or false"),
    ],
)
def test_wrong_fields_are_named(name, field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {value!r}.*wanted {wanted}"):
        make_detector(name, {field: value})
