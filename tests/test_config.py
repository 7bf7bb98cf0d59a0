"""Every shipped config loads and, given what it asks for, passes; a wrong field is refused by its name."""

import dataclasses
import importlib
import re
import shutil

import jax
import numpy as np
import pytest
from small import attacks
from tiny import save_pair

from fdetect_jax import weights
from fdetect_jax.config import check
from fdetect_jax.errors import UserError
from fdetect_jax.experiments.runs import runs_of

# One detector each; and the configs whose default variant is facesim.
ZOO = ("arcface", "meso", "xception", "ffd", "capsule", "classnseg", "fwa", "deepfd", "fingerprints")
ONE_DEFAULT = ("adv", "baseline", "sbi", *ZOO, "gan", "inversion")
VARIANTS = [
    *[(file, variant) for file in ("adv", "baseline") for variant in ("facesim", "folder", "mixture", "paper")],
    *[(file, variant) for file in ("sbi", *ZOO[:7]) for variant in ("facesim", "folder", "paper")],
    *[("fingerprints", variant) for variant in ("facesim", "explicit", "paper", "paper_explicit")],
    *[("deepfd", variant) for variant in ("facesim", "leave_one_out", "folder", "paper")],
    *[("zoo", variant) for variant in ("facesim", "folder")],
    *[("gan", variant) for variant in ("facesim", "folder", "wide", "config_f")],
    *[("table1", variant) for variant in ("facesim", "folder", "mixture")],
    *[("inversion", variant) for variant in ("facesim", "folder", "paper")],
]


def load(file, *variant):
    return importlib.import_module(f"configs.{file}").get_config(*variant)


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    folder = save_pair(tmp_path_factory.mktemp("pair"))
    (folder / "discriminator.safetensors").touch()  # files are looked for, not read
    return str(folder)


def given(file, variant, pair, root):
    """A config with the folders and files that its user has to name."""
    config = load(file, variant)
    for data in config.data.get("parts", {"": config.data}).values():
        if data.source == "folder":
            data.root = str(root)
    if config.task == "inversion":
        config.inverter = str(root / "pair")
        shutil.copytree(pair, config.inverter, dirs_exist_ok=True)
        size = {"resolution": config.data.size}
        weights.save(root / "pair" / "generator.safetensors", "generator", size, {"none": np.zeros(1)})
        for options in config.losses.values():
            if "weights" in options:
                options.weights = f"{pair}/encoder.safetensors"
    if config.task in ("detector", "table"):
        for forgery in attacks(config):
            forgery.inverter = pair
    return config


@pytest.mark.parametrize(("file", "variant"), VARIANTS)
def test_every_variant_passes_with_what_it_asks_for(file, variant, pair, tmp_path):
    config = given(file, variant, pair, tmp_path)
    if config.task == "table":
        assert runs_of(config, tmp_path)  # checks every run
    else:
        check(config)
    assert variant in config.description


def test_the_paper_s_table_wants_data_with_fakes(pair, tmp_path):
    config = given("table1", "paper", pair, tmp_path)
    with pytest.raises(UserError, match=r"^variants\.baseline: forgery\.mix\.given: .* data\.source is 'folder'"):
        runs_of(config, tmp_path)


@pytest.mark.parametrize("file", ONE_DEFAULT)
def test_default_variant(file):
    assert load(file).to_dict() == load(file, "facesim").to_dict()


def test_the_default_gan_asks_for_nothing():
    check(load("gan"))


@pytest.mark.parametrize("file", ONE_DEFAULT)
def test_unknown_variant(file):
    with pytest.raises(ValueError, match=rf"configs/{file}\.py: found variant 'large', wanted facesim"):
        load(file, "large")


def test_adv_and_baseline_differ_in_their_fakes_and_steps():
    adv, baseline = load("adv").to_dict(), load("baseline").to_dict()
    different = {name for name in adv.keys() | baseline.keys() if adv.get(name) != baseline.get(name)}
    assert different == {"forgery", "objective", "description", "steps"}
    assert load("adv", "paper").steps == load("baseline", "paper").steps
    assert (adv["objective"]["lam"], load("adv", "paper").objective.lam) == (0.9, 1.0)


def test_the_paper_s_numbers():
    config = load("adv", "paper")
    assert (config.detector.name, config.data.size, config.batch_size) == ("efficientnet_b4", 380, 16)
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.decay_after) == ("sgd", 0.001, 0.75)
    attack = config.forgery.latent.attack
    assert (attack.steps, attack.epsilon, attack.norm, attack.step_size) == (10, 4.0, "l2", 0.0)


def test_the_numbers_of_gan_fingerprints():
    config = load("fingerprints", "paper_explicit")
    assert config.detector.overrides.to_dict() == {"size": 128, "num_classes": 5, "critic": True}
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum, optimizer.b2) == ("adam", 0.001, 0.0, 0.99)
    weights = {name: losses.weight for name, losses in config.losses.items() if losses.weight}
    assert weights == {"methods": 1.0, "reconstruction_l1": 20.0, "critic": 0.1}
    assert 2 * config.batch_size * config.steps == 25_000_000
    Augment = importlib.import_module("fdetect_jax.data.augment").Augment
    assert Augment(**config.augment.to_dict()) == dataclasses.replace(Augment.off(), flip=0.5)


def test_the_numbers_of_self_blended_images():
    config = load("sbi", "paper")
    assert (config.detector.name, config.data.recipe, config.data.size) == ("efficientnet_b4", "sbi", 380)
    wanted = {"normalization": "none", "dropout": 0.4, "drop_connect": 0.2}
    assert config.detector.overrides.to_dict() == wanted
    optimizer = config.optimizer
    assert (optimizer.name, optimizer.learning_rate, optimizer.momentum) == ("sgd", 0.001, 0.9)
    assert (optimizer.weight_decay, optimizer.decay_after) == (0, 0.75)
    assert optimizer.sam.to_dict() == {"rho": 0.05, "adaptive": False, "batch_stats": "both"}
    assert (config.batch_size, config.steps) == (16, 36_000)
    assert config.losses.cross_entropy.weight == config.objective.lam == 1
    Augment = importlib.import_module("fdetect_jax.data.augment").Augment
    assert Augment(**config.augment.to_dict()) == Augment.off()  # it has its own


def test_the_faces_of_self_blended_images_and_where_they_are_to_be_had(tmp_path):
    config = load("sbi", "paper")
    with pytest.raises(
        UserError, match=r"^data\.root: found ''.*FaceForensics\+\+.*--recipe sbi.*--config\.data\.root"
    ):
        check(config)
    with pytest.raises(UserError, match=r"^data\.root: found '', wanted a folder of photographs"):
        check(load("sbi", "folder"))


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        (
            "photographs.root",
            "",
            r"^data\.parts\.photographs\.root: found ''.*--config\.data\.parts\.photographs\.root=DIR",
        ),
        ("drawn.source", "mixture", r"^data\.parts\.drawn\.source: found 'mixture', wanted one of"),
        ("drawn.size", 32, r"^data\.parts\.drawn\.size: found 32, wanted 64, data\.size"),
        ("drawn.identities.train", 1, r"^data\.parts\.drawn\.identities\.train: found 1, wanted at least 2"),
        ("drawn.weight", 0.0, r"^data\.parts\.drawn\.weight: found 0\.0, wanted a positive number"),
        ("drawn.weight", 0.314159265, r"^data\.parts\.weights: found .*, wanted simple proportions"),
    ],
)
def test_a_wrong_part_of_a_mixture_is_refused(field, value, message, pair, tmp_path):
    config = given("baseline", "mixture", pair, tmp_path)
    config.update_from_flattened_dict({f"data.parts.{field}": value})
    with pytest.raises(UserError, match=message):
        check(config)


def test_parts_of_two_recipes_are_refused(pair, tmp_path):
    config = given("baseline", "mixture", pair, tmp_path)
    config.data.parts.frames = config.data.parts.photographs.copy_and_resolve_references()
    config.data.parts.frames.recipe = "paper"
    with pytest.raises(UserError, match=r"^data\.parts"):
        check(config)


def test_a_mixture_of_nothing_is_refused():
    config = load("baseline", "mixture")
    config.data.parts = {}
    with pytest.raises(UserError, match=r"^data\.parts: found \{\}, wanted sources by name"):
        check(config)


@pytest.mark.parametrize("file", ["adv", "baseline"])
def test_the_paper_s_data_and_where_they_are_to_be_had(file, tmp_path):
    config = load(file, "paper")
    with pytest.raises(UserError, match=r"^data\.root: found ''.*FaceForensics\+\+.*--config\.data\.root=DIR"):
        check(config)
    config.data.root = str(tmp_path / "nowhere")
    with pytest.raises(UserError, match=r"^data\.root: found .*nowhere.*FaceForensics"):
        check(config)
    config.data.root = str(tmp_path)
    where = r"(forgery|evaluation\.forgeries)\.latent\.inverter"
    with pytest.raises(UserError, match=rf"^{where}: found ''.*HyperInverter.*--config\.{where}=DIR"):
        check(config)


def test_a_folder_of_photographs_is_asked_for():
    with pytest.raises(UserError, match=r"^data\.root: found '', wanted a folder of photographs"):
        check(load("adv", "folder"))


WRONG = {
    "adv": [
        ("task", "detect"),
        ("steps", 0),
        ("batch_size", 0),
        ("log_every", 0),
        ("checkpoint_every", -1),
        ("keep_checkpoints", 0),
        ("data.source", "web"),
        ("data.identities.test", 0),
        ("data.identities.test", 1),
        ("data.workers", -1),
        ("optimizer.staircase.every", -1),
        ("optimizer.staircase.times", 0),
        ("optimizer.staircase.factor", 0.0),
        ("batch_size", 6),
        ("evaluation.batch_size", 6),
        ("data.frames", -1),
        ("data.max_unusable", 1.5),
        ("data.max_unusable", -0.1),
        ("evaluation.seed", -1),
        ("evaluation.split", "train"),
        ("evaluation.forgeries.latent.space", "z"),
        ("data.per_identity", 0),
        ("data.size", 16),
        ("data.size", 512),
        ("detector.name", "resnet"),
        ("detector.dtype", "float16"),
        ("detector.weights", "nowhere.safetensors"),
        ("forgery.mix.latent", -1.0),
        ("forgery.mix.given", 1.0),
        ("forgery.latent.inverter", "nowhere"),
        ("forgery.latent.space", "s"),
        ("forgery.latent.render", "half"),
        ("forgery.latent.dtype", "float64"),
        ("forgery.latent.warmup", -1),
        ("evaluation.forgeries.other_generator.forgery", "paste"),
        ("evaluation.forgeries.other_generator.inverter", "nowhere"),
        ("evaluation.forgeries.latent.inverter", "nowhere"),
        ("losses.cross_entropy.weight", -1.0),
        ("losses.contrastive.form", "cosine"),
        ("losses.contrastive.pairs", "none"),
        ("losses.contrastive.margin", 0.0),
        ("objective.mode", "both"),
        ("objective.turn", "day"),
        ("objective.lam", 1.5),
        ("optimizer.learning_rate", 0.0),
        ("optimizer.momentum", 1.5),
        ("optimizer.b2", 1.0),
        ("optimizer.decay_after", -0.1),
        ("optimizer.weight_decay", -0.1),
        ("optimizer.sam.rho", -0.1),
        ("optimizer.sam.batch_stats", "last"),
        ("evaluation.batch_size", 0),
        ("evaluation.limit", 0),
    ],
    "gan": [
        ("data.size", 128),
        ("encoder.w_dim", 64),
        ("group_size", 3),
        ("group_size", 0),
        ("adversarial_interval", 0),
        ("reconstruction.weight", -1.0),
        ("r1.gamma", -1.0),
        ("r1.interval", 0),
        ("path_length.weight", -1.0),
        ("path_length.interval", 0),
        ("style_mixing", 1.5),
        ("ema_kimg", 0.0),
        ("learning_rate", 0.0),
        ("eval_batch_size", 0),
        ("eval_limit", 0),
    ],
    "inversion": [
        ("inverter", "nowhere"),
        ("losses.l2.weight", -1.0),
        ("losses.moco.weight", -0.5),
        ("data.size", 32),
        ("learning_rate", -1.0),
        ("encoder_learning_rate", -1.0),
        ("eval_batch_size", 6),
        ("losses.adversarial.r1_interval", 0),
    ],
}


@pytest.mark.parametrize(
    ("file", "field", "value"), [(file, field, value) for file, rows in WRONG.items() for field, value in rows]
)
def test_wrong_fields_are_named(file, field, value, pair, tmp_path):
    config = given(file, "facesim", pair, tmp_path)
    config.update_from_flattened_dict({field: value})
    with pytest.raises(UserError, match=rf"^{re.escape(field)}: found {re.escape(repr(value))},"):
        check(config)


@pytest.mark.parametrize("path", ["forgery.latent", "evaluation.forgeries.latent"])
@pytest.mark.parametrize(("field", "value"), [("epsilon", 0.0), ("steps", 0), ("norm", "l1"), ("gradient", "sign")])
def test_wrong_attacks_are_named(path, field, value, pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.update_from_flattened_dict({f"{path}.attack.{field}": value})
    with pytest.raises(UserError, match=rf"^{re.escape(path)}\.attack\.{field}: found {value!r}"):
        check(config)


def test_an_attack_with_a_field_too_many(pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.forgery.latent.attack.momentum = 0.9
    with pytest.raises(UserError, match=r"^forgery\.latent\.attack\.momentum: found 0\.9, wanted no such field"):
        check(config)


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"augment.flip": 2.0}, r"^augment\.flip: found 2\.0"),
        ({"detector.overrides.depht": 1.0}, r"^detector\.depht: found"),
    ],
)
def test_augmentations_and_overrides_are_checked(changes, named, pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=named):
        check(config)


def test_a_mix_of_nothing_is_refused(pair, tmp_path):
    config = given("baseline", "facesim", pair, tmp_path)
    config.forgery.mix.swap = 0.0
    with pytest.raises(UserError, match=r"^forgery\.mix: found no weight above 0, wanted one for some of"):
        check(config)


def test_a_forgery_that_nobody_knows_is_refused(pair, tmp_path):
    config = given("baseline", "facesim", pair, tmp_path)
    config.forgery.mix.paste = 1.0
    with pytest.raises(
        UserError, match=r"^forgery\.mix: found 'paste', wanted some of \['composite', 'fwa', 'generated'"
    ):
        check(config)


def test_a_field_of_a_forgery_that_nothing_reads_is_refused(pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.forgery.latent.kind = "latent"
    with pytest.raises(UserError, match=r"^forgery\.latent\.kind: found 'latent', wanted no such field"):
        check(config)


def test_host_forgeries_are_tested_unasked(pair, tmp_path):
    config = given("baseline", "facesim", pair, tmp_path)
    config.evaluation.forgeries.sbi = {}
    with pytest.raises(UserError, match=r"^evaluation\.forgeries\.sbi: found the host forgery 'sbi', wanted none"):
        check(config)
    config = given("baseline", "facesim", pair, tmp_path)
    config.evaluation.forgeries.other_generator.forgery = "swap"
    with pytest.raises(UserError, match=r"^evaluation\.forgeries\.other_generator: found the host forgery 'swap'"):
        check(config)


def test_what_is_skipped_is_not_checked(tmp_path):
    """So that a run without a generator needs none: the baseline's command for the paper's data."""
    config = load("baseline")
    for entry in config.evaluation.forgeries.values():
        entry.inverter = "nowhere"
    config.evaluation.skip = ("latent", "other_generator")
    check(config)


def test_every_forgery_of_a_mix_wants_a_row_on_each_device(pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.batch_size, config.forgery.mix.sbi = jax.device_count(), 1.0
    with pytest.raises(UserError, match=r"^batch_size: found 1 rows on each device for a mix of 2 forgeries"):
        check(config)
    config.batch_size = 2 * jax.device_count()
    check(config)


def test_a_latent_forgery_wants_its_fields(pair, tmp_path):
    config = given("baseline", "facesim", pair, tmp_path)
    config.forgery.mix.latent = 1.0
    check(config)
    del config.forgery.latent.space
    with pytest.raises(UserError, match=r"^forgery\.latent\.space: found no such field"):
        check(config)


def test_what_is_missing_is_said_for_the_variant_at_hand(pair, tmp_path):
    for file, variant, wanted in (
        ("adv", "paper", "FaceForensics"),
        ("adv", "folder", "a folder of photographs"),
        ("inversion", "paper", "a folder of photographs"),
    ):
        config = given(file, variant, pair, tmp_path / file / variant)
        config.data.root = ""
        with pytest.raises(UserError, match=rf"^data\.root: found '', wanted .*{wanted}"):
            check(config)


@pytest.mark.parametrize(
    ("field", "value", "wanted"),
    [
        ("steps", 4.5, "a whole number"),
        ("steps", None, "a whole number"),
        ("batch_size", "4", "a whole number"),
        ("seed", -1, "a whole number"),
        ("seed", 2**70, "a whole number"),
        ("description", None, "text"),
        ("objective.lam", "half", "a number"),
    ],
)
def test_a_field_of_another_type_is_named(field, value, wanted, pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    *above, last = field.split(".")
    where = config[above[0]] if above else config
    del where[last]
    where[last] = value
    with pytest.raises(UserError, match=rf"^{re.escape(field)}: found {re.escape(repr(value))}, wanted {wanted}"):
        check(config)


def test_missing_and_unknown_fields(pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    del config.optimizer.momentum
    with pytest.raises(UserError, match=r"^optimizer\.momentum: found no such field"):
        check(config)
    config = given("adv", "facesim", pair, tmp_path)
    config.losses.quartet = {"weight": 1.0}
    with pytest.raises(UserError, match=r"^losses: found 'quartet', wanted terms among"):
        check(config)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"losses.cross_entropy.weight": 0.0}, "losses"),
        ({"objective.lam": 0.0, "losses.contrastive.weight": 0.0}, "losses"),
        ({"objective.mode": "alternating", "objective.lam": 1.0, "losses.contrastive.weight": 0.0}, "losses"),
        ({"objective.mode": "alternating", "objective.lam": 0.5}, "objective.lam"),
        ({"objective.mode": "staged", "objective.lam": 1.0}, "objective.stages"),
        ({"objective.stages": ({"share": 1.0, "terms": (), "trainable": ("*",)},)}, "objective.stages"),
        ({"objective.trainable": ()}, "objective.trainable"),
    ],
)
def test_objectives_need_their_terms(changes, field, pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.update_from_flattened_dict(changes)
    with pytest.raises(UserError, match=rf"^{re.escape(field)}: found"):
        check(config)


@pytest.mark.parametrize(
    "changes",
    [
        {"objective.lam": 1.0},
        {"objective.lam": 0.0},
        {"objective.lam": 1.0, "objective.mode": "alternating"},
        {"objective.trainable": ("fc/*",)},
    ],
)
def test_objectives_with_their_terms(changes, pair, tmp_path):
    config = given("adv", "facesim", pair, tmp_path)
    config.update_from_flattened_dict(changes)
    check(config)


def test_a_game_that_rests_needs_the_reconstruction():
    config = load("gan")
    config.reconstruction.weight = 0.0
    assert config.adversarial_interval > 1
    with pytest.raises(UserError, match=r"^adversarial_interval: found .* wanted 1, since"):
        check(config)


def test_folders_and_recipes(pair, tmp_path):
    config = given("adv", "folder", pair, tmp_path)
    config.data.size = 128  # the recipe's size is the config's
    check(config)
    config.data.size = 16
    with pytest.raises(UserError, match=r"^data\.size: found 16, wanted a value in \[32, 1024\]"):
        check(config)
    config.data.update(size=64, recipe="wide")
    with pytest.raises(UserError, match=r"^data\.recipe: found 'wide', wanted one of \['aligned', 'aligned1024'"):
        check(config)


def test_terms_of_the_inversion_need_their_files(pair, tmp_path):
    config = given("inversion", "facesim", pair, tmp_path)
    config.losses.lpips.update(weight=0.8, weights=str(tmp_path / "lpips.safetensors"))
    with pytest.raises(UserError, match=r"^losses\.lpips\.weights: found .*lpips\.safetensors'"):
        check(config)
    (tmp_path / "lpips.safetensors").touch()
    check(config)


def test_the_adversarial_term_of_the_inversion_needs_a_discriminator(tmp_path):
    config = load("inversion")
    config.update(inverter=str(save_pair(tmp_path, "generator", "encoder")))
    config.data.size = 32
    config.losses.adversarial.weight = 0.1
    with pytest.raises(UserError, match=r"^losses\.adversarial\.weight: found 0\.1, wanted 0: .* no discriminator"):
        check(config)
    (tmp_path / "discriminator.safetensors").touch()
    check(config)
