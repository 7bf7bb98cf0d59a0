"""FWA and DSP-FWA answer as the authors' networks do, with their classes exchanged; their checkpoints are read."""

import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import fdetect_jax
from fdetect_jax.convert import fwa as converter
from fdetect_jax.convert import resnet
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.layout import Fixed, from_state
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.fwa import pyramid
from fdetect_jax.detectors.resnet import VARIANTS
from fdetect_jax.errors import UserError
from tests.golden.random_weights import random_array, random_images

HERE = Path(__file__).parents[1] / "golden"
GOLDEN = json.loads((HERE / "fwa.json").read_text())
SMALL = {"width": 0.03125, "units": (1, 1, 1, 1), "pool": False}


def shapes_of(name, overrides, size):
    images = jax.ShapeDtypeStruct((1, size, size, 3), np.float32)
    tree = jax.eval_shape(make_detector(name, overrides).init, jax.random.key(0), images)
    return {tuple(str(part.key) for part in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def made_up(rows, shapes):
    """A state dict of these rows, made up as the originals' were."""
    state = {}
    for row in rows:
        if isinstance(row, Fixed):
            state[row.key] = row.value
        else:
            state[row.key] = random_array(row.key, row.layout.theirs(np.empty(shapes[row.path], np.float32)).shape)
    return state


def pixels(case):
    return (random_images(6, GOLDEN["batch"], case["size"]) * 255).clip(0, 255).astype(np.uint8)


def check(outputs, case):
    """Their class 0 is fake."""
    wanted = np.array(case["logits"])[:, ::-1]
    np.testing.assert_allclose(outputs.logits, wanted, rtol=2e-4, atol=2e-5 * np.abs(wanted).max())


def test_golden_fwa():
    """The authors' ``ResoNet``, from levels of 0 to 255 to logits."""
    table = list(resnet.rows(VARIANTS["resnet50"]))
    variables = from_state("fwa", made_up(table, shapes_of("fwa", {}, 64)), table)
    variables["params"]["fc"] = {name: value[..., ::-1] for name, value in variables["params"]["fc"].items()}
    check(jax.jit(make_detector("fwa").apply)(variables, pixels(GOLDEN["fwa"])), GOLDEN["fwa"])


def test_golden_dsp_fwa():
    """The authors' ``SPPNet``, through its state dict; two of its layers are not used."""
    table = list(converter.rows("dsp_fwa", {}))
    state = made_up(table, shapes_of("dsp_fwa", {}, 224))
    assert {key: list(state[key].shape) for key in GOLDEN["dsp_fwa"]["keys"]} == GOLDEN["dsp_fwa"]["keys"]
    variables = from_state("dsp_fwa", state, table)
    outputs = jax.jit(make_detector("dsp_fwa").apply)(variables, pixels(GOLDEN["dsp_fwa"]))
    check(outputs, GOLDEN["dsp_fwa"])
    assert outputs.heads["embedding"].shape == (2, 2048 * 41)


def test_a_checkpoint_of_tensorflow(tmp_path):
    """TensorFlow wrote it: every array is what its writer was given, and the detector's own arrays follow from them."""
    found = read_checkpoint(HERE / "tiny_slim.index")
    assert found["global_step"].array() == 7
    shapes = shapes_of("fwa", {"trunk_overrides": {"width": 1 / 64}}, 64)
    theirs = made_up(resnet.rows(resnet.config_of("resnet50", {"width": 1 / 64})), shapes)
    kernel = found["resnet_v1_50/block3/unit_4/bottleneck_v1/conv2/weights"].array()
    np.testing.assert_array_equal(kernel, theirs["layer3.3.conv2.weight"].transpose(2, 3, 1, 0))
    variance = found["resnet_v1_50/block4/unit_1/bottleneck_v1/shortcut/BatchNorm/moving_variance"].array()
    np.testing.assert_array_equal(variance, theirs["layer4.0.downsample.1.running_var"])
    convert("fwa", HERE / "tiny_slim.index", tmp_path / "f.safetensors")
    loaded = fdetect_jax.load(tmp_path / "f.safetensors")
    overrides = {"trunk": "resnet50", "num_classes": 2, "trunk_overrides": {"width": 1 / 64}}
    assert loaded.config == {"name": "fwa", "overrides": overrides}
    fc = loaded.variables["params"]["fc"]
    np.testing.assert_array_equal(fc["kernel"], theirs["fc.weight"].T[:, ::-1])
    np.testing.assert_array_equal(fc["bias"], theirs["fc.bias"][::-1])
    export(tmp_path / "f.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == found.keys()
    for key in found.keys() - {"global_step"}:
        np.testing.assert_array_equal(back[key], found[key].array(), err_msg=key)


def cut_data(folder):
    data = folder / "m.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-1])


def no_data(folder):
    (folder / "m.data-00000-of-00001").unlink()


def cut_index(folder):
    index = (folder / "m.index").read_bytes()
    (folder / "m.index").write_bytes(index[:5000] + index[-48:])


def compressed(folder):
    """A block says that it is compressed: the byte after the first one, which ends where the next one begins."""
    index = bytearray((folder / "m.index").read_bytes())
    places = [at for at in range(len(index) - 100, len(index) - 48) if not index[at]]
    for at in places:
        index[at] = 1
    (folder / "m.index").write_bytes(index)


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (cut_data, "found no whole m.data-00000-of-00001 beside it"),
        (no_data, "found no whole m.data-00000-of-00001 beside it"),
        (cut_index, "damaged index|compressed index"),
        (compressed, "damaged index|compressed index"),
    ],
)
def test_a_damaged_checkpoint_is_refused(change, wanted, tmp_path):
    for file in HERE.glob("tiny_slim.*"):
        shutil.copy(file, tmp_path / file.name.replace("tiny_slim", "m"))
    change(tmp_path)
    with pytest.raises(CheckpointError, match=rf"m\.index: .*{wanted}"):
        read_checkpoint(tmp_path / "m.index")


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("dsp_fwa", {"trunk": "resnet50", "num_classes": 2, "trunk_overrides": {"width": 1 / 64}}),
        ("fwa", {"trunk": "resnet101", "num_classes": 2, "trunk_overrides": {"width": 1 / 64}}),
        ("fwa", {"trunk": "vgg16", "num_classes": 2, "trunk_overrides": {"width": 1 / 64, "hidden": 3}}),
    ],
)
def test_there_and_back(name, overrides, tmp_path):
    """As the authors wrap theirs; an export to the other's layout is refused."""
    state = made_up(converter.rows(name, overrides), shapes_of(name, overrides, 224))
    save_file(state, tmp_path / "in.safetensors")
    config, variables, layout = converter.convert(read_checkpoint(tmp_path / "in.safetensors"))
    assert config == {"name": name, "overrides": overrides}
    back = converter.export(config, variables, layout)
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)
    other = next(one for one in converter.LAYOUTS if one != layout)
    with pytest.raises(CheckpointError, match=rf"layout: found '{other}' of {name}"):
        converter.export(config, variables, other)


def test_what_is_neither_is_refused(tmp_path):
    for arrays, wanted in (
        ({"a": np.zeros(3, np.float32)}, r"found keys \['a'\]"),
        ({"resnet_v1_200/conv1/weights": np.zeros((7, 7, 3, 64), np.float32)}, "found a network 'resnet_v1_200'"),
        ({"resnet_v1_50/conv1/weights": np.zeros((7, 7, 3, 64), np.float32)}, "missing .*resnet_v1_50/logits/biases"),
    ):
        save_file(arrays, tmp_path / "in.safetensors")
        with pytest.raises(CheckpointError, match=wanted):
            converter.convert(read_checkpoint(tmp_path / "in.safetensors"))


def test_cells_of_the_pyramid():
    """Of 7 x 7 with 6 cells a side: windows of 2, one apart; cells in order, channels last."""
    x = np.random.default_rng(0).standard_normal((2, 7, 7, 3)).astype(np.float32)
    found = np.asarray(pyramid(x, (1, 2, 6)))
    assert found.shape == (2, 3 * 41)
    np.testing.assert_array_equal(found[:, :3], x.max(axis=(1, 2)))
    np.testing.assert_array_equal(found[:, 3:6], x[:, :4, :4].max(axis=(1, 2)))
    np.testing.assert_array_equal(found[:, 12:15], x[:, 3:, 3:].max(axis=(1, 2)))
    np.testing.assert_array_equal(found[:, 15 + 3 * 8 : 15 + 3 * 9], x[:, 1:3, 2:4].max(axis=(1, 2)))
    for size, levels in ((8, (1, 2, 6)), (4, (6,)), (2, (4,))):
        with pytest.raises(UserError, match=r"detector\.levels: found \d and a last map of"):
            pyramid(x[:, :1, :1].repeat(size, 1).repeat(size, 2), levels)


@pytest.mark.parametrize(
    ("name", "overrides"),
    [
        ("fwa", {"trunk_overrides": SMALL}),
        ("fwa", {"trunk": "vgg16", "trunk_overrides": {"width": 1 / 64, "hidden": 4}}),
        ("dsp_fwa", {"trunk_overrides": SMALL, "levels": (1, 2, 4)}),
    ],
)
def test_small_ones(name, overrides):
    """64 px, six classes; the input is read in either form, and bfloat16 leaves logits and embedding float32."""
    overrides = overrides | {"num_classes": 6}
    module = make_detector(name, overrides)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), np.uint8)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    apply = jax.jit(module.apply)
    found = apply(variables, images)
    assert found.logits.shape == (2, 6)
    np.testing.assert_allclose(found.logits, apply(variables, images / np.float32(255)).logits, rtol=1e-3, atol=1e-4)
    half = jax.eval_shape(make_detector(name, overrides, dtype=np.dtype("bfloat16")).apply, variables, images)
    assert (half.logits.dtype, half.heads["embedding"].dtype) == (np.float32, np.float32)


@pytest.mark.parametrize(
    ("name", "fields", "wanted"),
    [
        ("fwa", {"trunk": "resnet18"}, r"detector\.trunk: found 'resnet18'"),
        ("fwa", {"num_classes": 1}, r"detector\.num_classes: found 1"),
        ("fwa", {"trunk_overrides": {"units": 3}}, r"detector\.units: found 3"),
        ("fwa", {"levels": (1,)}, r"detector\.levels"),
        (
            "fwa",
            {"trunk": "vgg16", "trunk_overrides": {"normalization": "bgr"}},
            r"detector\.normalization: found 'bgr'",
        ),
        ("dsp_fwa", {"trunk": "vgg16"}, r"detector\.trunk: found 'vgg16'"),
        ("dsp_fwa", {"levels": ()}, r"detector\.levels: found \(\)"),
        ("dsp_fwa", {"levels": (0, 2)}, r"detector\.levels: found \(0, 2\)"),
        ("dsp_fwa", {"num_classes": 1}, r"detector\.num_classes: found 1"),
    ],
)
def test_wrong_fields_are_named(name, fields, wanted):
    with pytest.raises(UserError, match=wanted):
        make_detector(name, fields)
