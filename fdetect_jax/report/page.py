"""The report as one HTML file: data in, text out. No script, nothing fetched, every string escaped."""

import base64
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape

import numpy as np

from fdetect_jax.evaluation.metrics import Test
from fdetect_jax.report.curves import attack_charts, headline, training_charts
from fdetect_jax.report.embedding import embedding_chart
from fdetect_jax.report.gallery import Gallery, png
from fdetect_jax.report.plots import PALETTE, Chart, roc_chart, score_chart
from fdetect_jax.report.style import CSS

_ROWS = 8
_SIDE = 224  # pixels a picture is stored at


def render(
    *,
    title: str,
    description: str,
    config: Mapping,
    tests: Sequence[Test],
    results: Sequence[Mapping[str, float]],
    figures: Mapping[str, float],
    history: Sequence[dict],
    gallery: Gallery | None,
    embeddings: Mapping[str, np.ndarray],
    step: int,
    seconds: float,
) -> str:
    """The page. ``results`` are the tests' metrics in order, the rest as in ``report.write``."""
    sections = [
        _header(title, description, history, step, seconds),
        _verdicts(tests, results),
        _figures(figures),
        _curves(tests, results),
        _attack(history),
        _gallery(gallery),
        _embeddings(embeddings),
        _training(history, tests),
        details("Config", config),
    ]
    return document(title, sections)


def document(title: str, sections: Iterable[str], style: str = "") -> str:
    """A page that opens offline: sections of HTML (empty ones left out) under the project's style and ``style``."""
    colours = "".join(f"--{name}:{light};" for name, (light, _) in PALETTE.items())
    dark = "".join(f"--{name}:{dark};" for name, (_, dark) in PALETTE.items())
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta name="color-scheme" content="light dark">\n<title>{escape(title)}</title>\n<style>\n'
        f":root{{{colours}}}\n@media (prefers-color-scheme: dark){{:root{{{dark}}}}}\n{CSS}{style}"
        "</style>\n</head>\n<body>\n<main>\n" + "\n".join(filter(None, sections)) + "\n</main>\n</body>\n</html>\n"
    )


def verdict(result: Mapping[str, float]) -> str:
    """A word for an AUC: strong from 0.95, fair from 0.8, else weak; chance near 0.5.

    Near is two standard errors of the Mann-Whitney statistic when both classes score alike,
    sqrt((n + m + 1) / (12 n m)). Below that band the scores are inverted: reals look more fake than fakes.
    """
    n, m, auc = result["n_real"], result["n_fake"], result["auc"]
    if abs(auc - 0.5) <= 2 * math.sqrt((n + m + 1) / (12 * n * m)):
        return "chance"
    if auc < 0.5:
        return "inverted"
    return "strong" if auc >= 0.95 else "fair" if auc >= 0.8 else "weak"


def _header(title: str, description: str, history: Sequence[dict], step: int, seconds: float) -> str:
    facts = [f"{step:,} steps", _duration(seconds)]
    if times := [row["time"] for row in history if math.isfinite(row.get("time", math.nan))]:
        end = datetime.fromtimestamp(times[-1], UTC)
        facts.append(f"{end.day} {end:%B %Y, %H:%M} UTC")
    chips = "".join(f"<li>{escape(fact)}</li>" for fact in facts)
    return f"<header><h1>{escape(title)}</h1><p>{escape(description)}</p><ul class=facts>{chips}</ul></header>"


def _verdicts(tests: Sequence[Test], results: Sequence[Mapping[str, float]]) -> str:
    if not tests:
        return ""
    rows = []
    for test, result in zip(tests, results, strict=True):
        word = verdict(result)
        rows.append(
            f'<tr><th scope=row>{escape(test.title)}</th><td><b class="badge {word}">{word}</b></td>'
            f'<td class=auc><span>{result["auc"]:.4f}</span><i style="--share:{result["auc"]:.4f}"></i></td>'
            f"<td>{100 * result['accuracy']:.1f} %</td><td>{100 * result['eer']:.1f} %</td>"
            f"<td>{result['ap']:.4f}</td><td>{result['n_real']:,}</td><td>{result['n_fake']:,}</td></tr>"
        )
    heads = ("Test", "Verdict", "AUC", "Accuracy", "EER", "AP", "Real", "Fake")
    head = "".join(f"<th scope=col>{name}</th>" for name in heads)
    hardest = min(zip(tests, results, strict=True), key=lambda pair: pair[1]["auc"])
    lead = f"<p>Hardest of {len(tests)}: {escape(hardest[0].title)}.</p>" if len(tests) > 1 else ""
    note = (
        "<p class=note>AUC: the probability that a fake scores above a real face. "
        "Accuracy: at P(fake) = 0.5. EER: where false alarms equal misses. AP: average precision on fakes. "
        "Verdict by AUC: strong from 0.95, fair from 0.8, weak below; chance within two standard errors of "
        "0.5, inverted where reals outscore fakes.</p>"
    )
    table = f"<div class=scroll><table class=verdicts><tr>{head}</tr>{''.join(rows)}</table></div>"
    return section("Verdict", lead + table + note)


def _figures(figures: Mapping[str, float]) -> str:
    if not figures:
        return ""
    tiles = "".join(f"<div><dt>{escape(headline(k))}</dt><dd>{_number(k, v)}</dd></div>" for k, v in figures.items())
    return section("Key figures", f"<dl class=tiles>{tiles}</dl>")


def _curves(tests: Sequence[Test], results: Sequence[Mapping[str, float]]) -> str:
    if not tests:
        return ""
    aucs = [result["auc"] for result in results]
    charts = [roc_chart(tests, aucs, logarithmic) for logarithmic in (False, True)]
    scores = [score_chart(test, f"scores-{index}") for index, test in enumerate(tests)]
    return section("ROC", figures_of(charts)) + section("Scores", figures_of(scores))


def _attack(history: Sequence[dict]) -> str:
    charts, drop = attack_charts(history)
    if not charts:
        return ""
    change = "lowered" if drop >= 0 else "raised"
    lead = (
        "<p>A face is inverted into latent space and rendered; then its latent is moved to make the detector "
        f"less sure. Over the last quarter of the run the attack {change} P(fake) by <b>{abs(drop):.3f}</b> "
        "on average: the shaded gap.</p>"
    )
    return section("The attack at work", lead + figures_of(charts))


def _gallery(gallery: Gallery | None) -> str:
    if gallery is None:
        return ""
    names = list(gallery.columns)
    cells = [f"<div class=name>{escape(name)}</div>" for name in names]
    for row in range(min(_ROWS, len(gallery.columns[names[0]]))):
        cells.extend(_picture(gallery, name, row) for name in names)
    lead = "<p>Under each picture the detector's P(fake).</p>" if gallery.scores else ""
    grid = f'<div class=pictures style="--columns:{len(names)}">{"".join(cells)}</div>'
    return section("Pictures", lead + grid)


def _embeddings(embeddings: Mapping[str, np.ndarray]) -> str:
    if not embeddings:
        return ""
    lead = "<p>What the classifier sees of held-out faces: its input, along the two directions of most variance.</p>"
    return section("Embedding space", lead + figures_of([embedding_chart("Principal components", embeddings, "pca")]))


def picture(image: np.ndarray, label: str, side: int) -> str:
    """An ``<img>`` that holds its own pixels. image: (H, W, 3) uint8; stored at ``side`` pixels at most."""
    data = base64.b64encode(png(image, side)).decode()
    return f'<img src="data:image/png;base64,{data}" alt="{escape(label)}">'


def _picture(gallery: Gallery, name: str, row: int) -> str:
    caption = ""
    if name in gallery.scores:
        score = float(gallery.scores[name][row])
        side = "fake" if score >= 0.5 else "real"
        bar = f'<i style="--share:{score:.4f}"></i>'
        caption = f"<figcaption class={side}><small>P(fake)</small> {score:.3f}{bar}</figcaption>"
    return f"<figure>{picture(gallery.columns[name][row], f'{name}, face {row + 1}', _SIDE)}{caption}</figure>"


def _training(history: Sequence[dict], tests: Sequence[Test]) -> str:
    charts = training_charts(history, {test.name: test.title for test in tests})
    return section("Training", figures_of(charts)) if charts else ""


def details(title: str, config: Mapping) -> str:
    """A nested mapping as a table of its leaves, folded; nothing where it is empty."""
    rows = "".join(f"<tr><th scope=row>{escape(k)}</th><td>{escape(v)}</td></tr>" for k, v in _flat(config))
    return f"<details><summary>{title}</summary><div class=scroll><table>{rows}</table></div></details>" if rows else ""


def _flat(config: Mapping, prefix: str = "") -> Iterable[tuple[str, str]]:
    for key, value in config.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


def figures_of(charts: Sequence[Chart]) -> str:
    """Charts side by side."""
    return f"<div class=charts>{''.join(map(_chart, charts))}</div>"


def _chart(chart: Chart) -> str:
    items = "".join(
        f'<li><i{" class=dashed" if dashed else ""} style="--c:var(--{colour})"></i>{escape(label)}</li>'
        for colour, label, dashed in chart.legend
    )
    legend = f"<ul class=legend>{items}</ul>" if items else ""
    return f"<figure><figcaption>{escape(chart.title)}</figcaption>{chart.svg}{legend}</figure>"


def section(title: str, content: str) -> str:
    """A section; ``title`` is plain text without marks, ``content`` HTML."""
    return f"<section><h2>{title}</h2>{content}</section>"


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _number(name: str, value: float) -> str:
    value = float(value)
    if not np.isfinite(value):
        return "∞" if value > 0 else "–"
    if "psnr" in name.lower():
        return f"{value:.2f}<small> dB</small>"
    if value.is_integer() and abs(value) >= 10:
        return f"{value:,.0f}"
    return f"{value:.4g}"
