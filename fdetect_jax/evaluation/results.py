"""What is known of a test: scored units in, every registered metric out, as a row of a report and as lines of text."""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from fdetect_jax.evaluation import classes
from fdetect_jax.evaluation.metrics import METRICS, Undefined
from fdetect_jax.evaluation.table import Test
from fdetect_jax.evaluation.view import view_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.report.tables import Column
from fdetect_jax.types import FAKE, REAL


def measure(test: Test, calibration: Calibration, threshold: float, seed: int = 0) -> dict[str, Any]:
    """Every registered metric of one test, fit for JSON.

    Returns:
      title, unit; sources and methods, the sorted names of what the units are from and of how the fakes were made;
      n_real, n_fake, n_groups; verdict, see ``verdict``; each name of ``METRICS`` with a number, a list [low, high] for
      an interval, or None where the units do not determine it; ``undefined``: name -> reason of those.

    Raises:
      ValueError: as ``view_of``.
    """
    view, units = view_of(test, calibration, threshold, seed), test.units
    found: dict[str, Any] = {
        "title": test.title,
        "unit": test.unit,
        "sources": sorted({str(source) for source in units.source} - {""}),
        "methods": sorted({str(method) for method in units.method[units.label == FAKE]}),
        "n_real": int(np.sum(units.label == REAL)),
        "n_fake": int(np.sum(units.label == FAKE)),
        "n_groups": len(np.unique(units.group)),
    }
    figures, undefined = {}, {}
    for name, metric in METRICS.items():
        try:
            value = metric.function(view)
            figures[name] = [float(end) for end in value] if metric.format == "interval" else float(value)
        except Undefined as reason:
            figures[name], undefined[name] = None, str(reason)
    return (
        found
        | {"verdict": verdict(figures.get("auc"), found["n_real"], found["n_fake"])}
        | figures
        | {"undefined": undefined}
    )


def measure_all(
    tests: Sequence[Test], calibration: Calibration, threshold: float, seed: int = 0
) -> dict[str, dict[str, Any]]:
    """Name -> ``measure`` of each test, in order. Raises ValueError for two tests of one name."""
    found: dict[str, dict[str, Any]] = {}
    for test in tests:
        if test.name in found:
            raise ValueError(f"two tests are named {test.name!r}")
        found[test.name] = measure(test, calibration, threshold, seed)
    return found


def verdict(auc: float | None, n_real: int, n_fake: int) -> str | None:
    """A word for an AUC: "strong" from 0.95, "fair" from 0.8, else "weak"; "chance" near 0.5; None for None.

    Near is two standard errors of the Mann-Whitney statistic when both classes score alike,
    sqrt((n + m + 1) / (12 n m)). Below that band the scores are "inverted": reals look more fake than fakes.
    """
    if auc is None:
        return None
    if abs(auc - 0.5) <= 2 * math.sqrt((n_real + n_fake + 1) / (12 * n_real * n_fake)):
        return "chance"
    if auc < 0.5:
        return "inverted"
    return "strong" if auc >= 0.95 else "fair" if auc >= 0.8 else "weak"


def summary(content: Mapping[str, Any], names: Sequence[str] | None = None) -> Iterator[str]:
    """A report's tests and figures as lines of text.

    content: of report.json (``evaluation.schema``), of either job. names: which tests; None: all.
    """
    names = list(content["tests"]) if names is None else names
    if names:
        shown, width = columns(content["threshold"]), max(len(name) for name in names)
        widths = [2 + max(len(one.title), 11 if one.format == "interval" else 7) for one in shown]
        yield f"  {'':{width}}" + "".join(f"{one.title:>{wide}}" for one, wide in zip(shown, widths, strict=True))
        for name in names:
            row = content["tests"][name]
            cells = (f"{one.text(row[one.name]):>{wide}}" for one, wide in zip(shown, widths, strict=True))
            yield f"  {name:{width}}{''.join(cells)}  ({row['n_real']} real, {row['n_fake']} fake)"
    for name, value in content["figures"].items():
        yield f"  {name}  {'not finite' if value is None else format(value, ',.0f' if value >= 1000 else '.3f')}"
    if content.get("classes"):
        yield from classes.lines(content["classes"])


def columns(threshold: float) -> list[Column]:
    """Every registered metric as a column of a table, with the threshold in its note."""
    return [
        Column(name, one.title, one.note.replace("{threshold}", f"{threshold:.3f}"), one.format)
        for name, one in METRICS.items()
    ]
