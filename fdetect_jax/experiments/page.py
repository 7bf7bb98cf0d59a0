"""The HTML page of a table. In: results and the runs' folders, from which curves and embeddings are read."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from fdetect_jax import weights
from fdetect_jax.evaluation.embeddings import embedding_chart
from fdetect_jax.evaluation.metrics import METRICS
from fdetect_jax.evaluation.results import columns
from fdetect_jax.experiments.results import COLUMNS, GROUPS, MEANS
from fdetect_jax.report.curves import series_of
from fdetect_jax.report.plots import Chart, Series, SeverityCurve, curve_chart, severity_chart
from fdetect_jax.report.table_page import table_page
from fdetect_jax.train.detector import EMBEDDINGS
from fdetect_jax.train.writer import read_history

_TERMS = {"loss/cross_entropy": "cross-entropy", "loss/contrastive": "contrastive"}  # of Eq. 5


def page_of(title: str, found: Mapping, workdir: Path, threshold: float) -> str:
    """The HTML page. found: of ``results.results``. workdir: the table's. threshold: of its runs' tests."""
    swept = {variant for sweep in found["sweeps"].values() for variant in sweep["variants"]}
    compared = {one[side] for one in found["comparisons"] for side in "ab"}
    variants = [variant for variant in found["variants"] if variant not in swept - compared]
    metrics = [(column, METRICS[column.name].better) for column in columns(threshold) if column.name in COLUMNS]
    return table_page(
        title,
        found,
        groups=GROUPS,
        means=list(MEANS),
        metrics=metrics,
        variants=variants,
        sweeps=list(_sweeps(found)),
        objectives=list(_objectives(found, variants, workdir)),
        embeddings=list(_embeddings(found, variants, workdir)),
    )


def _sweeps(found: Mapping) -> Iterator[Chart]:
    for number, sweep in enumerate(found["sweeps"].values()):
        curves = []
        for column, label in (("gan_inverted", GROUPS["inverted"]), *MEANS.items()):
            values = [found["variants"][variant]["tests"].get(column, {}).get("auc") for variant in sweep["variants"]]
            if all(values):
                mean, error = (np.array([one[name] for one in values]) for name in ("mean", "error"))
                curves.append(SeverityCurve(label, mean, np.stack([mean - error, mean + error], 1)))
        if not curves:
            continue
        floor = max(0.0, np.floor(10 * min(0.5, *(curve.intervals.min() for curve in curves))) / 10)
        places = [f"{value:g}" for value in sweep["variants"].values()]
        title = sweep["title"]
        yield severity_chart(f"AUC against {title}", title, places, curves, floor, f"sweep-{number}")


def _objectives(found: Mapping, variants: Sequence[str], workdir: Path) -> Iterator[tuple[str, str, Chart]]:
    for variant in variants:
        terms = _terms([read_history(workdir / variant / f"seed_{seed}") for seed in found["seeds"]])
        if len(terms) < 2:
            continue
        title = found["variants"][variant]["title"]
        series = [Series(name, steps, values) for name, (steps, values) in terms.items()]
        words = ", ".join(f"{name} {_halved(steps, values)}" for name, (steps, values) in terms.items())
        yield title, words, curve_chart(title, series, f"objective-{variant}")


def _terms(histories: list[list[dict]]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """term -> (steps, share of its initial value), mean over histories; of the terms in both objectives of Eq. 5."""
    found = [series_of(history) for history in histories]
    terms = {}
    for name, label in _TERMS.items():
        if all(name in one for one in found):
            steps = found[0][name][0]
            values = np.mean([one[name][1] / one[name][1][:3].mean() for one in found], axis=0)
            terms[label] = steps, values
    return terms


def _halved(steps: np.ndarray, values: np.ndarray) -> str:
    """The step at which the values first fall below one half."""
    below = np.flatnonzero(values < 0.5)
    return f"at step {steps[below[0]]:.0f}" if len(below) else "never"


def _embeddings(found: Mapping, variants: Sequence[str], workdir: Path) -> Iterator[Chart]:
    """The embeddings of the first seed, for each variant that has some."""
    for variant in variants:
        path = workdir / variant / f"seed_{found['seeds'][0]}" / EMBEDDINGS
        if path.is_file():
            rows = weights.read(path, "embeddings")[1]
            rows = {"real": rows.pop("real"), **rows}
            yield embedding_chart(found["variants"][variant]["title"], rows, f"embedding-{variant}")
