"""Charts: every curve differs from the others in colour or dash, and an axis shows plain numbers."""

import re

import numpy as np

from fdetect_jax.report.plots import RocCurve, Series, curve_chart, roc_chart, scatter_chart
from tests.pages import HOSTILE


def texts(chart):
    return re.findall(r"<text[^>]*>([^<]*)</text>", chart.svg)


def test_twelve_curves_are_told_apart_and_the_legend_shows_how():
    line = np.linspace(0, 1, 5)
    curves = [RocCurve(f"{number}", line, line ** (1 / (1 + number)), 100) for number in range(12)]
    for logarithmic in (False, True):
        chart = roc_chart(curves, logarithmic)
        looks = [(entry.colour, entry.dash) for entry in chart.legend]
        assert len(set(looks)) == 13  # with chance
        assert len({entry.colour for entry in chart.legend[:6]}) == 6
        paths = re.findall(r'<path d="[^"]*" [^>]*style="fill: none;([^"]*stroke-width: 1.6[^"]*)"', chart.svg)
        assert len({re.sub(r"\s", "", style) for style in paths}) == 12


def test_what_does_not_vary_has_a_plain_axis():
    steps = np.arange(1.0, 40)
    for value in (4.0, 1e-4, 0.0):
        values = np.full(39, value) + value * 1e-6 * np.sin(steps)
        chart = curve_chart("x", [Series("", steps, values)], "x")
        found = texts(chart)
        assert not any("+" in text or "e\N{MINUS SIGN}" in text or "×" in text for text in found), found
        ticks = [float(text) for text in found if re.fullmatch(r"-?[\d.]+(e-\d+)?", text)]
        assert len(set(ticks)) >= 4


def test_identifiers_and_labels_are_harmless():
    chart = curve_chart("x", [Series("", np.arange(3), np.arange(3))], f'a"><{HOSTILE}')
    assert "<script" not in chart.svg
    assert not re.search(r'id="[^"]*[<>]', chart.svg)
    points = {name: np.eye(2) for name in ("real", "$a$", "$\\frac$")}
    assert "<script" not in scatter_chart("x", points, [HOSTILE, "$\\nonsense{$"], "y").svg
