"""Combines the reports of a table's runs. In: the reports. Out: figures for JSON and lines of text."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.evaluation.metrics import METRICS
from fdetect_jax.experiments.runs import Run
from fdetect_jax.experiments.statistics import difference, estimate
from fdetect_jax.forgery import entries_of, find_entry, weights_of

COLUMNS = ("auc", "accuracy", "eer")  # the metrics of a table, among those in the reports
MEANS = {"unseen": "Unseen forgeries, mean", "robust": "GAN-inverted under damage, mean"}
GROUPS = {
    "inverted": "GAN-inverted",
    "unseen": "Unseen by every variant",
    "robust": "GAN-inverted, damaged",
    "others": "Seen by some variant",
}
COMPARED = (
    ("gan_inverted", "accuracy"),
    ("gan_inverted", "auc"),
    ("adversarial", "accuracy"),
    ("unseen", "auc"),
    ("robust", "auc"),
)
_INVERTED, _ATTACKED = "gan_inverted", "adversarial"  # tests of the generator that adversaries come from


def results(config: ConfigDict, reports: Sequence[tuple[Run, Mapping]]) -> dict:
    """Means over seeds, and paired differences.

    Args:
      reports: every run, with the content of its report (``evaluation.schema``).

    Returns:
      ``seeds``; ``columns``: group -> names of tests and means; ``titles``: column -> title for readers;
      ``variants``: name -> title, steps, seconds (mean), figures (mean of each that all its reports have), trained_on
      (forgeries), seen (columns of fakes that it was trained on), and ``tests``: column -> metric -> mean, error,
      values, or None if a run has no such figure;
      ``comparisons``: for each pair and each of ``COMPARED``, variants, column, metric, mean, low, high, verdict,
      values; ``sweeps``: name -> title, and variants with the parameter's values, in their order, if there are at
      least two.
    """
    reports = sorted(reports, key=lambda found: found[0].seed)
    variants = {variant: [found for found in reports if found[0].variant == variant] for variant in config.rows}
    tests = reports[0][1]["tests"]
    columns = _columns([run for run, _ in reports], tests)
    values = {variant: _values(found, columns) for variant, found in variants.items()}
    return {
        "seeds": sorted({run.seed for run, _ in reports}),
        "columns": columns,
        "titles": _titles(columns, tests),
        "variants": {variant: _variant(found, values[variant]) for variant, found in variants.items()},
        "comparisons": [
            {"a": a, "b": b, "column": column, "metric": metric} | _difference(values[a], values[b], column, metric)
            for a, b in config.comparisons
            if a in variants and b in variants
            for column, metric in COMPARED
            if min(len(values[one].get(column, {}).get(metric, ())) for one in (a, b)) > 1
        ],
        "sweeps": _sweeps(config.sweeps, variants),
    }


def _sweeps(sweeps: ConfigDict, variants: Mapping) -> dict[str, dict]:
    """The sweeps of which at least two variants were trained."""
    found = {}
    for name, sweep in sweeps.items():
        along = sorted((value, variant) for variant, value in sweep.variants.items() if variant in variants)
        if len(along) > 1:
            found[name] = {"title": sweep.title, "variants": {variant: value for value, variant in along}}
    return found


def _columns(runs: Sequence[Run], tests: Mapping[str, Mapping]) -> dict[str, list[str]]:
    """Groups of tests: fakes that some variant was trained on say little about unseen forgeries."""
    seen = {name for run in runs for name in _seen(run)}
    unseen = [name for name in tests if "/" not in name and name not in {_INVERTED, _ATTACKED, *seen}]
    robust = [name for name in tests if name.startswith(f"{_INVERTED}/")]
    inverted = [name for name in tests if name == _INVERTED]
    others = [name for name in tests if name not in {*unseen, *robust, *inverted} and "/" not in name]
    groups = {"inverted": inverted, "unseen": unseen, "robust": robust, "others": others}
    for group in MEANS:
        if groups[group]:
            groups[group] = [group, *groups[group]]
    return {group: found for group, found in groups.items() if found}


def _seen(run: Run) -> set[str]:
    """The tests whose fakes come from a forgery that the run is trained on, or are made exactly like its fakes."""
    trained, tests = entries_of(run.config.forgery), run.config.evaluation
    named = {name: fields for name, fields in tests.forgeries.items() if name not in tests.skip}
    tested = [find_entry(name, fields, "evaluation.forgeries") for name, fields in named.items()]
    like = [one for one in tested if any(one.tested_like(entry) for entry in trained.values())]
    return {*trained, *(name for one in (*trained.values(), *like) for name, _ in one.spec.tests.values())}


def _titles(columns: Mapping[str, Sequence[str]], tests: Mapping[str, Mapping]) -> dict[str, str]:
    names = [name for group in columns.values() for name in group if name not in MEANS]
    titles = MEANS | {name: tests[name]["title"] for name in names}
    for name in columns.get("robust", ())[1:]:  # the group's title names the damage
        titles[name] = titles[name].removeprefix(f"{tests[_INVERTED]['title']}, ")
    return titles


def _values(found: Sequence[tuple[Run, Mapping]], columns: Mapping) -> dict[str, dict[str, dict[int, float]]]:
    """column -> metric -> seed -> value, for the seeds that have one."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for group, names in columns.items():
        tests = [name for name in names if name not in MEANS]
        for column in names:
            of = tests if column == group and group in MEANS else [column]
            values[column] = {metric: _by_seed(found, of, metric) for metric in COLUMNS}
    return values


def _by_seed(found: Sequence[tuple[Run, Mapping]], tests: Sequence[str], metric: str) -> dict[int, float]:
    rows = {run.seed: [one["tests"][test][metric] for test in tests] for run, one in found}
    return {seed: float(np.mean(row)) for seed, row in rows.items() if None not in row}


def _variant(found: Sequence[tuple[Run, Mapping]], values: Mapping) -> dict:
    run, content = found[0]
    return {
        "title": content["description"],
        "steps": content["step"],
        "seconds": float(np.mean([one["seconds"] for _, one in found])),
        "figures": _figures([one["figures"] | _located(one) for _, one in found]),
        "trained_on": list(weights_of(run.config.forgery)),
        "seen": [name for name in values if name in _seen(run)],
        "tests": {
            column: {
                metric: asdict(estimate(by_seed)) if len(by_seed) == len(found) else None
                for metric, by_seed in of.items()
            }
            for column, of in values.items()
        },
    }


def _figures(found: Sequence[Mapping[str, float | None]]) -> dict[str, float]:
    values = {name: [one.get(name) for one in found] for name in found[0]}
    return {name: float(np.mean(of)) for name, of in values.items() if None not in of}


def _located(content: Mapping) -> dict[str, float]:
    """How well the masks of each forgery are found, ``iou/FORGERY``."""
    return {f"iou/{name}": one["iou"] for name, one in content["localisation"].items()}


def _difference(a: Mapping, b: Mapping, column: str, metric: str) -> dict:
    found = difference(a[column][metric], b[column][metric])
    return asdict(found) | {"verdict": found.verdict}


def summary(found: Mapping) -> Iterator[str]:
    """Lines of text."""
    heads = found["titles"]
    for metric in COLUMNS:
        yield ""
        yield f"{METRICS[metric].title}, mean ± standard error over seeds {', '.join(map(str, found['seeds']))}"
        for column in (name for group in found["columns"].values() for name in group):
            yield f"  {heads[column]}"
            for one in found["variants"].values():
                value = one["tests"][column][metric]
                shown = "–" if value is None else f"{value['mean']:.4f} ± {value['error']:.4f}"
                yield f"    {one['title']:38s} {shown}"
    yield ""
    yield "paired differences, 95 % interval"
    for one in found["comparisons"]:
        a, b = (found["variants"][one[side]]["title"] for side in "ab")
        yield f"  {a} - {b}, {heads[one['column']]}, {METRICS[one['metric']].title}: {describe(one)}"


def describe(one: Mapping) -> str:
    """A comparison as text: "+0.1090 (0.0512 to 0.1668): higher"."""
    return f"{one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}): {one['verdict']}"
