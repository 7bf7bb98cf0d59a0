"""A table as one HTML file that opens offline: results in, text out."""

from collections.abc import Iterator, Mapping
from html import escape
from pathlib import Path

import numpy as np

from fdetect_jax import weights
from fdetect_jax.experiments.results import MEANS, headings
from fdetect_jax.report.curves import series_of
from fdetect_jax.report.embedding import embedding_chart
from fdetect_jax.report.page import document, figures_of, section
from fdetect_jax.report.plots import Series, SeverityCurve, curve_chart, severity_chart
from fdetect_jax.train.detector import EMBEDDINGS
from fdetect_jax.train.writer import read_history

_GROUPS = {
    "inverted": "GAN-inverted",
    "unseen": "Unseen by every variant",
    "robust": "GAN-inverted, damaged",
    "others": "Seen by some variant",
}
_NOTE = (
    "Mean over seeds, ± its standard error. A dot: the variant was trained on fakes of this kind. Variants that share a "
    "seed share faces, order and initial weights; differences are paired by it, with Student's 95 % interval. It tells how "
    "far seeds go on these test faces: a difference of a face or two says nothing of others, and of twenty differences "
    "that are none about one leaves out zero. GAN-inverted faces are of the generator that the adversaries come from."
)
_STYLE = """
.variants td,.variants th[scope=col]{white-space:nowrap;text-align:right;vertical-align:top}
.variants th[scope=col],.variants th[scope=colgroup]{color:var(--muted);font-weight:500;font-size:.8rem}
.variants th[scope=col]{white-space:normal;min-width:6.5em}
.variants th[scope=colgroup]{text-align:center;border-left:1px solid var(--grid)}
.variants small{color:var(--muted);display:block;font-weight:400}
.variants .best{font-weight:700}.variants .mean{background:color-mix(in srgb,var(--s1) 7%,transparent)}
.variants .seen span::before{content:"• ";color:var(--s2)}
.variants .higher{color:var(--good);font-weight:600}.variants .lower{color:var(--bad);font-weight:600}
"""


def render(title: str, found: Mapping, workdir: Path) -> str:
    """The page. found: of ``results.results``. workdir: the table's, for curves, embeddings and links."""
    variants = {variant: one["title"] for variant, one in found["variants"].items()}
    swept = {variant for sweep in found["sweeps"].values() for variant in sweep["variants"]}
    table = [
        variant
        for variant in variants
        if variant not in swept or any(variant in (c["a"], c["b"]) for c in found["comparisons"])
    ]
    seeds = ", ".join(map(str, found["seeds"]))
    header = f"<header><h1>{escape(title)}</h1><p>Seeds {seeds}.</p></header>"
    sections = [
        header,
        section("AUC", _table(found, table, "auc")),
        section("Accuracy at P(fake) = 0.5", _table(found, table, "accuracy") + f"<p class=note>{_NOTE}</p>"),
        section("Differences", _comparisons(found)),
        _sweeps(found),
        _objectives(found, table, workdir),
        _embeddings(found, table, workdir),
        section("Runs", _runs(found)),
    ]
    return document(title, sections, _STYLE)


def _table(found: Mapping, variants: list[str], metric: str) -> str:
    columns, heads = found["columns"], headings(found)
    groups = "".join(
        f"<th scope=colgroup colspan={len(names)}>{_GROUPS[group]}</th>" for group, names in columns.items()
    )
    names = [name for group in columns.values() for name in group]
    head = "".join(f"<th scope=col>{escape('mean' if name in MEANS else heads[name])}</th>" for name in names)
    best = {
        name: max(found["variants"][variant]["tests"][name][metric]["mean"] for variant in variants) for name in names
    }
    body = ""
    for variant in variants:
        one = found["variants"][variant]
        cells = ""
        for name in names:
            value = one["tests"][name][metric]
            marks = ["best"] * (value["mean"] == best[name]) + ["mean"] * (name in MEANS)
            marks += ["seen"] * (name in _seen(one["trained_on"]))
            mean = f"<span>{value['mean']:.3f}</span>"
            cells += f'<td class="{" ".join(marks)}">{mean}<small>± {value["error"]:.3f}</small></td>'
        body += f"<tr><th scope=row>{escape(one['title'])}</th>{cells}</tr>"
    first = f"<tr><th></th>{groups}</tr><tr><th></th>{head}</tr>"
    return f"<div class=scroll><table class=variants>{first}{body}</table></div>"


def _seen(trained_on: list[str]) -> set[str]:
    device = {"latent": {"gan_inverted", "adversarial"}, "reconstruction": {"gan_inverted"}}
    return {test for kind in trained_on for test in device.get(kind, {kind})}


def _comparisons(found: Mapping) -> str:
    heads, rows = headings(found), {}
    for one in found["comparisons"]:
        rows.setdefault((one["a"], one["b"]), {})[one["column"], one["metric"]] = one
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = "".join(f"<th scope=col>{escape(heads[column])}: {metric}</th>" for column, metric in columns)
    body = ""
    for pair, row in rows.items():
        a, b = (escape(found["variants"][variant]["title"]) for variant in pair)
        cells = "".join(_difference(row[column]) for column in columns)
        body += f"<tr><th scope=row>{a}<small>against {b}</small></th>{cells}</tr>"
    return f"<div class=scroll><table class=variants><tr><th></th>{head}</tr>{body}</table></div>"


def _difference(one: Mapping) -> str:
    mark = one["verdict"] if one["verdict"] in ("higher", "lower") else "none"
    interval = f"{one['low']:+.3f} to {one['high']:+.3f}"
    return f"<td class={mark}>{one['mean']:+.3f}<small>{interval}</small><small>{one['verdict']}</small></td>"


def _sweeps(found: Mapping) -> str:
    charts = []
    for number, sweep in enumerate(found["sweeps"].values()):
        curves = []
        for column, label in (("gan_inverted", _GROUPS["inverted"]), *MEANS.items()):
            values = [found["variants"][variant]["tests"].get(column, {}).get("auc") for variant in sweep["variants"]]
            if all(values):
                mean, error = (np.array([one[name] for one in values]) for name in ("mean", "error"))
                curves.append(SeverityCurve(label, mean, np.stack([mean - error, mean + error], 1)))
        if not curves:
            continue
        floor = max(0.0, np.floor(10 * min(0.5, *(curve.intervals.min() for curve in curves))) / 10)
        places = [f"{value:g}" for value in sweep["variants"].values()]
        title = sweep["title"]
        charts.append(severity_chart(f"AUC against {title}", title, places, curves, floor, f"sweep-{number}"))
    note = "<p class=note>Bands: ± one standard error over seeds.</p>"
    return section("Sweeps", figures_of(charts) + note) if charts else ""


def _objectives(found: Mapping, variants: list[str], workdir: Path) -> str:
    charts, lines = [], []
    for variant in variants:
        terms = _terms([read_history(workdir / variant / f"seed_{seed}") for seed in found["seeds"]])
        if len(terms) < 2:
            continue
        series = [Series(name, steps, values) for name, (steps, values) in terms.items()]
        title = found["variants"][variant]["title"]
        charts.append(curve_chart(title, series, f"objective-{variant}"))
        halved = ", ".join(f"{name} {_halved(steps, values)}" for name, (steps, values) in terms.items())
        lines.append(f"<li>{escape(title)}: first below half: {escape(halved)}.</li>")
    lead = "<p>Terms of the loss, as shares of their means over the first three steps; mean over seeds.</p>"
    found_out = f"<ul>{''.join(lines)}</ul>"
    return section("Which objective falls first", lead + figures_of(charts) + found_out) if charts else ""


def _terms(histories: list[list[dict]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """term -> (steps, share of its start), the mean over histories; of what both objectives of Eq. 5 are made of."""
    names = {"loss/cross_entropy": "cross-entropy", "loss/contrastive": "contrastive"}
    found = [series_of(history) for history in histories]
    terms = {}
    for name, label in names.items():
        if all(name in one for one in found):
            steps = found[0][name][0]
            values = np.mean([one[name][1] / one[name][1][:3].mean() for one in found], axis=0)
            terms[label] = steps, values
    return terms


def _halved(steps: np.ndarray, values: np.ndarray) -> str:
    """When the values are first below a half."""
    below = np.flatnonzero(values < 0.5)
    return f"at step {steps[below[0]]:.0f}" if len(below) else "never"


def _embeddings(found: Mapping, variants: list[str], workdir: Path) -> str:
    charts, seed = [], found["seeds"][0]
    for variant in variants:
        path = workdir / variant / f"seed_{seed}" / EMBEDDINGS
        if path.is_file():
            rows = weights.read(path, "embeddings")[1]
            rows = {"real": rows.pop("real"), **rows}
            charts.append(embedding_chart(found["variants"][variant]["title"], rows, f"embedding-{variant}"))
    lead = f"<p>What the classifier sees of held-out faces, two principal components of each variant; seed {seed}.</p>"
    return section("Embedding spaces", lead + figures_of(charts)) if charts else ""


def _runs(found: Mapping) -> str:
    return f"<div class=scroll><table>{''.join(_run_rows(found))}</table></div>"


def _run_rows(found: Mapping) -> Iterator[str]:
    for variant, one in found["variants"].items():
        links = ", ".join(f'<a href="{variant}/seed_{seed}/report.html">seed {seed}</a>' for seed in found["seeds"])
        facts = f"{one['steps']:,} steps", f"{one['seconds']:.0f} s of training"
        cells = "".join(f"<td>{text}</td>" for text in (*facts, links))
        yield f"<tr><th scope=row>{escape(one['title'])}</th>{cells}</tr>"
