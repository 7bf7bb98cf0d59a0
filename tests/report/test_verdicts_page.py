"""The page of verdicts: cards with their evidence, files without a picture, and hostile names."""

import re

from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.verdicts_page import PAGE, write_page
from tests.pages import HOSTILE, Page


def row(file, verdict="real", score=0.2, **changes):
    return {
        "file": file,
        "verdict": verdict,
        "score": score,
        "reason": f"why {file}",
        "kind": "image",
        "annotated": f"{file}.jpg" if score is not None else None,
        "poster": None,
        "heat_map": None,
        "note": "",
        "classes": {},
        "evidence": [],
    } | changes


def evidence(name, side="neither", strength=0.0, words="words", picture=None, title=None):
    row = {"name": name, "speaks_for": side, "strength": strength, "words": words, "value": None}
    return row | {"picture": picture, "title": title or name}


def written(folder, rows):
    write_page(folder, rows, f"detector {HOSTILE}", Protocol(threshold=0.25))
    page = Page((folder / PAGE).read_text())
    page.check(r"[\w%.]+\.(jpg|mp4|png)")
    return page


def test_the_highest_score_comes_first_and_every_file_is_there(tmp_path):
    rows = [
        row("a"),
        row("b", "fake", 0.9, kind="video", annotated="b c.mp4", heat_map="heat.png", poster="b c.jpg"),
        row("none", "not_applicable", None, note="nothing drawn"),
        row("bad", "unable_to_evaluate", None),
    ]
    page = written(tmp_path, rows)
    assert page.headings == ["Files", "Without a picture"]
    assert page.tags.count("video") == page.tags.count("img") == 1
    assert page.text.index("why b") < page.text.index("why a") < page.text.index("nothing drawn")
    badges = re.findall(r'<b class="badge (\w+)">([^<]+)</b>', page.text)
    assert badges == [("fake", "fake 0.90"), ("real", "real 0.20"), ("none", "not evaluated"), ("none", "no face")]
    assert 'src="b%20c.mp4"' in page.text
    assert 'href="heat.png"' in page.text
    assert "from P(fake) = 0.250 on" in page.text
    assert "1 not evaluated" in page.text


def test_evidence_is_shown_and_the_detectors_is_not_repeated(tmp_path):
    found = [
        evidence("detector", "fake", 0.8, "the score itself"),
        evidence("blink_rate", "real", 0.4, "blinks as people do", "a.png", "Blink rate"),
        evidence("exif", words="says nothing"),
    ]
    text = written(tmp_path, [row("a", evidence=found, classes={"real": 0.25, "swap": 0.75})]).text
    assert "the score itself" not in text
    assert re.search(r'<dt>Blink rate <b class="badge real">for real 40 %</b></dt>', text)
    assert re.search(r"<dt>exif</dt>\s*<dd>says nothing</dd>", text)
    assert 'href="a.png"' in text
    assert "real 25 %, swap 75 %" in text


def test_every_string_is_escaped(tmp_path):
    one = row(HOSTILE, annotated="x.jpg", evidence=[evidence(HOSTILE, words=HOSTILE)], classes={HOSTILE: 1.0})
    page = written(tmp_path, [one | {"note": HOSTILE}, row(HOSTILE, "unable_to_evaluate", None, reason=HOSTILE)])
    assert page.text.count("&lt;script&gt;") >= 8
