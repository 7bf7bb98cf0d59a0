"""A training's two files: the JSON's schema, and a page that is whole, safe and offline."""

import json
import math
import re

import cv2
import numpy as np
import pytest

from fdetect_jax.evaluation import training_report
from fdetect_jax.evaluation.localisation import FIGURES, Localisation
from fdetect_jax.evaluation.metrics import METRICS, Metric, Undefined
from fdetect_jax.evaluation.results import measure
from fdetect_jax.evaluation.table import Test, pairs
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.report import gallery
from fdetect_jax.report.gallery import Gallery
from tests.pages import HOSTILE, Page

SECTIONS = ["Verdict", "Key figures", "ROC", "Scores", "The attack at work", "Pictures", "Embedding space", "Training"]


def scored(name="gan_inverted", title="GAN-inverted faces", count=20, shift=2.0):
    rng = np.random.default_rng(len(name))
    return Test(name, title, pairs(rng.normal(size=count), rng.normal(shift, 1, count), method=name))


def rows(count=90):
    for step in range(1, count + 1):
        yield {
            "step": step,
            "time": 1.7e9 + step,
            "seconds": 0.5,
            "loss": 1 / step,
            "loss/margin": 0.5 / step,
            "accuracy": step / count,
            "learning_rate": 1e-3,
            "p_fake/reconstruction": 0.9,
            "p_fake/adversary": 0.4,
            "delta_norm": 2.0,
            "on_sphere": 0.7,
        }
        if step % 30 == 0:
            yield {"step": step, "time": 1.7e9 + step, "eval/accuracy": 0.8, "eval/gan_inverted/auc": 0.9}


def pictures(size=24, count=9):
    rng = np.random.default_rng(1)
    real, fake = (rng.integers(0, 256, (count, size, size, 3), dtype=np.uint8) for _ in range(2))
    return {"real": real, "adversary": fake, "difference ×8": gallery.difference(real, fake)}


def write(workdir, **changes):
    content = {
        "title": "Flagship",
        "description": "One line.",
        "config": {"model": {"name": "b4"}, "attack": {"epsilon": 2.0, "steps": (3, 4)}},
        "tests": [scored(), scored("adversarial", "Adversarial faces", shift=0.5)],
        "figures": {"reconstruction_psnr": 24.5},
        "history": list(rows()),
        "gallery": Gallery(pictures(), {"real": np.full(9, 0.1), "adversary": np.full(9, 0.8)}),
        "embeddings": {"real": np.eye(9), "adversary": 2 * np.eye(9)},
        "step": 90,
        "seconds": 4000.0,
    }
    return training_report.write(workdir, **(content | changes))


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_json_schema(tmp_path):
    calibration = Calibration(2.0, -0.5, 0.4, "validation", 9, 9)
    returned = write(tmp_path, calibration=calibration, seed=3)
    found = strict(tmp_path / "report.json")
    assert found == returned
    shared = ["schema", "job", "title", "description", "model", "calibration", "threshold", "seed", "tests", "figures"]
    assert list(found) == [*shared, "step", "seconds", "config", "classes", "localisation"]
    assert found["localisation"] == {}
    assert (found["schema"], found["job"], found["step"], found["seconds"]) == (2, "training", 90, 4000.0)
    assert (found["threshold"], found["seed"], found["calibration"]["temperature"]) == (0.4, 3, 2.0)
    assert found["config"] == {"model": {"name": "b4"}, "attack": {"epsilon": 2.0, "steps": [3, 4]}}
    assert list(found["tests"]) == ["gan_inverted", "adversarial"]
    assert found["tests"]["gan_inverted"] == measure(scored(), calibration, 0.4, 3)
    assert found["figures"] == {"reconstruction_psnr": 24.5}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_json_is_strict_whatever_it_is_given(tmp_path):
    config = {"limit": math.inf, "dtype": np.float32, "rate": np.float32(0.5), 3: {1: None}, "on": np.True_}
    write(tmp_path, config=config, figures={"psnr": math.inf, "ssim": np.float32(math.nan)})
    found = strict(tmp_path / "report.json")
    assert found["figures"] == {"psnr": None, "ssim": None}
    expected = {"limit": "inf", "rate": 0.5, "3": {"1": None}, "on": True}
    assert {key: found["config"][key] for key in expected} == expected


def test_page_is_whole_and_offline(tmp_path):
    write(tmp_path)
    found = Page((tmp_path / "report.html").read_text())
    assert found.headings == SECTIONS
    assert {"details", "summary", "table", "img", "svg"} <= set(found.tags)
    found.check()


def test_same_input_same_page(tmp_path):
    write(tmp_path / "a")
    write(tmp_path / "b")
    assert (tmp_path / "a" / "report.html").read_bytes() == (tmp_path / "b" / "report.html").read_bytes()


def test_every_given_string_is_escaped(tmp_path):
    columns = {HOSTILE + name: images for name, images in pictures().items()}
    write(
        tmp_path,
        title=HOSTILE,
        description=HOSTILE,
        config={HOSTILE: {"inner": HOSTILE}},
        tests=[scored(title=HOSTILE)],
        figures={HOSTILE: 1.0},
        history=[{"step": step, "time": 0.0, HOSTILE: 1.0, f"loss/{HOSTILE}": 2.0} for step in (1, 2)],
        gallery=Gallery(columns),
        embeddings={"real": np.eye(9), HOSTILE: 2 * np.eye(9)},
    )
    text = (tmp_path / "report.html").read_text()
    Page(text).check()
    assert text.count("&lt;script&gt;") >= 8
    assert strict(tmp_path / "report.json")["title"] == HOSTILE


def test_pictures_carry_their_scores_and_their_pixels(tmp_path):
    columns = pictures()
    write(tmp_path, gallery=Gallery(columns, {"adversary": np.linspace(0.1, 0.9, 9)}))
    text = (tmp_path / "report.html").read_text()
    assert Page(text).tags.count("img") == 8 * 3
    assert re.findall(r'<figcaption class="(\w+)"><small>P\(fake\)</small> ([\d.]+)', text) == [
        ("real" if score < 0.5 else "fake", f"{score:.3f}") for score in np.linspace(0.1, 0.9, 9)[:8]
    ]
    decoded = cv2.imdecode(np.frombuffer(gallery.png(columns["real"][0]), np.uint8), cv2.IMREAD_COLOR)
    np.testing.assert_array_equal(decoded[..., ::-1], columns["real"][0])


def test_attack_reports_the_mean_drop_of_the_last_quarter(tmp_path):
    history = [
        {"step": s, "time": 0.0, "p_fake/reconstruction": 0.9, "p_fake/adversary": 0.1 if s <= 75 else 0.65}
        for s in range(1, 101)
    ]
    write(tmp_path, history=history)
    assert "lowered P(fake) by <b>0.250</b>" in (tmp_path / "report.html").read_text()


def test_trainers_without_tests(tmp_path):
    history = [
        {"step": s, "loss/generator": 1.0 + s % 3, "loss/r1": 10.0**-s, "rate/fps": math.nan} for s in range(1, 7)
    ]
    write(tmp_path, tests=[], history=history, figures={})
    found = Page((tmp_path / "report.html").read_text())
    assert found.headings == ["Pictures", "Embedding space", "Training"]
    assert strict(tmp_path / "report.json")["tests"] == {}


def test_with_nothing_to_show(tmp_path):
    write(tmp_path, tests=[], history=[], figures={}, gallery=None, embeddings={}, config={}, step=0, seconds=0.0)
    assert Page((tmp_path / "report.html").read_text()).headings == []


def test_training_groups_by_prefix_and_joins_evaluation(tmp_path):
    write(tmp_path)
    text = (tmp_path / "report.html").read_text()
    assert "<li>14 November 2023, 22:14 UTC</li>" in text
    titles = re.findall(r"<figcaption>([^<]+)</figcaption>", text[text.index("<h2>Training") :])
    assert titles == ["Loss", "Accuracy", "Learning rate", "GAN-inverted faces, evaluation"]
    assert "</i>total</li>" in text
    assert "</i>eval</li>" in text


def test_names_must_differ_and_a_bad_test_is_named(tmp_path):
    with pytest.raises(ValueError, match="two tests are named 'gan_inverted'"):
        write(tmp_path, tests=[scored(), scored()])
    with pytest.raises(ValueError, match="test 'one': found 1 of 4 margins"):
        write(tmp_path, tests=[Test("one", "One", pairs(np.array([0.0, np.nan]), np.ones(2), method="m"))])
    assert list(tmp_path.iterdir()) == []


def test_a_test_of_one_class_is_shown_with_dashes(tmp_path):
    test = scored()
    reals = Test("reals", "Reals alone", test.units.rows(test.units.label == 0))
    found = write(tmp_path, tests=[reals, test])
    assert found["tests"]["reals"]["auc"] is None
    assert found["tests"]["reals"]["undefined"]["auc"] == "both classes are needed, found 20 real and 0 fake"
    text = (tmp_path / "report.html").read_text()
    row = text[text.index("Reals alone") : text.index("GAN-inverted faces")]
    assert row.count("<td>–</td>") == 7
    Page(text).check()


def test_a_metric_from_outside_stands_in_json_table_and_text(tmp_path, monkeypatch):
    def gap(view):
        if len(view.labels) > 40:
            raise Undefined("too many")
        return float(np.ptp(view.margins))

    monkeypatch.setitem(METRICS, "gap", Metric(gap, "Gap", "Between the <outermost> margins.", better="higher"))
    found = write(tmp_path, tests=[scored(), scored("many", "Many", count=30)])
    assert found["tests"]["gan_inverted"]["gap"] == np.ptp(scored().units.margin)
    assert (found["tests"]["many"]["gap"], found["tests"]["many"]["undefined"]["gap"]) == (None, "too many")
    text = (tmp_path / "report.html").read_text()
    assert '<th scope="col">Gap</th>' in text
    assert f"<td>{found['tests']['gan_inverted']['gap']:.4f}</td>" in text
    assert "Between the &lt;outermost&gt; margins." in text
    head, first, second, _ = training_report.summary(found)
    assert "Gap" in head
    assert f"{found['tests']['gan_inverted']['gap']:.4f}" in first
    assert second.split()[-5] == "–"


def test_what_the_masks_are_worth_stands_in_json_and_page(tmp_path):
    figures = {column.name: 0.1 * number for number, column in enumerate(FIGURES, 1)}
    masks = Gallery({name: np.zeros((9, 6, 6, 3), np.uint8) for name in ("fake", "true mask")})
    where = {"swap": Localisation("Swapped <faces>", 1234, figures)}
    found = write(tmp_path, localisation=where, masks=masks, gallery=None)
    assert found["localisation"] == {"swap": {"title": "Swapped <faces>", "faces": 1234, **figures}}
    assert strict(tmp_path / "report.json")["localisation"] == found["localisation"]
    text = (tmp_path / "report.html").read_text()
    page = Page(text)
    page.check()
    assert "Where the forgery is" in page.headings
    assert page.tags.count("img") == 8 * 2
    row = text[text.index('<th scope="row">Swapped &lt;faces&gt;') :]
    cells = re.findall("<td>(.*?)</td>", row[: row.index("</tr>")])
    assert cells == [*(column.text(figures[column.name]) for column in FIGURES), "1,234"]
    for column in FIGURES:
        assert f"<b>{column.title}</b>: {column.note}" in text


def test_summary_has_a_line_for_each_test_and_figure(tmp_path):
    found = write(tmp_path, figures={"psnr": 24.5, "ssim": math.nan})
    lines = list(training_report.summary(found))
    assert len(lines) == 1 + 2 + 2
    assert lines[1].split()[0] == "gan_inverted"
    assert f"{found['tests']['gan_inverted']['auc']:.4f}" in lines[1]
    assert lines[1].endswith("(20 real, 20 fake)")
    assert [line.split() for line in lines[3:]] == [["psnr", "24.500"], ["ssim", "not", "finite"]]
    assert list(training_report.summary(write(tmp_path, tests=[], figures={}))) == []
