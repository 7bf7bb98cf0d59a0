"""Tables: which runs there are, what is refused, and a whole one, shrunk, trained, stopped and taken up."""

import json
import re
import weakref
from pathlib import Path

import jax
import pytest
import tiny
from ml_collections import ConfigDict
from small import attacks, compilations, small_table, without_generator

from configs import table1
from fdetect_jax.errors import UserError
from fdetect_jax.experiments import runs
from fdetect_jax.experiments.runs import runs_of
from fdetect_jax.experiments.table import run_table
from fdetect_jax.forgery import weights_of
from fdetect_jax.train.loop import train_and_evaluate
from fdetect_jax.train.trainers import make_task


@pytest.fixture(scope="module")
def pair(tmp_path_factory) -> str:
    return str(tiny.save_pair(tmp_path_factory.mktemp("pair")))


def cheap(*variants: str) -> ConfigDict:
    """Variants without a generator, in training and in tests."""
    config = without_generator(small_table("", *variants))
    config.batch_size = 8  # two rows for each of the devices
    return config


def two() -> ConfigDict:
    config = cheap("baseline")
    config.variants["swaps"] = {"title": "Swaps alone", "forgery": {"mix": {"swap": 1.0}}, "steps": 3}
    config.rows, config.comparisons = ("swaps", "baseline"), (("baseline", "swaps"),)
    return config


def test_a_variant_is_what_differs(pair):
    config = small_table(pair, "baseline", "reconstruction", "adversarial", "joint", "arcface", "sbi")
    config.batch_size = 8  # two rows for each of the devices
    found = {one.variant: one for one in runs_of(config, Path("w")) if one.seed == 1}
    assert found["joint"].config.objective.lam == 0.9
    assert found["adversarial"].config.objective.lam == 1.0
    trained = {name: weights_of(one.config.forgery) for name, one in found.items()}
    assert trained == {
        "baseline": {"swap": 1, "sbi": 1},
        "reconstruction": {"reconstruction": 1},
        **{name: {"latent": 1} for name in ("adversarial", "joint", "arcface")},
        "sbi": {"latent": 1, "sbi": 1},
    }
    attacked = {name: one.config.forgery.latent.attack for name, one in found.items()}
    assert attacked["adversarial"] == attacked["sbi"] == config.evaluation.forgeries.latent.attack
    assert found["sbi"].config.forgery.latent.warmup == 2 * found["joint"].config.forgery.latent.warmup > 0
    assert found["baseline"].config.steps == 4
    assert found["arcface"].config.detector.name == "multiresolution"
    assert "stages" not in found["arcface"].config.detector.overrides
    assert found["arcface"].config.losses.cross_entropy.weight == 0
    assert found["arcface"].config.losses.contrastive.margin == config.losses.contrastive.margin
    for one in found.values():
        assert (one.config.task, one.config.seed, one.folder) == ("detector", 1, Path("w") / one.variant / "seed_1")
        assert one.config.data == config.data
        assert not {"variants", "seeds", "comparisons", "sweeps"} & set(one.config)


def test_all_seeds_of_a_variant_come_before_the_next(pair):
    config = small_table(pair, "joint", "adversarial")
    config.seed = 5
    assert [(one.variant, one.seed) for one in runs_of(config, Path("w"))] == [
        ("joint", 5),
        ("joint", 6),
        ("adversarial", 5),
        ("adversarial", 6),
    ]


def test_what_a_variant_compiled_is_freed_before_the_next(pair, tmp_path, monkeypatch):
    made: list[weakref.ref] = []

    class Task:
        def __init__(self, config):
            assert not [one for one in made if one() is not None]
            self.config, self.itself = config, self  # in a circle, as compiled functions are
            made.append(weakref.ref(self))

    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    monkeypatch.setattr(runs, "make_task", Task)
    monkeypatch.setattr(runs, "finished", lambda *_: None)
    monkeypatch.setattr(runs, "train_and_evaluate", lambda *_: {})
    found = list(runs.train(runs_of(small_table(pair, "joint", "adversarial"), tmp_path), lambda text: None))
    assert (len(found), len(made)) == (4, 2)


def test_the_shipped_variants_hold(pair):
    for variant in ("facesim", "sweeps"):
        config = table1.get_config(variant)
        for one in attacks(config):
            one.inverter = pair
        config.data.size = 32
        assert len(runs_of(config, Path("w"))) == 3 * len(config.variants) == 3 * len(config.rows)
    fields = {"lam": "objective.lam", "epsilon": "forgery.latent.attack.epsilon"}
    fields |= {"steps": "forgery.latent.attack.steps"}
    fields["margin"] = "losses.contrastive.margin"
    made = {one.variant: one.config for one in runs_of(config, Path("w"))}
    for name, sweep in config.sweeps.items():
        for variant, value in sweep.variants.items():
            found = made[variant]
            for part in fields[name].split("."):
                found = found[part]
            assert found == value, (name, variant)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"seeds": 1}, "seeds: found 1, wanted at least two"),
        ({"rows": ("baseline", "nobody")}, r"rows: found \['nobody'\], wanted variants among"),
        ({"comparisons": (("baseline", "nobody"),)}, r"comparisons: found \['nobody'\], wanted variants among"),
        ({"sweeps": {"x": {"title": "x", "variants": {"none": 1.0}}}}, r"sweeps: found \['none'\], wanted variants"),
        (
            {"variants": {"swaps": {"forgery": {"mix": {"magic": 1.0}}}}},
            r"variants\.swaps: forgery\.mix: found 'magic'",
        ),
        ({"variants": {"swaps": {"objective": {"mode": "staged"}}}}, r"variants\.swaps: objective\.stages: found none"),
        ({"batch_size": 0}, r"variants\.swaps: batch_size: found 0"),
    ],
)
def test_what_cannot_be_is_refused_before_work(changes, match):
    config = two()
    config.update(changes)
    with pytest.raises(UserError, match=match):
        runs_of(config, Path("w"))


def test_a_table_is_trained_written_and_taken_up(tmp_path, monkeypatch, capsys):
    found = run_table(two(), tmp_path)
    assert found == json.loads((tmp_path / "table.json").read_text())
    assert found["seeds"] == [0, 1]
    assert found["columns"] == {"unseen": ["unseen", "fwa"], "others": ["swap", "sbi"]}
    assert found["variants"]["baseline"]["trained_on"] == ["sbi", "swap"]
    for variant, steps in (("baseline", 4), ("swaps", 3)):
        assert found["variants"][variant]["steps"] == steps
        own = [
            json.loads((tmp_path / variant / f"seed_{seed}" / "report.json").read_text())["tests"] for seed in (0, 1)
        ]
        for metric in ("auc", "accuracy"):
            assert found["variants"][variant]["tests"]["sbi"][metric]["values"] == [one["sbi"][metric] for one in own]
            fwa = found["variants"][variant]["tests"]["fwa"][metric]
            assert found["variants"][variant]["tests"]["unseen"][metric] == fwa
    page = (tmp_path / "table.html").read_text()
    assert "Embedding spaces" in page
    assert page.count("report.html") == 4
    assert not re.search(r'(src|href)="(?!data:|#|[a-z_]+/seed_\d/report\.html)', page)  # opens offline
    assert "Swaps alone" in capsys.readouterr().out

    def refuse(*_, **__):
        raise AssertionError("trained again")

    monkeypatch.setattr(runs, "train_and_evaluate", refuse)
    assert run_table(two(), tmp_path) == found
    assert capsys.readouterr().out.count("already finished") == 4
    changed = two()
    changed.optimizer.learning_rate = 0.5
    with pytest.raises(ValueError, match=r"optimizer\.learning_rate: found 0\.5"):
        run_table(changed, tmp_path)


def test_seeds_share_what_is_compiled_and_nothing_else(tmp_path, monkeypatch):
    monkeypatch.setattr(jax, "local_devices", lambda: jax.devices()[:1])
    config = cheap("baseline")
    other, one = runs_of(config, tmp_path / "table")
    with compilations() as names:
        _, (_, content) = runs.train([other, one], lambda text: None)
    assert names.count("jit(averaged)") == names.count("jit(pairs)") == 1
    own = train_and_evaluate(one.config, tmp_path / "own", make_task(one.config), jax.devices()[:1])
    assert content["tests"] == own["tests"]
