"""FFD answers as the authors' network does; its map stands in either trunk, and its checkpoints go in and out."""

import json
from functools import partial
from pathlib import Path

import cv2
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from safetensors.numpy import save_file

from fdetect_jax import weights
from fdetect_jax.convert import ffd as converter
from fdetect_jax.convert.conversion import convert
from fdetect_jax.convert.layout import Pair, from_state
from fdetect_jax.convert.pretrained import start_from
from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.ffd import FFDConfig, TemplateMap, read_templates
from fdetect_jax.detectors.xception import XceptionConfig
from fdetect_jax.errors import UserError
from fdetect_jax.facesim.part_masks import template_maps
from fdetect_jax.inference.attention import heat
from tests.golden.random_weights import digest, numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ffd.json").read_text())
SMALL = {"width": 0.05, "blocks": 1, "stem_stride": 1}
VGG = {"width": 0.05, "hidden": 0}
IMAGES = np.random.default_rng(0).random((2, 48, 48, 3), np.float32)


def shapes_of(overrides, size):
    """Path -> shape of every variable."""
    tree = jax.eval_shape(make_detector("ffd", overrides).init, jax.random.key(0), np.zeros((1, size, size, 3)))
    return {tuple(str(part.key) for part in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(tree)}


def made_up(layout, prefix=""):
    """A state dict of random arrays in a layout, of the rows whose keys begin so."""
    overrides = {"attention": "reg" if layout == "reg" else "templates"}
    shapes, state = shapes_of(overrides, 75), {}
    for row in converter.rows(FFDConfig(**overrides), layout):
        if isinstance(row, Pair) and row.key.startswith(prefix):
            blank = row.layout.theirs(np.broadcast_to(np.float32(0), shapes[row.path]))
            state[row.key] = random_array(row.key, blank.shape)
    return state


def with_counts(state):
    """Shapes by key, with PyTorch's counts of updates."""
    counts = {key.replace("running_var", "num_batches_tracked"): () for key in state if key.endswith("running_var")}
    return {key: value.shape for key, value in state.items()} | counts


def tensor(array):
    """As a checkpoint's reader gives it."""
    array = np.ascontiguousarray(array)
    strides = tuple(stride // array.itemsize for stride in array.strides)
    return Tensor(Storage(array.dtype, array.size, array.tobytes), 0, array.shape, strides)


def checkpoint(state):
    return {"net": {key: tensor(value) for key, value in state.items()}, "optim": {"state": {}, "param_groups": []}}


@pytest.fixture(scope="module")
def state():
    return made_up("reg")


def test_golden_regression(state):
    case = GOLDEN["reg"]
    assert digest(with_counts(state)) == case["digest"]
    config, variables, layout = converter.convert(checkpoint(state))
    assert (config, layout) == ({"name": "ffd", "overrides": {"attention": "reg", "num_classes": 2}}, "reg")
    images = random_images(9, case["batch"], case["size"])
    found = jax.jit(make_detector("ffd", config["overrides"]).apply)(variables, images)
    for name in ("map", "features/head"):
        numbers = case[name.removeprefix("features/")]
        np.testing.assert_allclose(numbers_of(np.asarray(found.heads[name])), numbers, 2e-4, 2e-5)
    np.testing.assert_allclose(found.logits, case["logits"], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax.nn.sigmoid(found.heads["mask"]), found.heads["map"], rtol=1e-5)
    back = converter.export(config, variables, "reg")
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)
    with pytest.raises(CheckpointError, match=r"templates: found 'MCT' with a checkpoint of map type 'reg'"):
        converter.convert(checkpoint(state), templates="MCT")


def test_golden_templates(tmp_path):
    """The template map alone; what becomes of it in the network is as with the other one."""
    case, state = GOLDEN["tmp"], made_up("tmp", "map.")
    assert digest(with_counts(state)) == case["digest"]
    rng = np.random.default_rng(10)
    save_file({"maps": rng.random((10, 19, 19), np.float32)}, tmp_path / "t.safetensors")
    features = rng.standard_normal((case["batch"], 19, 19, 728), np.float32)
    config = FFDConfig(attention="templates", templates=str(tmp_path / "t.safetensors"))
    table = [row for row in converter.rows(config, "tmp") if row.key.startswith("map.")]
    variables = {name: tree["attention"] for name, tree in from_state("here", state, table).items()}
    module = TemplateMap(config, XceptionConfig(), None, jnp.float32)
    variables["templates"] = {"maps": read_templates(config.templates)}
    found, logits = jax.jit(module.apply, static_argnums=2)(variables, features, False)
    np.testing.assert_allclose(numbers_of(np.asarray(found)), case["map"], 1e-4, 1e-5)
    np.testing.assert_allclose(jax.nn.sigmoid(logits), np.clip(found, 0, 1), atol=1e-5)


def test_a_checkpoint_with_templates(tmp_path):
    state = made_up("tmp")
    with pytest.raises(CheckpointError, match=r"templates: found None .* the folder of those it was trained with"):
        converter.convert(checkpoint(state))
    rng, maps = np.random.default_rng(0), []
    for number in range(10):
        maps.append(rng.integers(0, 256, (19, 19), np.uint8))
        cv2.imwrite(str(tmp_path / f"template{number}.png"), maps[-1])
    save_file(state, tmp_path / "net.safetensors")
    convert("ffd", tmp_path / "net.safetensors", tmp_path / "ours.safetensors", templates=tmp_path)
    config, variables, metadata = weights.read(tmp_path / "ours.safetensors")
    layout = metadata["layout"]
    np.testing.assert_allclose(variables["templates"]["attention"]["maps"], np.stack(maps) / 255, rtol=1e-6)
    back = converter.export(config, variables, layout)
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array)
    with pytest.raises(CheckpointError, match="layout: found 'reg'"):
        converter.export(config, variables, "reg")
    (tmp_path / "template9.png").unlink()
    with pytest.raises(CheckpointError, match="templates: found 9, wanted 10"):
        converter.convert(checkpoint(state), templates=str(tmp_path))


def test_the_bundled_templates_are_those_of_drawn_faces():
    maps = template_maps()
    np.testing.assert_allclose(read_templates(""), maps, atol=1e-3)
    assert 0 < maps[0].min() < maps[0].max() < 1
    flat = maps[1:].reshape(9, -1)
    flat = flat / np.linalg.norm(flat, axis=1, keepdims=True)
    np.testing.assert_allclose(flat @ flat.T, np.eye(9), atol=1e-4)


@pytest.mark.parametrize(
    ("overrides", "side"),
    [
        ({"trunk_overrides": SMALL, "num_classes": 6}, 6),
        ({"trunk_overrides": SMALL, "attention": "templates"}, 6),
        ({"trunk": "vgg16", "trunk_overrides": VGG, "attention": "templates", "mean": True}, 3),
    ],
    ids=["xception-reg", "xception-templates", "vgg16-mean"],
)
def test_heads(overrides, side):
    module = make_detector("ffd", overrides)
    variables = jax.jit(module.init)(jax.random.key(0), IMAGES)
    found = jax.jit(module.apply)(variables, IMAGES)
    assert found.logits.shape == (2, overrides.get("num_classes", 2))
    for name in ("map", "attention", "mask"):
        assert found.heads[name].shape == (2, side, side, 1)
        assert found.heads[name].dtype == jnp.float32
    raw = np.asarray(found.heads["map"])
    np.testing.assert_array_equal(found.heads["attention"], np.clip(raw, 0, 1))
    np.testing.assert_allclose(
        jax.jit(partial(heat, module.apply))(variables, IMAGES), np.clip(raw, 0, 1)[..., 0], rtol=1e-4, atol=1e-5
    )
    if overrides.get("attention") == "templates":
        maps = jax.image.resize(read_templates(""), (10, side, side), "linear")
        fixed = maps[:1] if overrides.get("mean") else maps[:0]
        beside = raw[..., 0] - fixed.sum(0)[None]
        weights = np.linalg.lstsq(maps[len(fixed) :].reshape(-1, side**2).T, beside.reshape(2, -1).T, rcond=None)[0]
        made = np.tensordot(weights.T, maps[len(fixed) :], 1)
        np.testing.assert_allclose(made, beside, atol=1e-4)


def test_the_map_weighs_the_features():
    """Templates of zeros end all features there: the logits no longer depend on the image."""
    module = make_detector("ffd", {"trunk": "vgg16", "trunk_overrides": VGG, "attention": "templates"})
    variables = jax.jit(module.init)(jax.random.key(0), IMAGES)
    run = jax.jit(module.apply)
    assert not np.array_equal(*run(variables, IMAGES).logits)
    nothing = jax.tree.map(np.zeros_like, variables["templates"])
    np.testing.assert_array_equal(*run(variables | {"templates": nothing}, IMAGES).logits)


def test_bfloat16_and_bytes():
    fields = {"trunk_overrides": SMALL}
    images = np.round(255 * IMAGES).astype(np.uint8)
    variables = jax.jit(make_detector("ffd", fields).init)(jax.random.key(0), images)
    wide, narrow = (
        jax.jit(make_detector("ffd", fields, dtype=dtype).apply)(variables, one)
        for dtype, one in ((jnp.float32, images / np.float32(255)), (jnp.bfloat16, images))
    )
    assert narrow.logits.dtype == narrow.heads["map"].dtype == narrow.heads["embedding"].dtype == jnp.float32
    np.testing.assert_allclose(narrow.heads["map"], wide.heads["map"], atol=0.15)


def test_it_starts_from_an_xception(tmp_path):
    """As ``detector.weights`` does it: all of the trunk but the classifier."""
    plain = make_detector("xception", SMALL | {"num_classes": 3})
    shapes = jax.eval_shape(plain.init, jax.random.key(0), IMAGES)
    variables = jax.tree.map(lambda leaf: np.zeros(leaf.shape, np.float32), shapes)
    weights.save(tmp_path / "x.safetensors", "detector", {}, variables)
    own = jax.eval_shape(make_detector("ffd", {"trunk_overrides": SMALL}).init, jax.random.key(0), IMAGES)
    layers = {path.split("/")[1] for path in start_from(str(tmp_path / "x.safetensors"), own)}
    assert layers == set(variables["params"]) - {"fc"}


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        ({"trunk": "resnet"}, r"detector\.trunk: found 'resnet', wanted one of \['vgg16', 'xception'\]"),
        ({"attention": "tmp"}, r"detector\.attention: found 'tmp', wanted one of \['reg', 'templates'\]"),
        ({"num_classes": 1}, r"detector\.num_classes: found 1"),
        ({"templates": "MCT"}, r"detector\.templates: found 'MCT' with attention 'reg', wanted ''"),
        ({"mean": True}, r"detector\.mean: found True with attention 'reg', wanted False"),
        ({"trunk_overrides": {"width": 0.0}}, r"detector\.width: found 0\.0"),
        ({"trunk_overrides": {"depth": 1}}, r"detector\.trunk_overrides\.depth: found 1"),
        ({"trunk_overrides": {"num_classes": 2}}, r"detector\.trunk_overrides\.num_classes"),
    ],
)
def test_wrong_fields_are_named(overrides, named):
    with pytest.raises(UserError, match=named):
        make_detector("ffd", overrides)


def test_templates_that_are_none_are_refused_before_weights_are_drawn(tmp_path):
    save_file({"maps": np.zeros((1, 3, 3), np.float32)}, tmp_path / "one.safetensors")
    for given, named in (
        (str(tmp_path / "none"), "No such file|not found"),
        (str(tmp_path / "one.safetensors"), "K, h, w"),
    ):
        module = make_detector("ffd", {"trunk_overrides": SMALL, "attention": "templates", "templates": given})
        with pytest.raises(UserError, match=rf"detector\.templates: .*({named})"):
            jax.eval_shape(module.init, jax.random.key(0), IMAGES)
    with pytest.raises(UserError, match=r"detector\.templates: .*wanted a folder of PNGs"):
        read_templates(str(tmp_path / "." / ""))
