"""ClassNSeg answers as the authors' network does, learns by their losses, and takes their weights."""

import json
import os
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from fdetect_jax.convert.classnseg import rows
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.layout import from_state
from fdetect_jax.convert.tensors import CheckpointError
from fdetect_jax.detectors import make_detector
from fdetect_jax.detectors.classnseg import ClassNSegConfig
from fdetect_jax.errors import UserError
from fdetect_jax.inference.attention import grad_cam
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.losses.terms import TERMS
from fdetect_jax.nn.conv import transposed_conv2d
from fdetect_jax.nn.once import jit_once
from fdetect_jax.types import Batch
from tests.golden.random_weights import numbers_of, random_array, random_images

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "classnseg.json").read_text())
SHARED = Path(os.environ.get("FDETECT_SHARED", Path(__file__).parents[3] / "shared")) / "weights" / "classnseg"
LABELS = 1 - np.array(GOLDEN["labels"])  # the authors' 1 is real
SMALL = {"widths": (4, 6, 8)}
LAYERS = [
    *(f"encoder{number}" for number in range(9)),
    *(f"{part}{number}" for part in ("shared", "segmenter", "reconstructor") for number in range(4)),
]


def count(tree):
    return sum(leaf.size for leaf in jax.tree.leaves(tree))


def made_up():
    """The state dicts of both networks by the authors' keys, one dict."""
    module = make_detector("classnseg")
    shapes = jax.eval_shape(module.init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    wanted = {tuple(str(part.key) for part in path): leaf.shape for path, leaf in jax.tree.leaves_with_path(shapes)}
    state = {}
    for row in rows(ClassNSegConfig()):
        if not row.key.endswith("num_batches_tracked"):
            shape = row.layout.theirs(np.zeros(wanted[row.path])).shape
            state[row.key] = random_array(row.key, shape)
    return state


@pytest.fixture(scope="module")
def original():
    """The detector, its made-up variables and images."""
    variables = from_state("made up", made_up(), rows(ClassNSegConfig()))
    return make_detector("classnseg"), variables, random_images(5, len(LABELS), GOLDEN["size"])


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=2e-4, atol=2e-5)


def test_golden_stages(original):
    module, variables, images = original
    outputs, kept = jax.jit(
        lambda v, x, y: module.apply(v, x, label=y, capture_intermediates=True, mutable=["intermediates"])
    )(variables, images, LABELS)
    found = {name: np.asarray(kept["intermediates"][name]["__call__"][0]) for name in LAYERS}
    # The halves of the latent code are in each other's place.
    found["encoder8"] = np.roll(found["encoder8"], 64, axis=-1)
    for name, numbers in zip(LAYERS, GOLDEN["stages"], strict=True):
        np.testing.assert_allclose(numbers_of(found[name]), numbers, rtol=2e-4, atol=2e-5, err_msg=name)
    evaluated = GOLDEN["evaluated"]
    close(outputs.heads["activations"][:, ::-1], evaluated["activations"])
    altered = np.asarray(jax.nn.sigmoid(outputs.heads["mask"]))
    close(numbers_of(np.concatenate([1 - altered, altered], -1)), evaluated["mask"])
    face = (np.asarray(outputs.heads["reconstruction"]) - (0.485, 0.456, 0.406)) / (0.229, 0.224, 0.225)
    close(numbers_of(face), evaluated["face"])
    alone = jax.jit(module.apply)(variables, images)
    altered = np.asarray(jax.nn.sigmoid(alone.heads["mask"]))
    close(numbers_of(np.concatenate([1 - altered, altered], -1)), evaluated["mask of the prediction"])
    np.testing.assert_array_equal(alone.logits, outputs.logits)  # the label changes what is decoded, nothing else
    np.testing.assert_array_equal(alone.logits, alone.heads["activations"])


def test_golden_training(original):
    """Losses and gradients in training mode, by batch statistics; what BatchNorm keeps of them."""
    module, variables, images = original
    masks = (random_images(6, len(LABELS), GOLDEN["size"])[..., 0] >= 0.5).astype(np.float32)
    batch = Batch(images, LABELS, np.ones(len(LABELS)), {"mask": masks, "valid": np.ones(len(LABELS), np.float32)})
    names = ("activation", "segmentation", "reconstruction")

    def loss(params):
        found, changed = module.apply(
            {**variables, "params": params}, images, train=True, label=batch.label, mutable=["batch_stats"]
        )
        losses = {name: TERMS[name].function(found, batch).mean() for name in names}
        return sum(losses.values()), (losses, changed["batch_stats"])

    (_, (losses, stats)), slopes = jax.jit(jax.value_and_grad(loss, has_aux=True))(variables["params"])
    for name in names:
        close(losses[name], GOLDEN["losses"][name])
    for row in rows(ClassNSegConfig()):
        if row.key in GOLDEN["gradients"]:
            leaf = slopes
            for part in row.path[1:]:
                leaf = leaf[part]
            leaf = row.layout.theirs(np.asarray(leaf))
            close([np.abs(leaf).mean(), *leaf.flatten()[:3]], GOLDEN["gradients"][row.key])
    close(stats["reconstructor3"]["norm"]["mean"][:3], GOLDEN["running mean"])


def test_numbers_of_parameters_are_the_authors():
    variables = jax.eval_shape(make_detector("classnseg").init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    params = variables["params"]
    encoder = {name: params[name] for name in params if name.startswith("encoder")}
    assert (count(encoder), count(params) - count(encoder)) == (148_200, 156_749)


def test_first_values_are_the_authors():
    init = jit_once(make_detector("classnseg").init)
    params = init(jax.random.key(0), np.zeros((1, 16, 16, 3), np.float32))["params"]
    for name, deviation, scale in (
        ("encoder8", 0.02, 0.5),
        ("segmenter1", 0.02, 0.5),
        ("shared0", 0.0417 / 3**0.5, 1.0),
    ):
        assert np.std(params[name]["conv"]["kernel"]) == pytest.approx(deviation, rel=0.05), name
        assert np.mean(params[name]["norm"]["scale"]) == pytest.approx(scale, abs=0.02), name
    assert np.std(params["encoder8"]["norm"]["scale"]) == pytest.approx(0.02, rel=0.2)
    assert np.abs(params["shared0"]["conv"]["kernel"]).max() <= (64 * 9) ** -0.5


def test_the_transposed_convolution_is_one():
    """Against its definition: every pixel adds the kernel at twice its place."""
    rng = np.random.default_rng(0)
    x, kernel = (
        rng.standard_normal((2, 3, 4, 5)).astype(np.float32),
        rng.standard_normal((3, 3, 5, 6)).astype(np.float32),
    )
    wide = np.zeros((2, 6 + 2, 8 + 2, 6), np.float32)
    for i, j, k, l in np.ndindex(3, 4, 3, 3):
        wide[:, 2 * i + k, 2 * j + l] += x[:, i, j] @ kernel[2 - k, 2 - l]
    np.testing.assert_allclose(transposed_conv2d(x, kernel), wide[:, 1:7, 1:9], rtol=1e-4, atol=1e-5)


def lively(module, images):
    """Variables with made-up values, so that activations are not near zero."""
    shapes = jax.eval_shape(module.init, jax.random.key(0), images)
    name = lambda path: ".".join(str(part.key) for part in path).replace(".mean", ".running_mean")  # noqa: E731
    return jax.tree.map_with_path(lambda path, leaf: random_array(name(path), leaf.shape), shapes)


def test_a_small_one_of_six_classes():
    module = make_detector("classnseg", SMALL | {"num_classes": 6})
    images = np.random.default_rng(0).integers(0, 256, (3, 24, 16, 3), np.uint8)
    variables = lively(module, images)
    run = jax.jit(module.apply)
    found = run(variables, images)
    assert found.logits.shape == (3, 6)
    active = np.asarray(found.heads["activations"])
    np.testing.assert_allclose(found.logits[:, 0], active[:, 0], rtol=1e-6)
    np.testing.assert_allclose(jax.nn.logsumexp(found.logits[:, 1:], axis=-1), active[:, 1], rtol=1e-5)
    np.testing.assert_allclose(found.heads["embedding"].reshape(3, 2, 4).mean(-1), active, rtol=1e-5)
    assert found.heads["mask"].shape == (3, 24, 16, 1)
    assert found.heads["reconstruction"].shape == images.shape
    np.testing.assert_allclose(found.logits, run(variables, images / np.float32(255)).logits, rtol=1e-4)
    assert jax.eval_shape(lambda v, x: grad_cam(module.apply, v, x), variables, images).shape == (3, 6, 4)
    with pytest.raises(UserError, match="found 24 x 18, wanted sides that are multiples of 4"):
        module.apply(variables, np.zeros((1, 24, 18, 3), np.float32))


def test_half_precision_stays_inside():
    module = make_detector("classnseg", SMALL, dtype=jnp.bfloat16)
    images = random_images(1, 2, 16)
    variables = lively(module, images)
    found = jax.jit(module.apply)(variables, images)
    for name in ("activations", "mask", "reconstruction", "embedding"):
        assert found.heads[name].dtype == jnp.float32, name
    assert found.logits.dtype == jnp.float32
    assert found.heads["features/latent"].dtype == jnp.bfloat16
    whole = jax.jit(make_detector("classnseg", SMALL).apply)(variables, images)
    np.testing.assert_allclose(found.logits, whole.logits, atol=0.05 * float(np.abs(whole.logits).max()))


def test_without_a_label_the_prediction_is_decoded():
    module = make_detector("classnseg", SMALL)
    images = random_images(1, 2, 16)
    variables = lively(module, images)
    run = jax.jit(module.apply)
    told = jax.jit(lambda label, variables: module.apply(variables, images, label=label).heads["mask"])
    # Of the last encoder layer, one half says nothing and the other says 2.
    for fake in (0, 1):
        norm = {"scale": np.zeros(8, np.float32), "bias": np.repeat(np.float32([2 - 2 * fake, 2 * fake]), 4)}
        variables["params"]["encoder4"]["norm"] = norm
        found = run(variables, images)
        np.testing.assert_allclose(found.heads["activations"], [[2 - 2 * fake, 2 * fake]] * 2, rtol=1e-5)
        both = [told(np.full(2, label), variables) for label in (0, 1)]
        np.testing.assert_allclose(found.heads["mask"], both[fake], rtol=1e-6)
        assert np.abs(both[0] - both[1]).max() > 0.01


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("widths", (8, 15), "three or more numbers above 0, the last of them even"),
        ("widths", (8, 8, 15), "three or more numbers above 0, the last of them even"),
        ("widths", (0, 8, 16), "three or more numbers above 0, the last of them even"),
        ("num_classes", 1, "a whole number of at least 2"),
    ],
)
def test_wrong_fields_are_named(field, value, wanted):
    with pytest.raises(UserError, match=rf"detector\.{field}: found .*wanted {wanted}"):
        make_detector("classnseg", {field: value})


def made_files(folder):
    """The authors' two files, as safetensors, and what is in them."""
    state = made_up() | {
        row.key: row.value for row in rows(ClassNSegConfig()) if row.key.endswith("num_batches_tracked")
    }
    encoder = {key: value for key, value in state.items() if key.startswith("encoder.")}
    save_file({key: np.ascontiguousarray(value) for key, value in encoder.items()}, folder / "encoder.safetensors")
    rest = {key: np.ascontiguousarray(value) for key, value in state.items() if key not in encoder}
    save_file(rest, folder / "decoder.safetensors")
    return state


def test_there_and_back(original, tmp_path):
    state = made_files(tmp_path)
    files = tmp_path / "encoder.safetensors", tmp_path / "c.safetensors"
    convert("classnseg", *files, decoder=tmp_path / "decoder.safetensors")
    scorer = Scorer(tmp_path / "c.safetensors", batch_size=2, recipe="sbi")
    assert (scorer.size, scorer.unit) == (256, "face")
    export(tmp_path / "c.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    for key, array in state.items():
        np.testing.assert_array_equal(back[key], array, err_msg=key)
    with pytest.raises(CheckpointError, match=r"found 'encoder\.0\.bias' in both files"):
        convert("classnseg", *files, decoder=tmp_path / "encoder.safetensors")
    with pytest.raises(UserError, match="decoder: found None, wanted the decoder that was trained with the encoder"):
        convert("classnseg", *files)


@pytest.mark.skipif(not SHARED.is_dir(), reason="the authors' weights are not here")
def test_the_authors_weights_give_the_authors_answers(tmp_path):
    """Mean activations of the halves (fake, real) of their two sample images, and their masks."""
    convert("classnseg", SHARED / "encoder_46.pt", tmp_path / "c.safetensors", decoder=SHARED / "decoder_46.pt")
    scorer = Scorer(tmp_path / "c.safetensors", batch_size=2, recipe="sbi")
    pictures = [np.asarray(Image.open(SHARED / f"{name}.jpg").convert("RGB")) for name in ("real", "fake")]
    faces = np.stack([picture[:, :256] for picture in pictures])
    found = (scorer.margins(faces), scorer.attention(faces))
    np.testing.assert_allclose(found[0], (0.025 - 1.222, 1.139 - 0.149), atol=2e-3)
    masks = np.stack([picture[:, 256:, 0] >= 128 for picture in pictures])
    right = (found[1] >= 0.5) == masks
    assert right.mean(axis=(1, 2)).min() > 0.9
