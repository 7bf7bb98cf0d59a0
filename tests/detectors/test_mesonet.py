"""Meso-4 and MesoInception-4 answer as the authors' networks do, and train with their loss and learning rate."""

import json
from pathlib import Path

import jax
import numpy as np
import pytest

from fdetect_jax.convert.layout import from_state
from fdetect_jax.convert.mesonet import rows
from fdetect_jax.detectors import make_detector
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.types import margin
from tests.golden.random_weights import random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "mesonet.json").read_text())
NAMES = {"Meso4": "meso4", "MesoInception4": "mesoinception4"}


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("case", GOLDEN, ids=lambda case: case["name"])
def test_golden(case):
    """Made-up weights, every BatchNorm's output and P(real), by the authors' code."""
    name = NAMES[case["name"]]
    module = make_detector(name)
    images = random_images(4, case["batch"], 256)
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    wanted = {tuple(str(part.key) for part in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(shapes)}
    state = {row.key: random_array(row.key.replace("/", "."), wanted[row.path]) for row in rows(name)}
    outputs = jax.jit(module.apply)(from_state(name, state, rows(name)), images)
    for number, numbers in enumerate(case["stages"]):
        x = np.asarray(outputs.heads[f"features/stage{number}"])
        np.testing.assert_allclose([x.mean(), x.std(), *x[0, 0, 0, :3]], numbers, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(-margin(outputs.logits)), case["output"], rtol=1e-4)


@pytest.mark.parametrize(("name", "params", "stats"), [("meso4", 27_977, 96), ("mesoinception4", 28_615, 110)])
def test_numbers_of_parameters_are_the_papers(name, params, stats):
    variables = jax.eval_shape(make_detector(name).init, jax.random.key(0), np.zeros((1, 256, 256, 3), np.float32))
    assert (count(variables["params"]), count(variables["batch_stats"])) == (params, stats)


def test_pixels_are_read_alike_and_the_size_is_checked():
    module = make_detector("meso4", {"size": 64, "num_classes": 6})
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    variables = module.init(jax.random.key(0), images)
    found = module.apply(variables, images)
    assert found.logits.shape == (2, 6)
    np.testing.assert_allclose(found.logits, module.apply(variables, images / np.float32(255)).logits, rtol=1e-4)
    assert grad_cam(module.apply, variables, images).shape == (2, 8, 8)
    with pytest.raises(UserError, match=r"detector\.size: found 64 with images of 96 x 96"):
        module.apply(variables, np.zeros((1, 96, 96, 3), np.float32))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("size", 100, "a multiple of 32"),
        ("num_classes", 1, "a whole number of at least 2"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("bn_epsilon", 0, "a number above 0"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {value}.*wanted {wanted}"):
        make_detector("meso4", {field: value})
