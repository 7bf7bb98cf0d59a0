"""The report's two files: the JSON's schema, and a page that is whole, safe and offline."""

import json
import math
import re
from html.parser import HTMLParser

import cv2
import numpy as np
import pytest

from fdetect_jax.evaluation import metrics
from fdetect_jax.report import gallery, page
from fdetect_jax.report import training as report

HOSTILE = '<script>alert("x")</script> & $1'
SECTIONS = ["Verdict", "Key figures", "ROC", "Scores", "The attack at work", "Pictures", "Embedding space", "Training"]


class Page(HTMLParser):
    """Collects tags, attributes, ids and headings, and checks that elements nest."""

    VOID = ("meta", "img", "link", "br")

    def __init__(self, text: str):
        super().__init__()
        self.tags, self.attributes, self.ids, self.headings, self.stack = [], [], [], [], []
        self.feed(text)
        assert self.stack == []

    def handle_starttag(self, tag, attributes):
        self.handle_startendtag(tag, attributes)
        if tag not in self.VOID:
            self.stack.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        self.ids += [value for name, value in attributes if name == "id"]

    def handle_endtag(self, tag):
        assert self.stack.pop() == tag

    def handle_data(self, data):
        if self.stack and self.stack[-1] == "h2":
            self.headings.append(data)


def scored(name="gan_inverted", title="GAN-inverted faces", count=40, shift=0.3):
    rng = np.random.default_rng(len(name))
    labels = np.arange(count) % 2
    return report.Test(name, title, labels, np.clip(rng.normal(0.35 + shift * labels, 0.15), 0, 1))


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
    return {"real": real, "adversary": fake, "difference ×8": report.difference(real, fake)}


def write(workdir, **changes):
    content = {
        "title": "Flagship",
        "description": "One line.",
        "config": {"model": {"name": "b4"}, "attack": {"epsilon": 2.0, "steps": (3, 4)}},
        "tests": [scored(), scored("adversarial", "Adversarial faces", shift=0.1)],
        "figures": {"reconstruction_psnr": 24.5},
        "history": list(rows()),
        "gallery": report.Gallery(pictures(), {"real": np.full(9, 0.1), "adversary": np.full(9, 0.8)}),
        "embeddings": {"real": np.eye(9), "adversary": 2 * np.eye(9)},
        "step": 90,
        "seconds": 4000.0,
    }
    return report.write(workdir, **(content | changes))


def strict(path):
    def refuse(constant):
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(path.read_text(), parse_constant=refuse)


def test_json_schema(tmp_path):
    returned = write(tmp_path)
    found = strict(tmp_path / "report.json")
    assert found == returned
    assert set(found) == {"title", "description", "step", "seconds", "config", "tests"}
    assert (found["step"], found["seconds"]) == (90, 4000.0)
    assert found["config"] == {"model": {"name": "b4"}, "attack": {"epsilon": 2.0, "steps": [3, 4]}}
    assert list(found["tests"]) == ["gan_inverted", "adversarial", "reconstruction_psnr"]
    test = scored()
    assert found["tests"]["gan_inverted"] == metrics.classification(test.labels, test.scores)
    assert found["tests"]["reconstruction_psnr"] == 24.5
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "report.json"]


def test_json_is_strict_whatever_it_is_given(tmp_path):
    config = {"limit": math.inf, "dtype": np.float32, "rate": np.float32(0.5), 3: {1: None}, "on": np.True_}
    write(tmp_path, config=config, figures={"psnr": math.inf, "ssim": np.float32(math.nan)})
    found = strict(tmp_path / "report.json")
    assert (found["tests"]["psnr"], found["tests"]["ssim"]) == (None, None)
    expected = {"limit": "inf", "rate": 0.5, "3": {"1": None}, "on": True}
    assert {key: found["config"][key] for key in expected} == expected


def test_page_is_whole_and_offline(tmp_path):
    write(tmp_path)
    text = (tmp_path / "report.html").read_text()
    found = Page(text)
    assert found.headings == SECTIONS
    assert {"details", "summary", "table"} <= set(found.tags)
    assert not {"script", "link", "iframe", "object", "embed", "base"} & set(found.tags)
    references = [value for name, value in found.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert references
    assert all(value.startswith(("data:image/png;base64,", "#")) for value in references)
    assert "@import" not in text
    assert not re.search(r"url\((?!#)", text)


def test_ids_are_unique_and_every_local_reference_resolves(tmp_path):
    write(tmp_path)
    text = (tmp_path / "report.html").read_text()
    ids = Page(text).ids
    assert len(ids) == len(set(ids))
    assert set(re.findall(r'(?:href="|url\()#([^")]+)', text)) <= set(ids)


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
        gallery=report.Gallery(columns),
    )
    text = (tmp_path / "report.html").read_text()
    assert "script" not in Page(text).tags
    assert "<script" not in text.lower()
    assert text.count("&lt;script&gt;") >= 8
    assert strict(tmp_path / "report.json")["title"] == HOSTILE


def test_pictures_carry_their_scores_and_their_pixels(tmp_path):
    columns = pictures()
    write(tmp_path, gallery=report.Gallery(columns, {"adversary": np.linspace(0.1, 0.9, 9)}))
    text = (tmp_path / "report.html").read_text()
    assert Page(text).tags.count("img") == 8 * 3
    assert re.findall(r"<figcaption class=(\w+)><small>P\(fake\)</small> ([\d.]+)", text) == [
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
    with pytest.raises(ValueError, match=r"gan_inverted.*both tests and figures"):
        write(tmp_path, figures={"gan_inverted": 1.0})
    with pytest.raises(ValueError, match="test 'one': both classes"):
        write(tmp_path, tests=[report.Test("one", "One", np.zeros(3, int), np.full(3, 0.5))])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("auc", "word"),
    [(0.99, "strong"), (0.9, "fair"), (0.7, "weak"), (0.51, "chance"), (0.49, "chance"), (0.2, "inverted")],
)
def test_verdict(auc, word):
    assert page.verdict({"auc": auc, "n_real": 200, "n_fake": 200}) == word


def test_verdict_needs_more_than_a_handful():
    assert page.verdict({"auc": 0.7, "n_real": 4, "n_fake": 4}) == "chance"


def test_difference_is_amplified_and_clipped():
    a, b = np.uint8([[0, 10, 255]]), np.uint8([[3, 0, 0]])
    np.testing.assert_array_equal(report.difference(a, b), [[24, 80, 255]])
    np.testing.assert_array_equal(report.difference(a, b, gain=1), [[3, 10, 255]])


def test_contact_sheet_keeps_pixels(tmp_path):
    columns = pictures(size=80, count=2)
    report.gallery_png(columns, tmp_path / "sheet.png")
    sheet = cv2.imread(str(tmp_path / "sheet.png"))[..., ::-1]
    height, width = sheet.shape[:2]
    assert width == 6 + 3 * 86
    assert height == 26 + 2 * 86
    np.testing.assert_array_equal(sheet[26:106, 6:86], columns["real"][0])
    np.testing.assert_array_equal(sheet[112:192, 92:172], columns["adversary"][1])
    assert sheet[:26].min() < 128, "no labels"


@pytest.mark.parametrize(
    ("columns", "scores", "message"),
    [
        ({}, {}, "at least one column"),
        ({"real": np.zeros((2, 8, 8, 3), np.float32)}, {}, "'real' must be .* uint8"),
        ({"a": np.zeros((2, 8, 8, 3), np.uint8), "b": np.zeros((1, 8, 8, 3), np.uint8)}, {}, "equally many"),
        ({"real": np.zeros((2, 8, 8, 3), np.uint8)}, {"fake": np.zeros(2)}, "'fake'"),
        ({"real": np.zeros((2, 8, 8, 3), np.uint8)}, {"real": np.zeros(3)}, r"\(2,\), found \(3,\)"),
    ],
)
def test_gallery_refuses_what_does_not_line_up(columns, scores, message):
    with pytest.raises(ValueError, match=message):
        report.Gallery(columns, scores)
