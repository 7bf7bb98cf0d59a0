"""ResNet answers as torchvision's and TF-slim's do; a state dict goes there and back, and starts a detector."""

import json
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fdetect_jax
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.layout import Fixed, from_state
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.convert.resnet import convert as convert_found
from fdetect_jax.convert.resnet import rows
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.resnet import VARIANTS, config_of
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from tests.golden.random_weights import digest, numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "resnet.json").read_text())
TINY = {"width": 0.0625, "num_classes": 3}


def shapes_of(name, overrides=None, size=64):
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    return jax.eval_shape(make_detector(name, overrides or {}).init, jax.random.key(0), images)


def made_up(name, overrides=None):
    """A state dict of torchvision's keys, with the arrays that the originals were given."""
    tree = jax.tree.leaves_with_path(shapes_of(name, overrides))
    ours = {tuple(str(part.key) for part in path): leaf.shape for path, leaf in tree}
    state = {}
    for row in rows(config_of(name, overrides or {})):
        if isinstance(row, Fixed):
            state[row.key] = row.value
        else:
            state[row.key] = random_array(row.key, row.layout.theirs(np.empty(ours[row.path], np.float32)).shape)
    return state


@pytest.fixture(scope="module")
def fifty():
    """ResNet-50's variables, made up."""
    return from_state("resnet50", made_up("resnet50"), rows(VARIANTS["resnet50"]))


@pytest.mark.parametrize("form", ["torchvision", "slim"])
def test_golden(form, fifty):
    """Every stage and the logits of ResNet-50; TF-slim's strides elsewhere and pads its max-pooling at the end."""
    images = random_images(5, GOLDEN["batch"], GOLDEN["size"])
    outputs = jax.jit(make_detector("resnet50", {"form": form}).apply)(fifty, images)
    for name, wanted in GOLDEN[form]["stages"].items():
        found = numbers_of(np.asarray(outputs.heads[f"features/{name}"]))
        np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(outputs.logits, GOLDEN[form]["logits"], rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize(
    ("name", "count"), [("resnet50", 25_557_032), ("resnet101", 44_549_160), ("resnet152", 60_192_808)]
)
def test_numbers_of_parameters_and_keys_are_torchvisions(name, count):
    tree = shapes_of(name, {"num_classes": 1000})
    assert sum(leaf.size for leaf in jax.tree.leaves(tree["params"])) == count
    leaves = jax.tree.leaves_with_path(tree)
    ours = {tuple(str(part.key) for part in path): leaf.shape for path, leaf in leaves}
    found = {}
    for row in rows(config_of(name, {"num_classes": 1000})):
        shape = () if isinstance(row, Fixed) else ours[row.path]
        turned = (3, 2, 0, 1) if len(shape) == 4 else range(len(shape))[::-1]
        found[row.key] = tuple(shape[axis] for axis in turned)
    assert digest(found) == GOLDEN["torchvision"]["keys"][name]


def test_there_and_back_and_a_start(tmp_path):
    """A file of 3 classes gives all its arrays but the classifier to a detector of 2; other depths are refused."""
    state = made_up("resnet50", TINY)
    save_file(state, tmp_path / "in.safetensors")
    convert("resnet", tmp_path / "in.safetensors", tmp_path / "r.safetensors")
    loaded = fdetect_jax.load(tmp_path / "r.safetensors")
    assert loaded.config == {"name": "resnet50", "overrides": TINY}
    export(tmp_path / "r.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)
    own = shapes_of("resnet50", {"width": 0.0625, "form": "slim"})
    found = start_from(str(tmp_path / "r.safetensors"), own)
    assert len(found) == len(jax.tree.leaves(own)) - 2
    np.testing.assert_array_equal(found["params/conv_stem/kernel"], state["conv1.weight"].transpose(2, 3, 1, 0))
    with pytest.raises(UserError, match=r"detector\.weights: .*found other arrays \(batch_stats/blocks_13"):
        start_from(str(tmp_path / "r.safetensors"), shapes_of("resnet101", {"width": 0.0625}))


def test_what_is_no_resnet_is_refused(tmp_path):
    state = made_up("resnet50", TINY)
    for name, arrays, wanted in (
        ("no", {"a.weight": np.zeros(3, np.float32)}, "wanted a ResNet of torchvision"),
        ("less", {key: state[key] for key in state if key != "fc.bias"}, r"missing \['fc\.bias'\], extra \[\]"),
        ("wide", state | {"fc.weight": np.zeros((3, 7), np.float32)}, r"wrong shapes: fc\.weight \(here \(7, 3\)"),
    ):
        save_file(arrays, tmp_path / f"{name}.safetensors")
        with pytest.raises(CheckpointError, match=wanted):
            convert_found(read_checkpoint(tmp_path / f"{name}.safetensors"))


def test_a_small_one_trains_and_reads_pixels_alike():
    small = {"width": 0.0625, "units": (1, 1, 1), "pool": False, "num_classes": 6}
    module = make_detector("resnet50", small)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    apply = jax.jit(module.apply, static_argnames=("train", "mutable"))
    found, changed = apply(variables, images, train=True, mutable=("batch_stats",))
    assert (found.logits.shape, found.heads["embedding"].shape) == ((2, 6), (2, 64))
    alike, _ = apply(variables, images / np.float32(255), train=True, mutable=("batch_stats",))
    np.testing.assert_allclose(found.logits, alike.logits, rtol=1e-4, atol=1e-5)
    before, after = (jax.tree.leaves(one["batch_stats"]) for one in (variables, changed))
    assert not any(np.array_equal(*both) for both in zip(before, after, strict=True))
    assert jax.eval_shape(partial(grad_cam, module.apply), variables, images).shape == (2, 8, 8)
    half = make_detector("resnet50", small, dtype=np.dtype("bfloat16"))
    found = jax.eval_shape(half.apply, variables, images)
    assert (found.heads["features/stage3"].dtype.name, found.logits.dtype) == ("bfloat16", np.float32)
    assert found.heads["embedding"].dtype == np.float32


def test_the_two_forms_stride_elsewhere():
    strides = {
        form: [unit.stride for unit in config_of("resnet50", {"form": form}).blocks()]
        for form in ("torchvision", "slim")
    }
    assert [number for number, stride in enumerate(strides["torchvision"]) if stride == 2] == [3, 7, 13]
    assert [number for number, stride in enumerate(strides["slim"]) if stride == 2] == [2, 6, 12]


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("units", (), "whole numbers"),
        ("units", (3, 0), "whole numbers"),
        ("width", 0, "a number of at least 1/64"),
        ("num_classes", 1, "a whole number of at least 2"),
        ("form", "caffe", "one of"),
        ("pool", "yes", "true or false"),
        ("normalization", "vgg", "one of"),
        ("bn_momentum", 1.0, r"a number in \[0, 1\)"),
        ("bn_epsilon", 0, "a number above 0"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found .*wanted {wanted}"):
        make_detector("resnet50", {field: value})
