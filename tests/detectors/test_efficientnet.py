"""EfficientNet: sizes, paddings, regularisers and dtypes; the registry's contract; golden numbers."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import chex
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from fdetect_jax.convert.efficientnet import rows
from fdetect_jax.convert.layout import Fixed, from_state, to_state
from fdetect_jax.detectors import DETECTORS, make_detector
from fdetect_jax.detectors.efficientnet import (
    VARIANTS,
    EfficientNet,
    EfficientNetConfig,
    MBConv,
    drop_connect,
)
from fdetect_jax.types import feature_maps

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from random_weights import random_array, random_images  # noqa: E402

TINY = EfficientNetConfig(
    stages=((1, 3, 1, 1, 8), (2, 3, 2, 2, 16)), stem=8, head=16, normalization="none", dropout=0.0
)


def count(tree) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def vary(**fields):
    """TINY with other fields."""
    return dataclasses.replace(TINY, **fields)


def start(module, images):
    return jax.jit(module.init)(jax.random.key(0), images)


def evaluate(module, variables, images):
    return jax.jit(module.apply)(variables, images)


def train(module, variables, images, seed=0):
    """(outputs, new batch statistics) of one pass in training mode."""
    apply = jax.jit(partial(module.apply, train=True, mutable=["batch_stats"]))
    outputs, updated = apply(variables, images, rngs={"dropout": jax.random.key(seed)})
    return outputs, updated.get("batch_stats", {})


def inside_stem(module, variables, images):
    """What the stem's convolution gives to its BatchNorm."""
    apply = partial(module.apply, capture_intermediates=True, mutable=["intermediates"])
    return jax.jit(apply)(variables, images)[1]["intermediates"]["conv_stem"]["__call__"][0]


def shapes(module, size=64):
    return jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 3)))


@pytest.mark.parametrize(
    ("name", "classes", "parameters", "statistics"),
    [
        ("efficientnet_b0", 1000, 5_288_548, 42_016),
        ("efficientnet_b4", 1000, 19_341_616, 125_200),
        ("efficientnet_b4", 2, 17_552_202, 125_200),
    ],
)
def test_sizes(name, classes, parameters, statistics):
    variables = shapes(make_detector(name, {"num_classes": classes}))
    assert count(variables["params"]) == parameters
    assert count(variables["batch_stats"]) == statistics


def test_b4_architecture():
    config = VARIANTS["b4"]
    blocks = config.blocks()
    assert config.channels(config.stem) == 48
    assert config.channels(config.head) == 1792
    starts = {stage: [i for i, block in enumerate(blocks) if block.stage == stage] for stage in range(1, 8)}
    assert [(min(i), max(i)) for i in starts.values()] == [
        (0, 1), (2, 5), (6, 9), (10, 15), (16, 21), (22, 29), (30, 31),
    ]  # fmt: skip
    assert [blocks[max(i)].outputs for i in starts.values()] == [24, 32, 56, 112, 160, 272, 448]
    assert blocks[0].drop == 0.0
    assert blocks[31].drop == pytest.approx(0.19375)


def test_b4_stage_shapes():
    module = make_detector("efficientnet_b4")
    variables = shapes(module)
    outputs = jax.eval_shape(module.apply, variables, jax.ShapeDtypeStruct((1, 380, 380, 3), jnp.float32))
    found = {name: feature.shape[1:] for name, feature in feature_maps(outputs).items()}
    sides = [190, 190, 95, 48, 24, 24, 12, 12, 12]
    channels = [48, 24, 32, 56, 112, 160, 272, 448, 1792]
    names = ["stem", *(f"stage{i}" for i in range(1, 8)), "head"]
    assert found == {n: (s, s, c) for n, s, c in zip(names, sides, channels, strict=True)}
    assert outputs.heads["embedding"].shape == (1, 1792)


def test_paddings_of_b4():
    dynamic = VARIANTS["b4"]
    static = EfficientNetConfig(width=1.4, depth=1.8, static_padding_size=380)
    pads = dynamic.paddings(380)
    # Index 0 is the stem, b + 1 is block b.
    assert {i: pads[i] for i in (0, 3, 7, 11, 23)} == {
        0: (0, 1),
        3: (0, 1),
        7: (2, 2),
        11: (0, 1),
        23: (1, 2),
    }
    assert all(
        pad == ((block.kernel - 1) // 2,) * 2
        for pad, block in zip(pads[1:], dynamic.blocks(), strict=True)
        if block.stride == 1
    )
    assert static.paddings(380) == pads
    assert static.paddings(224) == pads
    differ = [i for i, (a, b) in enumerate(zip(static.paddings(224), dynamic.paddings(224), strict=True)) if a != b]
    assert differ == [7]
    assert dynamic.paddings(224)[7] == (1, 2)


def test_static_padding_reaches_the_network():
    images = jnp.asarray(random_images(0, 1, 18))
    variables = start(EfficientNet(TINY), images)
    wanted = evaluate(EfficientNet(TINY), variables, images).logits
    found = [evaluate(EfficientNet(vary(static_padding_size=n)), variables, images).logits for n in (18, 17)]
    np.testing.assert_array_equal(found[0], wanted)
    assert jnp.max(jnp.abs(found[1] - wanted)) > 1e-4


def test_drop_connect_scales_whole_samples():
    x = jnp.ones((4000, 2, 2, 3))
    y = drop_connect(x, 0.2, jax.random.key(0))
    flat = y.reshape(4000, -1)
    kept = flat[:, 0] > 0
    np.testing.assert_array_equal(flat, jnp.where(kept[:, None], 1 / 0.8, 0.0) * jnp.ones_like(flat))
    assert float(kept.mean()) == pytest.approx(0.8, abs=0.02)


def test_drop_connect_acts_in_training_only():
    dropping, without = EfficientNet(vary(drop_connect=0.9)), EfficientNet(vary(drop_connect=0.0))
    images = jnp.asarray(random_images(0, 4, 16))
    variables = start(dropping, images)
    one, again, other = (train(dropping, variables, images, seed)[0].logits for seed in (1, 1, 2))
    np.testing.assert_array_equal(one, again)
    assert jnp.max(jnp.abs(one - other)) > 1e-3
    one, other = (train(without, variables, images, seed)[0].logits for seed in (1, 2))
    np.testing.assert_array_equal(one, other)
    one, other = (evaluate(module, variables, images).logits for module in (dropping, without))
    np.testing.assert_array_equal(one, other)


def test_dropout_spares_the_embedding():
    module = EfficientNet(vary(dropout=0.5, drop_connect=0.0))
    images = jnp.asarray(random_images(0, 4, 16))
    variables = start(module, images)
    a, b = (train(module, variables, images, seed)[0] for seed in (1, 2))
    np.testing.assert_array_equal(a.heads["embedding"], b.heads["embedding"])
    assert jnp.max(jnp.abs(a.logits - b.logits)) > 1e-3


@pytest.mark.parametrize("decay", [0.99, 0.9])
def test_running_statistics_decay(decay):
    module = EfficientNet(vary(bn_momentum=decay))
    images = jnp.asarray(random_images(0, 4, 16))
    variables = start(module, images)
    found = train(module, variables, images)[1]["bn0"]
    batch = inside_stem(module, variables, images)
    np.testing.assert_allclose(found["mean"], (1 - decay) * batch.mean((0, 1, 2)), atol=1e-6)
    np.testing.assert_allclose(found["var"], decay + (1 - decay) * batch.var((0, 1, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    ("normalization", "mean", "deviation"),
    [
        ("imagenet", [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ("half", [0.5, 0.5, 0.5], [0.5, 0.5, 0.5]),
        ("none", [0, 0, 0], [1, 1, 1]),
    ],
)
def test_normalises_once(normalization, mean, deviation):
    """A flat colour leaves the stem's inside as its normalised value times the kernel's sum."""
    module = EfficientNet(vary(normalization=normalization))
    colour = np.array([0.2, 0.5, 0.7], np.float32)
    images = jnp.broadcast_to(colour, (1, 16, 16, 3))
    variables = start(module, images)
    kernel = variables["params"]["conv_stem"]["kernel"]
    wanted = ((colour - np.array(mean)) / np.array(deviation)) @ kernel.sum((0, 1))
    np.testing.assert_allclose(inside_stem(module, variables, images)[0, 4, 4], wanted, atol=1e-5)


def test_bytes_give_what_floats_give():
    images = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), np.uint8)
    module = EfficientNet(TINY)
    variables = start(module, images)
    found, wanted = (evaluate(module, variables, x).logits for x in (images, images / np.float32(255)))
    np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_half_precision_keeps_parameters_and_logits():
    images = jnp.asarray(random_images(0, 4, 16))
    module = EfficientNet(TINY, dtype=jnp.bfloat16)
    variables = start(module, images)
    outputs, statistics = train(module, variables, images)
    assert {leaf.dtype for leaf in jax.tree.leaves((variables, statistics))} == {jnp.dtype("float32")}
    assert outputs.logits.dtype == outputs.heads["embedding"].dtype == jnp.float32
    assert {feature.dtype for feature in feature_maps(outputs).values()} == {jnp.dtype("bfloat16")}
    found, wanted = (evaluate(m, variables, images).heads["embedding"] for m in (module, EfficientNet(TINY)))
    np.testing.assert_allclose(found, wanted, atol=0.03 * float(jnp.abs(wanted).max()))


def test_statistics_over_a_mapped_axis():
    """Two halves that share their statistics make the whole batch's; two that do not, do not."""
    images = jnp.asarray(random_images(0, 4, 16)) * jnp.array([0.2, 0.5, 0.8, 1.0])[:, None, None, None]
    config = vary(drop_connect=0.0)
    variables = start(EfficientNet(config), images)
    halves = images.reshape(2, 2, 16, 16, 3)

    def variance(images, axis_name):
        return train(EfficientNet(config, axis_name), variables, images)[1]["bn1"]["var"]

    wanted = variance(images, None)
    shared = jax.vmap(lambda x: variance(x, "data"), axis_name="data")(halves)
    np.testing.assert_allclose(shared, jnp.stack([wanted, wanted]), rtol=1e-4)
    alone = jax.vmap(lambda x: variance(x, None), axis_name="data")(halves)
    assert jnp.max(jnp.abs(alone - wanted[None])) > 1e-4


def test_initial_weights():
    config = EfficientNetConfig(stages=((1, 5, 2, 4, 64),), stem=128, head=1280, num_classes=100)
    params = start(EfficientNet(config), jnp.zeros((1, 8, 8, 3)))["params"]
    block = params["blocks_0"]
    for kernel, deviation in (
        (params["conv_head"]["kernel"], np.sqrt(2 / 1280)),
        (block["expand_conv"]["kernel"], np.sqrt(2 / 512)),
        (block["depthwise_conv"]["kernel"], np.sqrt(2 / 25)),
        (block["se_expand"]["kernel"], np.sqrt(2 / 512)),
    ):
        assert float(kernel.std()) == pytest.approx(deviation, rel=0.05)
    # By fan-in: TensorFlow's 1/√outputs is made for a thousand classes, and gives two of them logits of several units.
    assert float(jnp.abs(params["fc"]["kernel"]).max()) == pytest.approx(1280**-0.5, rel=0.01)
    assert not jnp.any(params["fc"]["bias"])


@pytest.mark.parametrize("name", sorted(DETECTORS))
def test_registry_contract(name):
    """Of every width. Depth repeats blocks: half as many, of each kind and with skips, keep or break it alike."""
    small = {"depth": 0.5} if name.startswith("efficientnet_b") else {}
    sized = {"size": 64} if name.startswith("meso") or name in ("attribution", "fingerprints") else small
    fields = {"levels": (1, 2)} if name == "dsp_fwa" else sized
    module = make_detector(name, fields, None, jnp.bfloat16)
    images = jax.ShapeDtypeStruct((2, 64, 64, 3), jnp.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables["params"])} == {jnp.dtype("float32")}
    outputs, statistics = jax.eval_shape(partial(train, module), variables, images)
    assert (outputs.logits.shape, outputs.logits.dtype) == ((2, 2), jnp.float32)
    assert jax.tree.structure(statistics) == jax.tree.structure(variables.get("batch_stats", {}))


def test_overrides_reach_the_detector():
    module = make_detector("efficientnet_small64", {"dropout": 0.5, "num_classes": 3}, "data", jnp.bfloat16)
    assert (module.config.dropout, module.config.num_classes) == (0.5, 3)
    assert (module.axis_name, module.dtype) == ("data", jnp.bfloat16)
    assert module.config.stem_stride == 1


def test_unknown_detector():
    with pytest.raises(ValueError, match=r"detector\.name: found 'resnet', wanted one of .*efficientnet_b4"):
        make_detector("resnet")


@pytest.mark.parametrize(
    ("field", "found", "wanted"),
    [
        ("depht", 1.0, r"found 1\.0, .*'depth'"),
        ("dropout", 1.5, r"found 1\.5, wanted a number in \[0, 1\)"),
        ("bn_momentum", "0.9", r"found '0\.9', wanted a number"),
        ("stem", 0, r"found 0, wanted a whole number"),
        ("static_padding_size", 0, r"found 0, wanted a whole number of at least 1, or None"),
        ("normalization", "yuv", r"found 'yuv', wanted one of \['caffe', 'half', 'imagenet', 'lite', 'none'\]"),
        ("stages", ((1, 3, 1),), r"found \(\(1, 3, 1\),\), wanted rows of"),
    ],
)
def test_wrong_override(field, found, wanted):
    with pytest.raises(ValueError, match=rf"detector\.{field}: {wanted}"):
        make_detector("efficientnet_b0", {field: found})


def test_wrong_images():
    with pytest.raises(ValueError, match=r"found shape \(2, 3, 16, 16\), wanted \(B, H, W, 3\)"):
        EfficientNet(TINY).init(jax.random.key(0), jnp.zeros((2, 3, 16, 16)))


def test_conversion_round_trip():
    variables = start(EfficientNet(TINY), jnp.zeros((1, 16, 16, 3)))
    state = to_state("TINY", variables, rows(TINY))
    assert state["_blocks.1._depthwise_conv.weight"].shape == (16, 1, 3, 3)
    assert state["_blocks.1._se_reduce.weight"].shape == (2, 16, 1, 1)
    back = flatten_dict(from_state("TINY", state, rows(TINY)))
    wanted = flatten_dict(variables)
    chex.assert_trees_all_equal(back, wanted)


def test_conversion_names_wrong_keys():
    state = to_state("TINY", start(EfficientNet(TINY), jnp.zeros((1, 16, 16, 3))), rows(TINY))
    state["_fc.scale"] = state.pop("_fc.bias")
    with pytest.raises(ValueError, match=r"missing \['_fc\.bias'\], extra \['_fc\.scale'\]"):
        from_state("TINY", state, rows(TINY))


@pytest.mark.parametrize(
    "case", json.loads((GOLDEN / "efficientnet.json").read_text()), ids=lambda c: f"{c['name']}-{c['size']}"
)
def test_golden(case):
    """Every block and the logits agree with EfficientNet-PyTorch on the same weights and images."""
    config = dataclasses.replace(VARIANTS[case["name"]], static_padding_size=case["static"])
    module = EfficientNet(config)
    ours = {path: np.empty(array.shape, np.float32) for path, array in flatten_dict(shapes(module)).items()}
    state = {}
    for row in rows(config):
        shape = () if isinstance(row, Fixed) else row.layout.theirs(ours[row.path]).shape
        state[row.key] = random_array(row.key, shape)
    apply = partial(
        module.apply,
        capture_intermediates=lambda layer, _: isinstance(layer, MBConv),
        mutable=["intermediates"],
    )
    images = random_images(case["size"], case["batch"], case["size"])
    outputs, kept = jax.jit(apply)(from_state("golden", state, rows(config)), images)
    found = {
        name.replace("s_", ""): np.asarray(value["__call__"][0])
        for name, value in kept["intermediates"].items()
        if name.startswith("blocks_")
    }
    found["head"] = np.asarray(outputs.heads["features/head"])
    assert found.keys() == case["stages"].keys()
    for name, feature in found.items():
        numbers = [feature.mean(), feature.std(), *feature[0, 0, 0, :3], *feature[0, -1, -1, :3]]
        np.testing.assert_allclose(numbers, case["stages"][name], atol=1e-4 * feature.std(), err_msg=name)
    wanted = np.array(case["logits"])
    np.testing.assert_allclose(outputs.logits, wanted, atol=1e-4 * np.abs(wanted).max())


def test_remat_recomputes_every_block_and_changes_nothing():
    """The same gradient and running statistics."""
    images = random_images(3, 8, 32)

    def gradient(config):
        module = EfficientNet(config)

        def loss(params, stats):
            rngs = {"dropout": jax.random.key(1)}
            variables = {"params": params, "batch_stats": stats}
            outputs, changed = module.apply(variables, images, train=True, rngs=rngs, mutable=["batch_stats"])
            return jnp.sum(jnp.square(outputs.logits)), changed

        return jax.jit(jax.grad(loss, has_aux=True))

    variables = start(EfficientNet(TINY), jnp.zeros((1, 16, 16, 3)))
    arguments = variables["params"], variables["batch_stats"]
    plain, again = (gradient(dataclasses.replace(TINY, remat=remat)) for remat in (False, True))
    chex.assert_trees_all_close(plain(*arguments), again(*arguments), rtol=1e-3, atol=1e-4)
    recomputed = [str(jax.make_jaxpr(f)(*arguments)).count("prevent_cse=True") for f in (plain, again)]
    assert recomputed == [0, len(TINY.blocks())]
