"""Runs of GAN fingerprints: the report counts what each generator's faces are taken for, and draws the fingerprints."""

import json

import numpy as np
import pytest
from small import DATA, run, small_sbi
from tiny import save_pair

from configs import fingerprints
from fdetect_jax import weights
from fdetect_jax.config import check
from fdetect_jax.errors import UserError
from fdetect_jax.forgery import entries_of
from fdetect_jax.inference.scoring import LOGITS
from fdetect_jax.train.classed import Classed, classes_of, fingerprint_gallery, fingerprints_in
from fdetect_jax.train.trainers import make_task
from fdetect_jax.train.writer import read_history
from fdetect_jax.types import KINDS


def small_fingerprints(variant: str, inverter: str):
    config = fingerprints.get_config(variant)
    config.update(data=DATA, steps=3, batch_size=16, log_every=1, checkpoint_every=3)
    config.evaluation.update(batch_size=4, limit=6)
    config.detector.overrides.update(size=32, fmap_base=32)
    for entries in (config.forgery, config.evaluation.forgeries):
        for fields in entries.values():
            if "inverter" in fields:
                fields.inverter = inverter
    return config


@pytest.fixture(scope="module")
def inverter(tmp_path_factory):
    return str(save_pair(tmp_path_factory.mktemp("pair"), "generator", "encoder"))


def test_a_run_with_explicit_fingerprints(inverter, tmp_path):
    config = small_fingerprints("explicit", inverter)
    config.detector.overrides.critic, config.losses.critic.weight = True, 0.1
    config.evaluation.forgeries.facesim64_wide_samples.truncation = 0.5  # otherwise all four were the same generator
    found = run(config, tmp_path)
    names = ["real", "faces64_samples", "faces64_wide_samples", "facesim64_samples"]
    unseen = "Samples of facesim64_wide"
    assert found["classes"]["columns"] == names
    rows = found["classes"]["rows"]
    assert list(rows) == [*names, unseen]
    for name, row in rows.items():
        assert sum(row["counts"].values()) == 6
        assert row["recall"] == (None if name == unseen else row["counts"][name] / 6)
        assert 0 <= row["rejected"] <= 1
    assert 0 <= rows[unseen]["auc"] <= 1
    assert found == json.loads((tmp_path / "report.json").read_text())
    history = read_history(tmp_path)
    for term in ("methods", "reconstruction_l1", "critic"):
        assert all(np.isfinite(row[f"loss/{term}"]) for row in history)
    assert history[-1]["loss/reconstruction_l1"] != history[0]["loss/reconstruction_l1"]
    page = (tmp_path / "report.html").read_text()
    assert "<h2>Classes</h2>" in page
    shown = page[page.index("<h2>Fingerprints</h2>") :]
    assert shown[: shown.index("</section>")].count("<img") == 5 * len(names)
    notes = weights.read(tmp_path / "detector.safetensors", "detector")[2]
    assert json.loads(notes["classes"]) == names
    assert json.loads(notes["lead"]) == found["classes"]["limit"]


def test_terms_without_their_heads_are_named(inverter):
    config = small_fingerprints("explicit", inverter)
    config.losses.critic.weight = 0.1
    check(config)
    with pytest.raises(UserError, match=r"losses\.critic: found a detector with .*wanted one with critic/real"):
        make_task(config)
    config.losses.critic.weight, config.detector.overrides.num_classes = 0.0, 5
    with pytest.raises(UserError, match=r"losses\.methods: found a detector with 5 classes, wanted 4"):
        make_task(config)


def rows_of(*classes):
    """Scored faces, of which the detector takes the fakes for these classes and the reals for real."""
    return {LOGITS + "real": np.eye(6)[np.zeros(len(classes), int)], LOGITS + "image": np.eye(6)[list(classes)]}


def test_fakes_of_every_test_are_counted_by_their_kind():
    config = small_sbi()
    config.losses.kinds = {"weight": 1.0}
    classed = Classed(config)
    assert classed.names == KINDS
    entry = entries_of(config.forgery)["sbi"]
    classed.add("sbi", entry, rows_of(5, 5, 1), "image", np.array([5, 5, 5]))
    classed.add("given", entry, rows_of(2, 5, 3, 1), "image", np.array([2, 2, -1, 5]))
    found = classed.part(None)["rows"]
    assert list(found) == ["real", "attribute", "swap", "unknown kind"]
    assert found["real"]["counts"]["real"] == 3  # the first test's alone
    assert found["swap"]["counts"] == dict.fromkeys(KINDS, 0) | {"swap": 2, "entire synthesis": 2}
    assert (found["attribute"]["recall"], found["unknown kind"]["recall"]) == (0.5, None)


def test_a_test_belongs_to_the_entry_of_its_name_or_options():
    config = small_sbi()
    config.losses.methods = {"weight": 1.0}
    config.forgery.mix = {"latent": 1.0, "swap": 1.0, "soft": 1.0}
    config.forgery.soft = {"forgery": "swap", "title": "Soft swaps", "changed": 0.5}
    entries = entries_of(config.forgery)
    assert classes_of(config) == ("real", "latent", "soft", "swap")
    classed = Classed(config)
    for test, name, stage in [
        ("adversarial", "latent", "image"),
        ("gan_inverted", "latent", "reconstruction"),  # not what the mix trains on
        ("swap", "swap", "image"),
        ("soft", "soft", "image"),
    ]:
        classed.add(test, entries[name], {LOGITS + stage: np.eye(4)[[1]], LOGITS + "real": np.eye(4)[[0]]}, stage)
    assert list(classed.part(None)["rows"]) == ["real", "latent", "soft", "swap", "GAN-inverted faces"]
    assert classed.part(np.eye(4))["limit"] == 1.0


def test_real_and_fake_alone_have_no_table():
    config = small_sbi()
    assert classes_of(config) is None
    classed = Classed(config)
    classed.add("sbi", entries_of(config.forgery)["sbi"], rows_of(1), "image")
    assert (classed.names, classed.part(None)) == (("real", "fake"), None)


def test_pictures_of_fingerprints():
    models = np.random.default_rng(0).standard_normal((8, 8, 3, 2)).astype(np.float32)
    faces = {1: np.full((2, 8, 8, 3), 200, np.uint8)}
    residuals = np.stack([np.zeros((8, 8, 3)), models[..., 0]])
    found = fingerprint_gallery(("real", "fake"), models, faces, residuals).columns
    assert list(found) == ["real", "fake"]
    np.testing.assert_array_equal(found["fake"][4], found["real"][0])  # the same values, drawn alike
    assert (found["fake"][2] == 128).all()  # no residual
    assert (found["fake"][[1, 3]] == 200).all()
    assert (found["real"][1:] == 128).all()  # no faces of that class
    strong = models[..., 0] > 2
    assert found["real"][0][strong].min() > 200
    assert fingerprints_in({"params": {"fingerprints": models}}) is not None
    assert fingerprints_in({"params": {"fingerprints": models[0]}}) is None
    assert fingerprints_in({}) is None
