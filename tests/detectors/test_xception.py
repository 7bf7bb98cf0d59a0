"""Xception answers as Cadene's network does; its public layouts go in and out unchanged and start other detectors."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from fdetect_jax import weights
from fdetect_jax.convert import xception as converter
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.layout import Pair, from_state, to_state
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.xception import XceptionConfig
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from tests.golden.random_weights import digest, numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "xception.json").read_text())
SMALL = {"width": 0.05, "blocks": 1, "stem_stride": 1}


def shapes_of(overrides, size=71):
    """Path -> shape of every variable."""
    tree = jax.eval_shape(make_detector("xception", overrides).init, jax.random.key(0), np.zeros((1, size, size, 3)))
    return {tuple(str(part.key) for part in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def made_up(overrides, layout):
    """A state dict of random arrays in a layout."""
    shapes = shapes_of(overrides)
    table = converter.rows(XceptionConfig(**overrides), layout)
    blank = {row.key: (np.zeros(shapes[row.path], np.float32), row.layout) for row in table if isinstance(row, Pair)}
    return {key: random_array(key, layout.theirs(array).shape) for key, (array, layout) in blank.items()}


def tensor(array):
    """As a checkpoint's reader gives it."""
    strides = tuple(np.cumprod((1, *array.shape[:0:-1]))[::-1].tolist()) if array.shape else ()
    return Tensor(Storage(array.dtype, array.size, np.ascontiguousarray(array).tobytes), 0, array.shape, strides)


def converted(state):
    return converter.convert({key: tensor(value) for key, value in state.items()})


@pytest.fixture(scope="module")
def state():
    return made_up({"num_classes": GOLDEN["classes"]}, "cadene")


def test_golden(state):
    shapes = {key: value.shape for key, value in state.items()}
    counts = {key.replace("running_var", "num_batches_tracked"): () for key in state if key.endswith("running_var")}
    assert digest(shapes | counts) == GOLDEN["digest"]
    config, variables, layout = converted(state)
    assert (config, layout) == ({"name": "xception", "overrides": {"num_classes": 3}}, "cadene")
    module = make_detector(config["name"], config["overrides"])
    outputs = jax.jit(module.apply)(variables, random_images(6, GOLDEN["batch"], GOLDEN["size"]))
    for name, numbers in GOLDEN["stages"].items():
        np.testing.assert_allclose(numbers_of(np.asarray(outputs.heads[f"features/{name}"])), numbers, 2e-4, 2e-5)
    np.testing.assert_allclose(outputs.logits, GOLDEN["logits"], rtol=1e-4, atol=1e-4)


def test_the_number_of_parameters_is_the_papers():
    count = {"params": 0, "batch_stats": 0}
    for path, shape in shapes_of({"num_classes": 1000}).items():
        count[path[0]] += int(np.prod(shape))
    assert count == {"params": 22_855_952, "batch_stats": 54_528}


@pytest.mark.parametrize("layout", [name for name in converter.LAYOUTS if name != "cadene"])  # the golden test's
def test_there_and_back(layout, state):
    """Names, and the matrices of the oldest file; without counts of updates, which old files lack."""
    variables = from_state("here", state, converter.rows(XceptionConfig()))
    theirs = to_state("here", variables, converter.rows(XceptionConfig(), layout))
    prefix = "model." if layout.startswith("faceforensics") else ""
    flat = theirs[f"{prefix}block5.rep.4.pointwise.weight"]
    assert flat.ndim == (2 if layout == "standley" else 4)
    config, back, found = converted({key: v for key, v in theirs.items() if "num_batches" not in key})
    assert found == layout
    assert config["overrides"].get("dropout") == (0.5 if layout == "faceforensics_dropout" else None)
    jax.tree.map(np.testing.assert_array_equal, back, variables)


def test_what_is_no_xception_is_refused(state):
    with pytest.raises(CheckpointError, match="wanted an Xception of Standley, Cadene or FaceForensics"):
        converted({key: value for key, value in state.items() if not key.startswith("fc")})
    with pytest.raises(CheckpointError, match=r"missing \['block9.rep.1.conv1.weight'\]"):
        converted({key: value for key, value in state.items() if key != "block9.rep.1.conv1.weight"})


def test_a_detector_with_other_classes_starts_from_it(state, tmp_path):
    config, variables, _ = converted(state)
    weights.save(tmp_path / "x.safetensors", "detector", config, variables)
    tree = jax.eval_shape(make_detector("xception", {}).init, jax.random.key(0), np.zeros((1, 71, 71, 3)))
    start = start_from(str(tmp_path / "x.safetensors"), tree)
    assert set(start) == {"/".join(path) for path in shapes_of({}) if path[1] != "fc"}
    narrow = jax.eval_shape(make_detector("xception", SMALL).init, jax.random.key(0), np.zeros((1, 71, 71, 3)))
    with pytest.raises(UserError, match="wanted those of this network"):
        start_from(str(tmp_path / "x.safetensors"), narrow)


def test_the_command_reads_a_file(state, tmp_path):
    save_file(state, tmp_path / "x.safetensors")
    convert("xception", tmp_path / "x.safetensors", tmp_path / "ours.safetensors")
    export(tmp_path / "ours.safetensors", tmp_path / "back.safetensors", "standley")
    back = read_checkpoint(tmp_path / "back.safetensors")
    assert back.keys() >= state.keys()
    np.testing.assert_array_equal(back["conv4.pointwise.weight"].array(), state["conv4.pointwise.weight"][:, :, 0, 0])


def test_small_ones():
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    module = make_detector("xception", SMALL | {"num_classes": 6, "dropout": 0.5})
    variables = jax.jit(module.init)(jax.random.key(0), images)
    run = jax.jit(module.apply)
    found = run(variables, images)
    assert found.logits.shape == (2, 6)
    assert found.heads["features/middle"].shape == (2, 8, 8, 40)
    floats = run(variables, images / np.float32(255))
    np.testing.assert_allclose(found.logits, floats.logits, rtol=1e-4, atol=1e-4)
    heat = jax.jit(partial(grad_cam, module.apply))(variables, images)
    assert heat.shape == (2, 4, 4)
    narrow = jax.jit(make_detector("xception", SMALL | {"num_classes": 6}, dtype=jnp.bfloat16).apply)(variables, images)
    assert narrow.logits.dtype == narrow.heads["embedding"].dtype == jnp.float32
    assert narrow.heads["features/head"].dtype == jnp.bfloat16
    np.testing.assert_allclose(narrow.logits, found.logits, atol=0.05 * np.abs(found.logits).max())
    with pytest.raises(UserError, match=r"detector images: found 4 x 64, wanted at least 5 pixels"):
        module.apply(variables, images[:, :4])


def test_dropout_is_drawn():
    images = np.random.default_rng(0).random((2, 5, 5, 3), np.float32)
    module = make_detector("xception", SMALL | {"dropout": 0.5})
    variables = jax.jit(module.init)(jax.random.key(0), images)
    run = jax.jit(lambda key: module.apply(variables, images, True, rngs={"dropout": key}, mutable=["batch_stats"])[0])
    first, second = (run(jax.random.key(number)).logits for number in range(2))
    assert not np.allclose(first, second)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("width", 0.0, "a number above 0"),
        ("blocks", 0, "a whole number from 1 to 100"),
        ("stem_stride", 3, "1 or 2"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("num_classes", 1, "a whole number of at least 2"),
        ("bn_momentum", 1.0, r"a number in \[0, 1\)"),
        ("bn_epsilon", 0, "a number above 0"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {value}.*wanted {wanted}"):
        make_detector("xception", {field: value})
