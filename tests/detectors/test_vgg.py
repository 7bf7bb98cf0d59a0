"""VGG-16 and VGG-19 answer as torchvision's do, their weights come from its checkpoints, and start other detectors."""

import json
from pathlib import Path

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import fdetect_jax
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.convert.vgg import convert as convert_found
from fdetect_jax.convert.vgg import rows
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.vgg import cells, layers, trunk
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from tests.golden.random_weights import numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "vgg.json").read_text())


def shapes_of(module, size=32):
    return jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, size, size, 3), np.float32))


def made_up(name, overrides):
    """torchvision's state dict of a network, made up as the original's was."""
    shapes = flatten_dict(shapes_of(make_detector(name, overrides)))
    theirs = {row.key: row.layout.theirs(np.empty(shapes[row.path].shape, bool)).shape for row in rows(name)}
    return {key: random_array(key, shape, 1.4) for key, shape in theirs.items()}


@pytest.fixture(scope="module", params=GOLDEN, ids=lambda case: case["name"])
def case(request, tmp_path_factory):
    """The answers of one network, with the file that was converted from its weights."""
    case, folder = request.param, tmp_path_factory.mktemp("vgg")
    overrides = {"width": case["width"], "hidden": len(case["hidden"][0]), "num_classes": case["classes"]}
    state = made_up(case["name"], overrides)
    save_file(state, folder / "in.safetensors")
    convert("vgg", folder / "in.safetensors", folder / "out.safetensors")
    return case | {"overrides": overrides, "state": state, "file": folder / "out.safetensors"}


def test_golden(case):
    """Made-up weights: logits, the last hidden layer and every pooled map, of a size that pooling does not divide."""
    loaded = fdetect_jax.load(case["file"])
    outputs = loaded(random_images(5, 2, case["size"]))
    for name, numbers in case["pools"].items():
        found = numbers_of(np.asarray(outputs.heads[f"features/{name}"]))
        np.testing.assert_allclose(found, numbers, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(outputs.heads["embedding"], case["hidden"], rtol=2e-4, atol=2e-4)
    np.testing.assert_allclose(outputs.logits, case["logits"], rtol=2e-4)


def test_there_and_back(case, tmp_path):
    config, _ = fdetect_jax.weights.describe(case["file"])
    assert config == {"name": case["name"], "overrides": case["overrides"]}
    export(case["file"], tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == case["state"].keys()
    for key, value in case["state"].items():
        np.testing.assert_array_equal(back[key], value)


class OnTrunk(nn.Module):
    """A detector with the first three blocks of VGG-19 under a classifier of its own."""

    width: float

    @nn.compact
    def __call__(self, x):
        return nn.Dense(2, name="fc")(trunk("vgg19", x, "relu3_2", self.width)["relu3_2"].mean(axis=(1, 2)))


def test_weights_start_another_detector(case):
    shapes = shapes_of(OnTrunk(case["width"]))
    if case["name"] == "vgg16":
        with pytest.raises(UserError, match=r"detector\.weights: .*found no array of this network"):
            start_from(str(case["file"]), shapes)
        return
    found = start_from(str(case["file"]), shapes)
    assert sorted({path.split("/")[1] for path in found}) == [
        f"vgg19_conv{place}" for place in ("1_1", "1_2", "2_1", "2_2", "3_1", "3_2")
    ]
    np.testing.assert_array_equal(
        found["params/vgg19_conv3_2/kernel"].transpose(3, 2, 0, 1), case["state"]["features.12.weight"]
    )
    with pytest.raises(UserError, match=r"detector\.weights: .*found other arrays"):
        start_from(str(case["file"]), shapes_of(OnTrunk(case["width"] / 2)))


@pytest.mark.parametrize(("name", "count"), [("vgg16", 138_357_544), ("vgg19", 143_667_240)])
def test_numbers_of_parameters_are_torchvisions(name, count):
    shapes = shapes_of(make_detector(name, {"num_classes": 1000}), 224)
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == count


def test_the_trunk_ends_where_it_is_told():
    assert layers("vgg16", "pool2") == ["relu1_1", "relu1_2", "pool1", "relu2_1", "relu2_2", "pool2"]
    assert [one for one in layers("vgg19") if one.startswith("relu5")] == [f"relu5_{n}" for n in (1, 2, 3, 4)]
    with pytest.raises(ValueError, match="relu3_4"):
        layers("vgg16", "relu3_4")


@pytest.mark.parametrize("size", [3, 7, 10, 14])
def test_cells_are_means(size):
    x = np.random.default_rng(0).standard_normal((2, size, 5, 3)).astype(np.float32)
    found = cells(jnp.asarray(x), 4)
    for i in range(4):
        for j in range(4):
            part = x[:, i * size // 4 : -(-(i + 1) * size // 4), j * 5 // 4 : -(-(j + 1) * 5 // 4)]
            np.testing.assert_allclose(found[:, i, j], part.mean(axis=(1, 2)), rtol=1e-5, atol=1e-6)


def test_without_hidden_layers_pixels_are_read_alike():
    module = make_detector("vgg16", {"width": 1 / 16, "hidden": 0, "num_classes": 6}, dtype=jnp.bfloat16)
    images = np.random.default_rng(0).integers(0, 256, (2, 32, 48, 3), np.uint8)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    apply = jax.jit(module.apply, static_argnums=2)
    found = apply(variables, images, False)
    assert (found.logits.shape, found.heads["embedding"].shape) == ((2, 6), (2, 32))
    assert found.heads["features/pool5"].dtype == jnp.bfloat16
    assert found.logits.dtype == found.heads["embedding"].dtype == jnp.float32
    np.testing.assert_allclose(found.logits, apply(variables, images / np.float32(255), False).logits, rtol=1e-3)
    assert jax.jit(grad_cam, static_argnums=0)(module.apply, variables, images).shape == (2, 1, 1)
    drawn = [apply(variables, images, True, rngs={"dropout": jax.random.key(key)}).logits for key in (1, 2)]
    assert not np.array_equal(*drawn)


def test_what_does_not_fit_is_refused(tmp_path):
    with pytest.raises(UserError, match="found 31 x 40, wanted at least 32 x 32"):
        jax.eval_shape(make_detector("vgg16").init, jax.random.key(0), np.zeros((1, 31, 40, 3), np.float32))
    state = made_up("vgg16", {"width": 1 / 64, "hidden": 3})
    last, inner = "features.28.weight", "classifier.3.bias"
    for changed, wanted in (
        ({key: value for key, value in state.items() if key != last}, "found 12 convolutions, wanted 13 of VGG-16"),
        ({key: value for key, value in state.items() if key != inner}, rf"missing \['{inner}'\]"),
        (state | {last: np.zeros((7, 8, 3, 3), np.float32)}, rf"wrong shapes: {last}"),
    ):
        save_file(changed, tmp_path / "in.safetensors")
        with pytest.raises(CheckpointError, match=wanted):
            convert_found(read_checkpoint(tmp_path / "in.safetensors"))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("width", 0.01, "a number of at least 1/64"),
        ("hidden", -1, "a whole number of at least 0"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("num_classes", 0, "a whole number of at least 1"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {value}.*wanted {wanted}"):
        make_detector("vgg19", {field: value})
