"""DeepFD and its coupled form answer as the authors' graphs do, and train in two stages on pairs or triplets."""

import itertools
import json
import re
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict, unflatten_dict
from small import DATA, run
from tiny import save_pair

from configs import common
from configs import deepfd as shipped
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.deepfd import VARIANTS, colour_residual
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import heat
from fdetect_jax.losses.terms import contrastive, find_term
from fdetect_jax.losses.triplet import triplet
from fdetect_jax.train.writer import read_history
from fdetect_jax.types import Batch, Outputs, margin
from tests.golden.random_weights import deepfd_array, numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "deepfd.json").read_text())
SMALL = {"size": 19, "channels": (4, 4, 6), "blocks": (1, 1, 2), "features": 5, "init": "he"}
IMAGES = np.random.default_rng(0).integers(0, 256, (3, 19, 19, 3), np.uint8)
_KERNEL = {"kernel": "W", "bias": "B"}
_NORM = {"scale": "gamma", "bias": "beta", "mean": "moving_mean", "var": "moving_variance"}


def theirs(name, path):
    """The name in the authors' graph of the array at ``path``, collection first."""
    (where, *layer), entry = path[1:-1], path[-1]
    if where == "stem":
        return "ResNet/init" + ({"kernel": "Weight", "bias": "Bias"} if name == "deepfd_coupled" else _KERNEL)[entry]
    if where == "bn":
        return f"ResNet/Final/bnFinalBn/{_NORM[entry]}"
    if where in (heads := {"feature": "feat", "conv": "Final/FinalOutput", "fc": "Final/Final"}):
        return f"ResNet/{heads[where]}{_KERNEL[entry]}"
    kernel, number = map(int, re.fullmatch(r"trunk(\d)_block(\d\d)", where).groups())
    block = f"Residual{'' if kernel == 3 else kernel}Block{1 + number + (9 if kernel == 5 else 0)}"
    kind, place = layer[0][:-1], int(layer[0][-1])
    if kind == "bn":
        return f"ResNet/bn{block}{('First', 'Second')[place]}Bn/{_NORM[entry]}"
    return f"ResNet/{block}{('first', 'Second')[place]}_res{_KERNEL[entry]}"


def with_their_weights(name):
    """The network and the golden weights; their class 1 is real, ours 0."""
    module = make_detector(name)
    shapes = flatten_dict(dict(jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))))
    flat = {path: deepfd_array(theirs(name, path), leaf.shape) for path, leaf in shapes.items()}
    for layer, entry in itertools.product(("conv", "fc"), ("kernel", "bias")):
        flat["params", layer, entry] = flat["params", layer, entry][..., ::-1]
    flat["params", "fc", "kernel"] = flat["params", "fc", "kernel"][::-1]
    return module, unflatten_dict(flat)


@pytest.mark.parametrize("case", GOLDEN["networks"], ids=lambda case: case["name"])
def test_golden(case):
    """Made-up weights: every block, the feature, the logits and the map of classes, by the authors' code."""
    module, variables = with_their_weights(case["name"])
    images = random_images(4, case["batch"], 64)
    outputs = jax.jit(module.apply)(variables, images)
    names = ["stem", *sorted(name for name in outputs.heads if "_block" in name)]
    assert len(names) == len(case["stages"])
    for name, numbers in zip(names, case["stages"], strict=True):
        found = np.asarray(outputs.heads["features/" + name.removeprefix("features/")])
        np.testing.assert_allclose(numbers_of(found), numbers, rtol=2e-4, atol=2e-5, err_msg=name)
    np.testing.assert_allclose(outputs.heads["embedding"][:, :8], case["feature"], rtol=2e-4)
    np.testing.assert_allclose(outputs.logits[:, ::-1], case["logits"], rtol=2e-4)
    if case["saliency"] is not None:  # the larger channel: 1, real
        np.testing.assert_array_equal(outputs.heads["attention"][..., 0] < 0.5, np.array(case["saliency"]) == 1)
    outputs, _ = jax.jit(lambda v, x: module.apply(v, x, train=True, mutable=["batch_stats"]))(variables, images)
    np.testing.assert_allclose(outputs.heads["embedding"][:, :8], case["trained"]["feature"], rtol=2e-4)
    np.testing.assert_allclose(outputs.logits[:, ::-1], case["trained"]["logits"], rtol=2e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "params", "stats", "side"), [("deepfd", 3_776_296, 4_352, 3), ("deepfd_coupled", 6_900_744, 7_680, 3)]
)
def test_sizes_of_the_authors_networks(name, params, stats, side):
    module, images = make_detector(name), np.zeros((2, 64, 64, 3), np.float32)
    variables = jax.eval_shape(module.init, jax.random.key(0), images)
    count = {key: sum(leaf.size for leaf in jax.tree.leaves(tree)) for key, tree in variables.items()}
    assert count == {"params": params, "batch_stats": stats}
    heads = jax.eval_shape(module.apply, variables, images).heads
    assert heads["embedding"].shape == (2, 128)
    assert heads["attention"].shape == (2, side, side, 1)
    assert heads["features/trunk3_block00"].shape[:3] == (2, 15, 15)
    assert ("features/trunks" in heads) == (name == "deepfd_coupled")


def made(images=IMAGES, dtype=jnp.float32, **changes):
    module = make_detector("deepfd", SMALL | changes, dtype=dtype)
    return module, jax.jit(module.init)(jax.random.key(0), images)


def test_initial_weights():
    """The authors' truncated N(0, 1) also for biases, so that the feature begins as one 1; or scaled by the inputs."""
    _, variables = made(init="authors", channels=(8, 16, 32), features=64)
    for layer in ("stem", "feature", "conv"):
        both = variables["params"][layer]
        assert float(jnp.abs(both["kernel"]).max()) <= 2
        assert float(both["kernel"].std()) == pytest.approx(0.88, abs=0.05)  # of a unit Gaussian cut off at 2
        assert float(jnp.abs(both["bias"]).max()) > 0.5
    module, scaled = made(channels=(8, 16, 32), features=64)
    assert not jnp.any(scaled["params"]["stem"]["bias"])
    kernel = scaled["params"]["trunk3_block01"]["conv0"]["kernel"]
    assert float(kernel.std()) == pytest.approx((2 / (9 * kernel.shape[2])) ** 0.5, rel=0.1)
    largest = [jax.jit(module.apply)(v, IMAGES).heads["embedding"].max() for v in (variables, scaled)]
    assert largest[0] > 0.99 > 0.7 > largest[1]


def test_pixels_are_read_alike_and_the_computation_may_be_bfloat16():
    module, variables = made(num_classes=6)
    found = jax.jit(module.apply)(variables, IMAGES)
    np.testing.assert_allclose(found.heads["embedding"].sum(axis=1), 1.0, rtol=1e-5)
    as_floats = jax.jit(module.apply)(variables, IMAGES / np.float32(255))
    np.testing.assert_allclose(found.logits, as_floats.logits, rtol=1e-4, atol=1e-5)
    half = jax.jit(made(num_classes=6, dtype=jnp.bfloat16)[0].apply)(variables, IMAGES)
    assert half.logits.dtype == half.heads["embedding"].dtype == half.heads["attention"].dtype == jnp.float32
    np.testing.assert_allclose(half.logits, found.logits, atol=0.1)
    assert not np.array_equal(half.logits, found.logits)


def test_the_map_of_classes():
    """Of its logits by ``classes`` the mean over positions is the margin; it is also the heat map."""
    changes = {"channels": (4, 6), "blocks": (1, 1), "size": 32}
    images = random_images(0, 2, 32)
    module, variables = made(images, **changes, localisation="classes")
    outputs = jax.jit(module.apply)(variables, images)
    attention = outputs.heads["attention"]
    assert attention.shape == (2, 3, 3, 1)
    logits = jnp.log(attention / (1 - attention)).mean(axis=(1, 2, 3))
    np.testing.assert_allclose(logits, margin(outputs.logits), rtol=1e-3, atol=1e-5)
    channels, _ = made(images, **changes)
    assert not np.allclose(jax.jit(channels.apply)(variables, images).heads["attention"], attention)
    np.testing.assert_allclose(heat(jax.jit(module.apply), variables, images), attention[..., 0], rtol=1e-6)


def test_residual_of_the_colour():
    images = np.random.default_rng(1).integers(0, 256, (2, 6, 5, 3)).astype(np.float32)
    images[1] = np.tile(np.linspace(0, 250, 5)[None, :, None], (6, 1, 3)).round()  # grey
    images[0, :3] = images[0, 3:] = 100 + images[0, :3] / 64  # smooth enough not to be cut off everywhere
    images = images.round()
    found = np.asarray(jax.jit(colour_residual)(images / 255))
    r, g, b = np.moveaxis(images, -1, 0)
    luma = 0.299 * r + 0.587 * g + 0.114 * b
    for channel, difference in enumerate(((b - luma) / 1.772, (r - luma) / 1.402)):
        padded = np.pad(difference, ((0, 0), (1, 1), (1, 1)), "edge")
        across = 2 * padded[:, :, 1:-1] - padded[:, :, :-2] - padded[:, :, 2:]
        both = 2 * across[:, 1:-1] - across[:, :-2] - across[:, 2:]
        np.testing.assert_allclose(found[..., channel], np.clip(-both / 4, -2, 2), atol=2e-3)
    assert 0 < np.mean(np.abs(found[0]) == 2) < 0.5
    np.testing.assert_allclose(found[1], 0, atol=2e-3)
    # What a generator renders is not rounded; that alone must not give it away. The gradient passes.
    unrounded = (images + 0.3 * np.random.default_rng(2).uniform(-1, 1, images.shape)) / 255
    np.testing.assert_allclose(colour_residual(jnp.asarray(unrounded, jnp.float32)), found, atol=2e-3)
    assert np.abs(jax.grad(lambda x: colour_residual(x)[0].sum())(images / 255)).max() > 1


def test_a_detector_that_sees_the_colour_alone():
    module, variables = made(residual="colour")
    assert variables["params"]["stem"]["kernel"].shape == (7, 7, 2, 4)
    found = jax.jit(module.apply)(variables, IMAGES)
    as_floats = jax.jit(module.apply)(variables, IMAGES / np.float32(255))
    np.testing.assert_allclose(found.logits, as_floats.logits, rtol=1e-4, atol=1e-4)
    grey = jnp.broadcast_to(jnp.asarray(IMAGES)[..., :1], IMAGES.shape)
    logits = jax.jit(module.apply)(variables, grey).logits
    np.testing.assert_allclose(logits, jnp.broadcast_to(logits[:1], logits.shape), atol=2e-3)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("size", 18, "a whole number of at least 19"),
        ("channels", (4, 2, 6), "none below the one before it"),
        ("channels", (0, 2, 6), "whole numbers of at least 1"),
        ("blocks", (1, 1), "one number for each of"),
        ("kernels", (4,), "odd numbers, each once"),
        ("kernels", (3, 3), "odd numbers, each once"),
        ("features", 0, "a whole number of at least 1"),
        ("num_classes", 1, "a whole number of at least 2"),
        ("init", "zeros", "one of"),
        ("residual", "grey", "one of"),
        ("localisation", "pixels", "one of"),
        ("bn_momentum", 1.0, r"a number in \[0, 1\)"),
        ("bn_epsilon", 0.0, "a number above 0"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {re.escape(repr(value))}.*wanted {wanted}"):
        make_detector("deepfd", SMALL | {field: value})


def test_images_of_another_size_are_refused():
    with pytest.raises(UserError, match=r"detector\.size: found 64 with images of 19 x 19"):
        jax.eval_shape(make_detector("deepfd").init, jax.random.key(0), IMAGES)


def rows(feature, label, weight=None):
    weight = np.ones(len(label), np.float32) if weight is None else np.asarray(weight, np.float32)
    batch = Batch(np.zeros((len(label), 1, 1, 3)), np.asarray(label), weight)
    return Outputs(jnp.zeros((len(label), 2)), {"embedding": jnp.asarray(feature)}), batch


def test_all_pairs_of_a_batch_are_the_authors_list():
    """Their loss of a list of which half the pairs are equal, P from the pair: P·D² + (1 − P)·max(0, 0.5 − D)²."""
    feature = np.asarray(jax.nn.softmax(0.7 * random_array("pairs", (8, 5)) / np.sqrt(1 / 5)))
    label = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    costs = {True: [], False: []}
    for i, j in itertools.permutations(range(8), 2):
        apart = np.sum(np.square(feature[i] - feature[j]))
        same = bool(label[i] == label[j])
        costs[same].append(apart if same else max(0.0, 0.5 - np.sqrt(apart + 1e-10)) ** 2)
    wanted = 0.5 * np.mean(costs[True]) + 0.5 * np.mean(costs[False])
    assert np.mean(costs[False]) > 0
    found = contrastive(*rows(feature, label), margin=0.5, pairs="all", normalize=False)
    np.testing.assert_allclose(jnp.mean(found), wanted, rtol=1e-5)


def test_the_triplet_loss_is_the_authors():
    label, feature = np.array([1, 0, 0, 1, 1, 0, 1]), random_array("triplet", (7, 4))
    for squared, name in ((False, "distance"), (True, "squared")):
        found = triplet(*rows(feature, label), margin=0.8, squared=squared)
        np.testing.assert_allclose(jnp.mean(found), GOLDEN["triplet"][name], rtol=1e-5)


def test_rows_that_only_pad_are_in_no_triplet():
    feature = np.array([[0.0], [0.1], [1.0], [5.0], [0.05]], np.float32)
    found = triplet(*rows(feature, [0, 0, 1, 0, 1], [1, 1, 1, 0, 0]), margin=1.0)
    np.testing.assert_allclose(found[:3], [0.1 - 1.0 + 1.0, 0.1 - 0.9 + 1.0, 0.0 - 0.9 + 1.0], rtol=1e-5)
    assert not jnp.any(triplet(*rows(feature, [0] * 5)))  # nobody to be far from
    gradient = jax.grad(lambda f: triplet(*rows(f, [0, 0, 1, 1])).sum())(np.zeros((4, 3), np.float32))
    assert jnp.all(jnp.isfinite(gradient))


def test_triplets_part_the_classes():
    def loss(feature):
        return triplet(*rows(feature, [0, 1, 0, 1])).mean()

    feature, down = jnp.asarray(random_array("apart", (4, 3), 0.1)), jax.jit(jax.value_and_grad(loss))
    first, _ = down(feature)
    for _ in range(50):
        value, gradient = down(feature)
        feature = feature - 0.5 * gradient
    assert value < 1e-3 < 0.5 < first


@pytest.mark.parametrize(("field", "value"), [("margin", 0.0), ("squared", "yes")])
def test_wrong_options_of_the_triplet_loss(field, value):
    with pytest.raises(UserError, match=rf"losses\.triplet\.{field}: found {value!r}"):
        find_term("triplet").check({"margin": 0.8, "squared": False} | {field: value}, "losses.triplet")


def test_a_run_in_two_stages(tmp_path):
    """The feature learns first, here from pairs and triplets; then the classifier. Tested is a generator's samples."""
    config = shipped.get_config()
    config.update(data=DATA, steps=6, batch_size=8, log_every=1, checkpoint_every=6)
    config.detector.overrides = SMALL | {"size": DATA["size"], "bn_momentum": 0.9}
    config.evaluation.update(batch_size=4, limit=4, calibrate=False)
    config.evaluation.skip = ("latent", "swap", "sbi", "fwa", "composite", "resample")
    config.optimizer.learning_rate = 0.01
    config.losses.triplet = {"weight": 0.5, "margin": 0.8, "squared": False}
    first, second = (dict(stage) for stage in config.objective.stages)
    pairs = {**first, "share": 0.5, "terms": ("contrastive", "triplet")}
    config.objective.stages = (pairs, {**second, "share": 0.5})
    (name, samples), *_ = common.samples().items()
    samples["inverter"] = str(save_pair(tmp_path / "pair"))
    config.forgery = {"mix": {name: 1.0}, name: samples}
    config.evaluation.forgeries = {name: samples}
    assert list(run(config, tmp_path)["tests"]) == [name]
    history = read_history(tmp_path)
    loss = {name: np.array([row[f"loss/{name}"] for row in history]) for name in (*pairs["terms"], *second["terms"])}
    first_stage = loss["contrastive"] + 0.5 * loss["triplet"]
    wanted = [*first_stage[:3], *loss["cross_entropy"][3:]]
    np.testing.assert_allclose([row["loss/total"] for row in history], wanted, rtol=1e-5)
    assert np.isfinite(wanted).all()
    page = (tmp_path / "report.html").read_text()
    assert page.count('<div class="name">fake</div>') == 1  # pictures of the test, for no host forgery is known


def test_every_generator_is_left_out_once():
    config = shipped.get_config("leave_one_out")
    left_out = [config.variants[row].forgery.mix.to_dict() for row in config.rows]
    assert left_out == [{f"{name}_samples": 0.0} for name in common.GENERATORS]
    assert [config.forgery.mix[name] for names in left_out for name in names] == [1.0] * 4
    paper = shipped.get_config("paper")
    assert (paper.steps, paper.batch_size, paper.optimizer.staircase.every / paper.steps) == (180_555, 16, 0.2)
    assert [round(15 * stage["share"]) for stage in paper.objective.stages] == [2, 13]
    assert set(VARIANTS) == {case["name"] for case in GOLDEN["networks"]}
