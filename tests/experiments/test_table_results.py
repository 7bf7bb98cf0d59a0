"""What a table says of its runs, from reports made up for it, and its page."""

import json

import numpy as np
import pytest
from ml_collections import ConfigDict

from fdetect_jax.evaluation.results import measure
from fdetect_jax.evaluation.table import Test, pairs
from fdetect_jax.experiments.page import page_of
from fdetect_jax.experiments.results import results, summary
from fdetect_jax.experiments.runs import Run
from fdetect_jax.inference.calibration import Calibration
from tests.pages import HOSTILE, Page

MIXES = {
    "baseline": {"swap": 1.0, "sbi": 1.0, "latent": 0.0},
    "adversarial": {"latent": 1.0},
    "both": {"latent": 1.0, "sbi": 2.0},
}
TITLES = {"gan_inverted": "GAN-inverted faces", "gan_inverted/jpeg_40": "GAN-inverted faces, JPEG, quality 40"}
LINKS = r"[a-z_]+/seed_\d/report\.html"


def table(*variants, comparisons=(), sweeps=None):
    return ConfigDict({"rows": variants, "comparisons": comparisons, "sweeps": sweeps or {}})


def runs_of(config, folder, mixes=MIXES):
    for seed in (0, 1):
        for variant in config.rows:
            run = ConfigDict({"forgery": {"mix": mixes[variant]}, "evaluation": {"forgeries": {}, "skip": ()}})
            yield Run(variant, seed, run, folder / variant / f"seed_{seed}")


def report(values, title="x", lam=0.1, titles=TITLES):
    """With these AUCs; accuracies are lower by ``lam``."""
    test = Test("x", "x", pairs(np.arange(2.0), np.arange(2.0), method="any"))
    base = measure(test, Calibration(), 0.5)
    tests = {
        name: base | {"title": titles.get(name, name), "auc": value, "accuracy": value and value - lam}
        for name, value in values.items()
    }
    figures = {"reconstruction_psnr": 30.0, "parameters": 12_345.0, "lost": None}
    return {"description": title, "step": 5, "seconds": 1.0, "threshold": 0.5, "tests": tests, "figures": figures} | {
        "localisation": {"swap": {"iou": 0.75}}
    }


def shown(found, folder):
    page = Page(page_of("t", found, folder, 0.5))
    page.check(LINKS)
    return page.text


def test_fakes_made_like_those_of_a_test_are_seen(tmp_path):
    """By the name of the entry, or under another name with the same fields; but not those of another generator."""

    def generator(name, **more):
        return {"forgery": "reconstruction", "title": name, "inverter": name} | more

    trained = {"mix": {"mine": 1.0, "swap": 0.0}, "mine": generator("a")}
    tests = {"same": generator("a", title="x"), "other": generator("b"), "mine": generator("c"), "broken": {}}
    run = ConfigDict({"forgery": trained, "evaluation": {"forgeries": tests, "skip": ("broken",)}})
    reports = [(Run("v", seed, run, tmp_path), report({"same": 0.5, "other": 0.5, "mine": 0.5})) for seed in (0, 1)]
    found = results(table("v"), reports)
    assert found["columns"] == {"unseen": ["unseen", "other"], "others": ["same", "mine"]}
    assert found["variants"]["v"]["seen"] == ["same", "mine"]


def test_what_no_variant_was_trained_on_is_unseen(tmp_path):
    config = table("baseline", "adversarial", "both", comparisons=(("adversarial", "baseline"),))
    rng, reports = np.random.default_rng(0), []
    names = ("gan_inverted", "adversarial", "gan_inverted/jpeg_40", "gan_inverted/blur_1", "other_generator")
    for one in runs_of(config, tmp_path):
        values = {name: rng.uniform(0.3, 0.6) for name in (*names, "swap", "swap/part", "sbi", "fwa")}
        values["gan_inverted"] = 0.95 + 0.01 * one.seed if one.variant == "adversarial" else 0.5 + 0.02 * one.seed
        reports.append((one, report(values)))
    found = results(config, reports[::-1])
    assert json.loads(json.dumps(found, allow_nan=False))["columns"] == found["columns"]
    assert found["columns"] == {
        "inverted": ["gan_inverted"],
        "unseen": ["unseen", "other_generator", "fwa"],
        "robust": ["robust", "gan_inverted/jpeg_40", "gan_inverted/blur_1"],
        "others": ["adversarial", "swap", "sbi"],
    }
    assert found["titles"]["gan_inverted"] == "GAN-inverted faces"
    assert found["titles"]["gan_inverted/jpeg_40"] == "JPEG, quality 40"
    assert found["variants"]["both"]["trained_on"] == ["latent", "sbi"]
    assert found["variants"]["both"]["seen"] == ["gan_inverted", "adversarial", "sbi"]
    assert found["variants"]["baseline"]["seen"] == ["swap", "sbi"]
    tests = found["variants"]["baseline"]["tests"]
    for seed in (0, 1):
        pair = [tests[name]["auc"]["values"][seed] for name in ("other_generator", "fwa")]
        assert tests["unseen"]["auc"]["values"][seed] == pytest.approx(np.mean(pair))
    auc = next(one for one in found["comparisons"] if (one["column"], one["metric"]) == ("gan_inverted", "auc"))
    assert auc["values"] == pytest.approx((0.45, 0.44))
    assert auc["verdict"] == "higher"
    text = "\n".join(summary(found))
    assert "+0.4450 (+0.3815 to +0.5085): higher" in text  # 12.706 standard errors of 0.005
    page = shown(found, tmp_path)
    assert page.count("</table>") == 5
    assert page.count('class="seen') == 3 * (2 + 3 + 2)  # in every table; the best may be marked too
    figures = {"reconstruction_psnr": 30.0, "parameters": 12345.0, "iou/swap": 0.75}
    assert found["variants"]["both"]["figures"] == figures
    assert page.count("<td>masks of swaps: IoU 0.75</td>") == 3
    assert page.count("<td>12,345 parameters</td>") == 3
    assert "scored a second" not in page  # not measured
    assert "At P(fake) = 0.500." in page


def test_a_figure_that_a_run_lacks_is_a_dash(tmp_path):
    config = table("baseline", "adversarial", comparisons=(("adversarial", "baseline"),))
    reports = []
    for one in runs_of(config, tmp_path):
        auc = None if (one.variant, one.seed) == ("baseline", 1) else 0.7
        reports.append((one, report({"gan_inverted": auc, "fwa": 0.6})))
    found = results(config, reports)
    assert found["variants"]["baseline"]["tests"]["gan_inverted"]["auc"] is None
    assert [one["column"] for one in found["comparisons"]] == ["unseen"]
    assert "<span>–</span>" in shown(found, tmp_path)
    assert any(line.endswith("–") for line in summary(found))


def test_every_name_is_escaped(tmp_path):
    name = "variant" + HOSTILE.replace("/", "")
    config = ConfigDict({"rows": (name,), "comparisons": (), "sweeps": {}})
    reports = [
        (
            one,
            report({"gan_inverted": 0.7, "fwa": 0.6}, HOSTILE, titles=dict.fromkeys(("gan_inverted", "fwa"), HOSTILE)),
        )
        for one in runs_of(config, tmp_path, {name: {"sbi": 1.0}})
    ]
    text = page_of(HOSTILE, results(config, reports), tmp_path, 0.5)
    assert "<script" not in text
    assert text.count("&lt;script&gt;") > 5


def test_a_sweep_is_drawn_with_its_values(tmp_path):
    sweeps = {
        "lam": {"title": HOSTILE, "variants": {"both": 0.9, "adversarial": 1.0, "baseline": 0.5, "absent": 0.1}},
        "steps": {"title": "s", "variants": {"absent": 1.0}},
    }
    config = table("adversarial", "both", "baseline", sweeps=sweeps)
    names = ("gan_inverted", "gan_inverted/jpeg_40", "other_generator")
    reports = [(one, report(dict.fromkeys(names, 0.7), lam=0.0)) for one in runs_of(config, tmp_path)]
    found = results(config, reports)
    assert list(found["sweeps"]) == ["lam"]
    assert list(found["sweeps"]["lam"]["variants"]) == ["baseline", "both", "adversarial"]
    page = shown(found, tmp_path)
    assert "AUC against &lt;script&gt;" in page
    assert all(f">{place}<" in page for place in ("0.5", "0.9", "1"))


def test_which_objective_falls_first_is_read_off_the_histories(tmp_path):
    config = table("both")
    reports = [(one, report({"gan_inverted": 0.7, "fwa": 0.5})) for one in runs_of(config, tmp_path)]
    for one, _ in reports:
        one.folder.mkdir(parents=True)
        rows = [
            {"step": step, "loss/contrastive": 2.0 if step < 5 else 0.2, "loss/cross_entropy": 0.7 if step < 9 else 0.1}
            for step in range(1, 13)
        ]
        (one.folder / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    page = shown(results(config, reports), tmp_path)
    assert "first below half: cross-entropy at step 9, contrastive at step 5" in page
