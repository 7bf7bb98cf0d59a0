"""What a table's runs found: their reports in, figures for JSON and lines of text out."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict

import numpy as np
from ml_collections import ConfigDict

from fdetect_jax.experiments.runs import Run
from fdetect_jax.experiments.statistics import difference, estimate
from fdetect_jax.forgery import FORGERIES
from fdetect_jax.forgery.host import HOST_FORGERIES, host_kinds

METRICS = ("auc", "accuracy")
MEANS = {"unseen": "Unseen forgeries, mean", "robust": "GAN-inverted under damage, mean"}
COMPARED = (
    ("gan_inverted", "accuracy"),
    ("gan_inverted", "auc"),
    ("adversarial", "accuracy"),
    ("unseen", "auc"),
    ("robust", "auc"),
)
_INVERTED, _STRANGER = "gan_inverted", "other_generator"


def results(config: ConfigDict, reports: Sequence[tuple[Run, Mapping]]) -> dict:
    """Means over seeds, and paired differences.

    Args:
      config: the table's. reports: of every run, with its report's content.

    Returns:
      ``seeds``; ``columns``: group -> names of tests and means; ``variants``: name -> title, steps, seconds (mean),
      trained_on, and ``tests``: column -> metric -> mean, error, values; ``comparisons``: of each pair and of each of
      ``COMPARED``, variants, column, metric, mean, low, high, verdict, values; ``sweeps``: name -> title, and variants
      with the parameter's values, in their order, where there are two of them.
    """
    reports = sorted(reports, key=lambda found: found[0].seed)
    variants = {variant: [found for found in reports if found[0].variant == variant] for variant in config.rows}
    columns = _columns([run for run, _ in reports], reports[0][1]["tests"])
    values = {variant: _values(found, columns) for variant, found in variants.items()}
    return {
        "seeds": sorted({run.seed for run, _ in reports}),
        "columns": columns,
        "variants": {variant: _variant(found, values[variant]) for variant, found in variants.items()},
        "comparisons": [
            {"a": a, "b": b, "column": column, "metric": metric} | _difference(values[a], values[b], column, metric)
            for a, b in config.comparisons
            if a in variants and b in variants
            for column, metric in COMPARED
            if column in values[a]
        ],
        "sweeps": _sweeps(config.sweeps, variants),
    }


def _sweeps(sweeps: ConfigDict, variants: Mapping) -> dict[str, dict]:
    """Those of which two variants at least were trained."""
    found = {}
    for name, sweep in sweeps.items():
        along = sorted((value, variant) for variant, value in sweep.variants.items() if variant in variants)
        if len(along) > 1:
            found[name] = {"title": sweep.title, "variants": {variant: value for value, variant in along}}
    return found


def _columns(runs: Sequence[Run], tests: Mapping) -> dict[str, list[str]]:
    """Groups of tests: what some variant was trained on tells little of what it does with new forgeries."""
    names = [name for name, found in tests.items() if isinstance(found, Mapping)]
    trained = {kind for run in runs for kind in host_kinds(run.config.forgery)}
    unseen = [name for name in names if name == _STRANGER or (name in HOST_FORGERIES and name not in trained)]
    robust = [name for name in names if name.startswith(f"{_INVERTED}/")]
    inverted = [name for name in names if name == _INVERTED]
    others = [name for name in names if name not in {*unseen, *robust, *inverted} and "/" not in name]
    groups = {"inverted": inverted, "unseen": unseen, "robust": robust, "others": others}
    for group in MEANS:
        if groups[group]:
            groups[group] = [group, *groups[group]]
    return {group: found for group, found in groups.items() if found}


def _values(found: Sequence[tuple[Run, Mapping]], columns: Mapping) -> dict[str, dict[str, dict[int, float]]]:
    """column -> metric -> seed -> value."""
    values: dict[str, dict[str, dict[int, float]]] = {}
    for group, names in columns.items():
        tests = [name for name in names if name not in MEANS]
        for column in names:
            of = tests if column == group and group in MEANS else [column]
            values[column] = {
                metric: {run.seed: float(np.mean([one["tests"][t][metric] for t in of])) for run, one in found}
                for metric in METRICS
            }
    return values


def _variant(found: Sequence[tuple[Run, Mapping]], values: Mapping) -> dict:
    run, content = found[0]
    forgery = run.config.forgery
    device = [forgery.kind] if forgery.kind in FORGERIES else []
    return {
        "title": content["description"],
        "steps": content["step"],
        "seconds": float(np.mean([one["seconds"] for _, one in found])),
        "trained_on": [*device, *host_kinds(forgery)],
        "tests": {
            column: {metric: asdict(estimate(by_seed)) for metric, by_seed in of.items()}
            for column, of in values.items()
        },
    }


def _difference(a: Mapping, b: Mapping, column: str, metric: str) -> dict:
    found = difference(a[column][metric], b[column][metric])
    return asdict(found) | {"verdict": found.verdict}


def headings(found: Mapping) -> dict[str, str]:
    """column -> what a reader calls it, briefly."""
    known = {
        _INVERTED: "GAN-inverted",
        _STRANGER: "other generator",
        "fwa": "warping artefacts",
        "swap": "swaps",
        "sbi": "self-blends",
        "adversarial": "its own adversaries",
    }
    names = [name for group in found["columns"].values() for name in group]
    plain = {name: name.removeprefix(f"{_INVERTED}/").replace("_", " ") for name in names}
    return {name: MEANS.get(name) or known.get(name) or plain[name] for name in names}


def summary(found: Mapping) -> Iterator[str]:
    """Lines of text."""
    heads = headings(found)
    for metric in METRICS:
        yield ""
        yield f"{metric}, mean ± standard error over seeds {', '.join(map(str, found['seeds']))}"
        for column, head in heads.items():
            yield f"  {head}"
            for one in found["variants"].values():
                value = one["tests"][column][metric]
                yield f"    {one['title']:38s} {value['mean']:.4f} ± {value['error']:.4f}"
    yield ""
    yield "paired differences, 95 % interval"
    for one in found["comparisons"]:
        a, b = (found["variants"][one[side]]["title"] for side in "ab")
        yield f"  {a} - {b}, {heads[one['column']]}, {one['metric']}: {describe(one)}"


def describe(one: Mapping) -> str:
    """A comparison in words: "+0.1090 (0.0512 to 0.1668): higher"."""
    return f"{one['mean']:+.4f} ({one['low']:+.4f} to {one['high']:+.4f}): {one['verdict']}"
