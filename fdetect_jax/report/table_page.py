"""A table of many runs as one page: results and charts in, HTML out."""

from collections.abc import Mapping, Sequence
from typing import Any

from fdetect_jax.report.pages import render
from fdetect_jax.report.plots import Chart
from fdetect_jax.report.tables import Column

_DIFFERS = ("higher", "lower")
_FACTS = {  # of a run's figures
    "parameters": "{:,.0f} parameters",
    "rows_per_second": "{:,.0f} rows scored a second",
    "iou/swap": "masks of swaps: IoU {:.2f}",
}


def table_page(
    title: str,
    found: Mapping[str, Any],
    *,
    groups: Mapping[str, str],
    means: Sequence[str],
    metrics: Sequence[tuple[Column, str | None]],
    variants: Sequence[str],
    sweeps: Sequence[Chart],
    objectives: Sequence[tuple[str, str, Chart]],
    embeddings: Sequence[Chart],
) -> str:
    """The page.

    found: of ``experiments.results.results``. groups: group of columns -> its heading. means: columns that are means of
    others. metrics: those to show, with which side is better, "higher", "lower" or None. variants: rows of the main
    tables. objectives: (title of a variant, when each term is first below half, its chart).
    """
    names = [name for group in found["columns"].values() for name in group]
    titles = found["titles"]
    return render(
        "table.html",
        title=title,
        description=f"Seeds {', '.join(map(str, found['seeds']))}.",
        groups=[{"title": groups[group], "span": len(of)} for group, of in found["columns"].items()],
        heads=["mean" if name in means else titles[name] for name in names],
        tables=[
            {
                "title": column.title,
                "note": column.note,
                "rows": _rows(found, variants, names, means, column.name, side),
            }
            for column, side in metrics
        ],
        comparisons=_comparisons(found, {column.name: column.title for column, _ in metrics}),
        sweeps=sweeps,
        objectives=[chart for *_, chart in objectives],
        halved=[(variant, words) for variant, words, _ in objectives],
        embeddings=embeddings,
        seed=found["seeds"][0],
        runs=[_run(name, one, found["seeds"]) for name, one in found["variants"].items()],
    )


def _rows(
    found: Mapping, variants: Sequence[str], names: Sequence[str], means: Sequence[str], metric: str, side: str | None
) -> list[dict]:
    rows = {variant: found["variants"][variant] for variant in variants}
    best = {}
    for name in names:
        values = [one["tests"][name][metric]["mean"] for one in rows.values() if one["tests"][name][metric]]
        if values and side:
            best[name] = max(values) if side == "higher" else min(values)
    made = []
    for one in rows.values():
        cells = []
        for name in names:
            value = one["tests"][name][metric]
            marks = ["mean"] * (name in means) + ["seen"] * (name in one["seen"])
            if value is None:
                cells.append({"mean": "–", "error": "", "marks": marks})
                continue
            marks += ["best"] * (value["mean"] == best.get(name))
            cells.append({"mean": f"{value['mean']:.3f}", "error": f"{value['error']:.3f}", "marks": marks})
        made.append({"title": one["title"], "cells": cells})
    return made


def _comparisons(found: Mapping, metrics: Mapping[str, str]) -> dict[str, list]:
    pairs: dict[tuple[str, str], dict] = {}
    for one in found["comparisons"]:
        pairs.setdefault((one["a"], one["b"]), {})[one["column"], one["metric"]] = one
    columns = list(dict.fromkeys(column for of in pairs.values() for column in of))
    rows = []
    for (a, b), of in pairs.items():
        first, second = (found["variants"][variant]["title"] for variant in (a, b))
        rows.append({"a": first, "b": second, "cells": [_difference(of.get(column)) for column in columns]})
    return {"heads": [f"{found['titles'][name]}: {metrics[metric]}" for name, metric in columns], "rows": rows}


def _difference(one: Mapping | None) -> dict[str, str]:
    if one is None:
        return {"mark": "none", "mean": "–", "interval": "", "verdict": ""}
    return {
        "mark": one["verdict"] if one["verdict"] in _DIFFERS else "none",
        "mean": f"{one['mean']:+.3f}",
        "interval": f"{one['low']:+.3f} to {one['high']:+.3f}",
        "verdict": one["verdict"],
    }


def _run(variant: str, one: Mapping, seeds: Sequence[int]) -> dict[str, Any]:
    links = [(seed, f"{variant}/seed_{seed}/report.html") for seed in seeds]
    facts = [f"{one['steps']:,} steps", f"{one['seconds']:.0f} s of training"]
    facts += [words.format(one["figures"][name]) for name, words in _FACTS.items() if name in one["figures"]]
    return {"title": one["title"], "facts": facts, "links": links}
