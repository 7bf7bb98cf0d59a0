"""Capsule-Forensics answers as the authors' code does in both forms, and trains with its loss and a fixed trunk."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

from configs import capsule as config_file
from fdetect_jax import weights
from fdetect_jax.convert.capsule import convert as convert_found
from fdetect_jax.convert.checkpoint import read_checkpoint
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.convert.vgg import trunk_rows
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.capsule import CapsuleConfig, Routing, route, squash, statistics
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.losses.terms import TERMS
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history
from fdetect_jax.types import KINDS, Batch, Outputs, margin
from tests.golden.random_weights import numbers_of, random_array, random_images
from tests.small import DATA, run, without_generator

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "capsule.json").read_text())
SHARED = Path(os.environ.get("FDETECT_SHARED", Path(__file__).parents[3] / "shared")) / "weights" / "capsule_v1"
PREFIX = {"capsule_v1": ("fea_ext.ext_{}", 1), "capsule_v2": ("fea_ext.capsules.{}", 0)}
NORMS = {"1": 64, "4": 16, "8": 8, "10": 1}
CAPSULE = {"0.weight": (64, 256, 3, 3), "0.bias": (64,), "3.weight": (16, 64, 3, 3), "3.bias": (16,)}
CAPSULE |= {"7.weight": (8, 2, 5), "7.bias": (8,), "9.weight": (1, 8, 3), "9.bias": (1,)}
CAPSULE |= {f"{n}.{e}": (c,) for n, c in NORMS.items() for e in ("weight", "bias", "running_mean", "running_var")}
SMALL = {"width": 1 / 16, "capsules": 2}


def random_state(name, classes, capsules):
    """The authors' state dict, made up as the original's was."""
    prefix, first = PREFIX[name]
    keys = {f"{prefix.format(n + first)}.{key}": shape for n in range(capsules) for key, shape in CAPSULE.items()}
    state = {key: random_array(key, shape, 1.4) for key, shape in keys.items()}
    route = "routing_stats.route_weights"
    return state | {route: random_array(route, (classes, capsules, 4, 8), None)}


@pytest.fixture(scope="module")
def trunk(tmp_path_factory):
    """A file with a made-up VGG-19 up to the third pool."""
    shapes = jax.eval_shape(make_detector("capsule_v2").init, jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))
    wanted, state = flatten_dict(shapes), {}
    for row in trunk_rows("vgg19", "pool3"):
        shape = row.layout.theirs(np.empty(wanted[row.path].shape, bool)).shape
        state[row.key] = random_array(row.key, shape, 1.4)
    path = tmp_path_factory.mktemp("trunk") / "vgg19.safetensors"
    save_file(state, path)
    return path


@pytest.fixture(params=GOLDEN, ids=lambda one: f"{one['name']}-{one['classes']}-{one['authors'] and 'authors'}")
def case(request, trunk, tmp_path):
    """A case of the original, with our module and its variables."""
    case, file = request.param, tmp_path / "in.safetensors"
    if case["authors"]:
        file = SHARED / "deepfakes_capsule_95.pt"
        if not file.is_file():
            pytest.skip("the authors' weights are not here")
    else:
        save_file(random_state(case["name"], case["classes"], {"capsule_v1": 3, "capsule_v2": 10}[case["name"]]), file)
    config, variables, layout = convert_found(read_checkpoint(file), trunk)
    assert (config["name"], layout) == (case["name"], "real_1" if case["name"] == "capsule_v1" else "real_0")
    return case | {"module": make_detector(case["name"], config["overrides"]), "variables": variables}


def numbers(x):
    flat = np.asarray(x).reshape(-1)
    return [flat.mean(), flat.std(), *flat[:3], *flat[-3:]]


def stages(module, variables, images, train):
    """Outputs, and every stage in the original's order of axes, the capsules first."""
    kept, n = ["intermediates", "batch_stats"], module.config.capsules
    outputs, found = jax.jit(
        lambda v, x: module.apply(
            v, x, train, capture_intermediates=True, mutable=kept, rngs={"dropout": jax.random.key(0)}
        )
    )(variables, images)
    norms = [found["intermediates"]["capsules"][f"bn{number}"]["__call__"][0] for number in range(4)]
    maps = [jax.nn.relu(x).reshape(*x.shape[:3], n, -1).transpose(3, 0, 4, 1, 2) for x in norms[:2]]
    measured = statistics(outputs.heads["features/primary"])
    return outputs, {
        "map0": maps[0],
        "map1": maps[1],
        "statistics": measured.reshape(measured.shape[0], n, -1, 2).transpose(1, 0, 3, 2),
        "hidden": norms[2].reshape(*norms[2].shape[:2], n, -1).transpose(2, 0, 3, 1),
        "places": norms[3].transpose(2, 0, 1),
        "primary": outputs.heads["embedding"],
    }


def theirs(case, x):
    """Values by class (…, C), in the original's order: version 1 has the fake class first."""
    return np.asarray(x)[..., ::-1] if case["name"] == "capsule_v1" else np.asarray(x)


@pytest.mark.parametrize("form", ["eval", "train"])
def test_golden(case, form):
    """Every stage, the routed capsules, the classes' scores and the loss; in training with the original's noise."""
    module, variables, wanted = case["module"], case["variables"], case[form]
    images = random_images(6, case["batch"], case["size"])
    outputs, found = stages(module, variables, images, form == "train")
    np.testing.assert_allclose(numbers_of(np.asarray(outputs.heads["features/pool3"])), case["trunk"], rtol=2e-4)
    for name, values in wanted["stages"].items():
        np.testing.assert_allclose(numbers(found[name]), values, rtol=2e-4, atol=2e-4, err_msg=name)
    if form == "eval":
        z, logits = outputs.heads["capsules"], outputs.logits
        if module.config.softmaxed:
            np.testing.assert_allclose(theirs(case, z), jax.nn.softmax(np.array(wanted["z"]), -1), rtol=2e-4)
        else:
            np.testing.assert_allclose(theirs(case, z), wanted["z"], rtol=2e-4, atol=1e-4)
        np.testing.assert_allclose(theirs(case, jnp.exp(logits)), wanted["score"], rtol=2e-4)
        np.testing.assert_allclose(loss_of(case, outputs), wanted["loss"], rtol=1e-4)
        return
    kernel = variables["params"]["fc"]["kernel"]
    noise = random_array("noise", kernel.shape, None)
    turn = slice(None, None, -1 if case["name"] == "capsule_v1" else None)
    shape = (case["batch"], *kernel.shape[:3])
    kept = np.random.default_rng(11).uniform(size=shape) < 0.95 if case["name"] == "capsule_v2" else np.ones(shape)
    primary = outputs.heads["embedding"].reshape(case["batch"], 8, -1)
    z = route(primary, kernel + module.config.noise * noise[turn], 2, kept.astype(np.float32))
    np.testing.assert_allclose(theirs(case, z), wanted["z"], rtol=5e-4, atol=3e-4)


def loss_of(case, outputs):
    """The terms' values, of the labels that the original was given; version 1 has them the other way round."""
    classes = np.array([1, 0, case["classes"] - 1], np.int32)
    classes = 1 - classes if case["name"] == "capsule_v1" else classes
    batch = Batch(np.zeros((3, 1)), (classes > 0).astype(np.int32), np.ones(3), {"method": classes, "kind": classes})
    names = ["capsule_methods", "capsule_kinds"] + ["capsule"] * (case["classes"] == 2)
    return [TERMS[name].function(outputs, batch).mean() for name in names]


def test_the_loss_of_real_and_fake_takes_all_fakes_together():
    values = jnp.asarray(random_array("values", (2, 4, 5), None))
    outputs = Outputs(jnp.zeros((2, 5)), {"capsules": values})
    batch = Batch(np.zeros((2, 1)), np.array([0, 1]), np.ones(2), {"method": np.array([0, -1])})
    p = np.asarray(jax.nn.softmax(values, axis=-1))
    wanted = -np.log([p[0, :, 0], 1 - p[1, :, 0]]).sum(axis=1)
    for name in ("capsule", "capsule_methods"):  # a fake of unknown method
        assert TERMS[name].heads == ("capsules",)
        np.testing.assert_allclose(TERMS[name].function(outputs, batch), wanted, rtol=1e-5)


@pytest.mark.parametrize(("name", "count"), [("capsule_v1", 471_321), ("capsule_v2", 1_571_070)])
def test_numbers_of_parameters_are_the_authors(name, count):
    module = make_detector(name)
    params = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 300, 300, 3), np.float32))["params"]
    own = {layer: tree for layer, tree in params.items() if not layer.startswith("vgg19")}
    assert list(own) == ["capsules", "fc"]
    assert sum(leaf.size for leaf in jax.tree.leaves(own)) == count


def test_noise_and_dropout_come_with_training_alone():
    """Dropped predictions are zero and the others stay as they are: with one iteration their mean is 1 − p times."""
    x = jnp.asarray(random_array("x", (1, 8, 5)))
    plain = Routing(CapsuleConfig(5, iterations=1, noise=0.0, dropout=0.0))
    variables = plain.init(jax.random.key(0), x, False)

    def drawn(count, **fields):
        module = Routing(CapsuleConfig(5, iterations=1, **fields))

        @jax.jit
        @jax.vmap
        def one(seed):
            found = module.apply(variables, x, True, rngs={"dropout": jax.random.key(seed)})
            length = jnp.sqrt(jnp.sum(found**2, axis=1, keepdims=True))  # n² / (1 + n²), back to n
            return found / length * jnp.sqrt(length / (1 - length))

        return one(jnp.arange(count))

    (wanted,) = drawn(1, noise=0.0, dropout=0.0)
    np.testing.assert_allclose(squash(wanted, 1), plain.apply(variables, x, False), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(drawn(4000, noise=0.0, dropout=0.4).mean(axis=0), 0.6 * wanted, atol=0.02)
    noisy = drawn(2000, noise=0.1, dropout=0.0)
    np.testing.assert_allclose(noisy.std(axis=0), 0.1 * np.linalg.norm(x) / 5, rtol=0.1)


def test_a_channel_of_zeros_has_a_gradient():
    x = jnp.asarray(np.random.default_rng(0).standard_normal((2, 3, 4, 2)).astype(np.float32)).at[..., 1].set(0)
    np.testing.assert_allclose(statistics(x)[..., 0, 1], np.std(x[..., 0], axis=(1, 2), ddof=1), rtol=1e-5)
    gradient = jax.jit(jax.grad(lambda x: jnp.sum(squash(statistics(x), 1))))(x)
    assert np.isfinite(gradient).all()


def test_pixels_are_read_alike_and_small_images_are_refused():
    module = make_detector("capsule_v1", SMALL | {"num_classes": 6}, dtype=jnp.bfloat16)
    images = np.random.default_rng(0).integers(0, 256, (2, 24, 32, 3), np.uint8)
    variables = jax.jit(module.init)(jax.random.key(0), images)
    apply = jax.jit(module.apply)
    found = apply(variables, images)
    assert (found.logits.shape, found.logits.dtype, found.heads["embedding"].shape) == ((2, 6), jnp.float32, (2, 16))
    assert found.heads["features/primary"].dtype == jnp.bfloat16
    np.testing.assert_allclose(jax.nn.logsumexp(found.logits, axis=-1), 0, atol=1e-6)
    np.testing.assert_allclose(
        margin(found.logits), margin(apply(variables, images / np.float32(255)).logits), atol=2e-2
    )
    assert jax.jit(grad_cam, static_argnums=0)(module.apply, variables, images).shape == (2, 3, 4)
    for size in ((7, 32), (15, 15)):
        with pytest.raises(UserError, match=f"found {size[0]} x {size[1]}, wanted"):
            jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, *size, 3), np.float32))


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("capsules", 0, "a whole number of at least 1"),
        ("iterations", 0, "a whole number of at least 1"),
        ("num_classes", 1, "a whole number of at least 2"),
        ("noise", -0.1, "a number of at least 0"),
        ("dropout", 1.0, r"a number in \[0, 1\)"),
        ("softmaxed", 1, "true or false"),
        ("width", 0, "a number of at least 1/64"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found {value}.*wanted {wanted}"):
        make_detector("capsule_v2", {field: value})


def test_there_and_back(trunk, tmp_path):
    """The trunk's file is named among the notes, and class 1 of the original is the real one if it is said so."""
    state = random_state("capsule_v2", 2, 3)
    updates = {f"{key}.num_batches_tracked": np.zeros((), np.int64) for key in _norms("capsule_v2", 3)}
    save_file(state | updates, tmp_path / "in.safetensors")
    convert("capsule", tmp_path / "in.safetensors", tmp_path / "out.safetensors", trunk=trunk, real_class="1")
    config, variables, metadata = weights.read(tmp_path / "out.safetensors")
    assert config == {"name": "capsule_v2", "overrides": {"capsules": 3, "num_classes": 2, "width": 1.0}}
    assert (metadata["layout"], metadata["size"], metadata["trunk_source"]) == ("real_1", "300", "vgg19.safetensors")
    kernel = variables["params"]["fc"]["kernel"]
    np.testing.assert_array_equal(kernel, state["routing_stats.route_weights"][::-1])
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys() | updates.keys()
    for key, value in (state | updates).items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def _norms(name, capsules):
    prefix, first = PREFIX[name]
    return [f"{prefix.format(n + first)}.{norm}" for n in range(capsules) for norm in NORMS]


@pytest.mark.parametrize(
    ("change", "options", "wanted"),
    [
        (lambda state: {}, {}, r"found keys \['other'\] …, wanted Capsule-Forensics'"),
        (lambda state: state | {"fea_ext.capsules.5.0.bias": np.zeros(64, np.float32)}, {}, r"missing \['fea_ext"),
        (lambda state: state, {"real_class": "1"}, "real_class: found 1 of 3 classes"),
        (
            lambda state: state | {"fea_ext.capsules.1.3.bias": np.zeros((2, 8), np.float32)},
            {},
            "found capsules of different shapes",
        ),
        (
            lambda state: state | {"fea_ext.capsules.1.3.bias": np.zeros(8, np.float32)},
            {},
            "wrong shapes: params/capsules/conv1/bias",
        ),
    ],
)
def test_what_is_no_capsule_network_is_refused(change, options, wanted, trunk, tmp_path):
    state = change(random_state("capsule_v2", 3, 2)) or {"other": np.zeros(2, np.float32)}
    save_file(state, tmp_path / "in.safetensors")
    with pytest.raises(CheckpointError, match=wanted):
        convert_found(read_checkpoint(tmp_path / "in.safetensors"), trunk, **options)


def test_a_trunk_that_is_none_is_named(tmp_path):
    for name, state in (("in", random_state("capsule_v2", 2, 1)), ("trunk", {"features.0.bias": np.zeros(64)})):
        save_file({key: value.astype(np.float32) for key, value in state.items()}, tmp_path / f"{name}.safetensors")
    with pytest.raises(CheckpointError, match=r"trunk\.safetensors: state dict of VGG-19: missing"):
        convert_found(read_checkpoint(tmp_path / "in.safetensors"), tmp_path / "trunk.safetensors")


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not here")
def test_the_authors_file_comes_back(trunk, tmp_path):
    source = SHARED / "deepfakes_capsule_95.pt"
    convert("capsule", source, tmp_path / "out.safetensors", trunk=trunk)
    assert weights.describe(tmp_path / "out.safetensors")[1]["size"] == "128"
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    back, found = load_file(tmp_path / "back.safetensors"), read_checkpoint(source)
    assert {key for key in back if not key.endswith("num_batches_tracked")} == found.keys()
    for key, value in found.items():
        np.testing.assert_array_equal(back[key], value.array(), err_msg=key)


def small(terms, **overrides):
    """The shipped config, shrunk; a mix of five forgeries, so that methods and kinds have as many classes."""
    config = without_generator(config_file.get_config())
    config.update(data=DATA, steps=3, batch_size=20, log_every=1, checkpoint_every=3)
    config.detector.overrides = SMALL | overrides
    config.evaluation.update(batch_size=4, limit=4, calibrate=False, skip=("sbi", "fwa", "composite", "resample"))
    config.forgery.mix.update(reconstruction=0.0, swap=1.0, composite=1.0, resample=1.0, sbi=1.0, fwa=1.0)
    config.losses = {"capsule": {"weight": 0.0}} | {term: {"weight": 1.0} for term in terms}
    return config


def test_a_run_leaves_the_trunk_as_it_is(tmp_path):
    """With the patterns of the shipped config; every term of the capsules is trained."""
    terms = ("capsule", "capsule_kinds", "capsule_methods")
    config = small(terms, num_classes=len(KINDS))
    config.objective.trainable = config_file.ABOVE_TRUNK
    before = jax.jit(make_task(config).init, static_argnums=1)(config.seed, None).variables["params"]
    assert "swap" in run(config, tmp_path)["tests"]
    history = read_history(tmp_path)
    assert len(history) == config.steps
    assert all(np.isfinite(row[f"loss/{term}"]) for row in history for term in terms)
    _, after, metadata = weights.read(tmp_path / "detector.safetensors")
    assert json.loads(metadata["classes"]) == list(KINDS)
    for layer, tree in before.items():
        change = jax.tree.map(lambda a, b: np.abs(a - b).max(), tree, after["params"][layer])
        most = max(jax.tree.leaves(change))
        assert most < 1e-6 if layer.startswith("vgg19") else most > 1e-4, layer


@pytest.mark.parametrize("term", ["capsule_kinds", "capsule_methods"])
def test_another_number_of_classes_is_refused_before_work(term):
    with pytest.raises(UserError, match=rf"losses\.{term}: found a detector with 3 classes, wanted 6"):
        make_task(small([term], num_classes=3))
