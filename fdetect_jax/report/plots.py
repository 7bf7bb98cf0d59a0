"""Charts of a report as inline SVG: arrays in, ``Chart`` out.

Colours become CSS variables, so that one drawing serves light and dark pages; ``PALETTE`` holds both values.
Legends are left to the page, which can wrap them.
"""

import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from fdetect_jax.evaluation.metrics import Test, reliability, roc

# name -> (light, dark). Matplotlib draws the light value, which therefore must be unique.
PALETTE = {
    "ink": ("#1d2530", "#e8ecf2"),
    "muted": ("#667085", "#98a2b3"),
    "grid": ("#e4e7ec", "#2c3440"),
    "real": ("#1f77c9", "#5aa9f5"),
    "fake": ("#d9480e", "#ff8a50"),
    "s1": ("#2f5fd0", "#7ea6ff"),
    "s2": ("#c2410d", "#ff9a5c"),
    "s3": ("#0b8a6b", "#3fcfa6"),
    "s4": ("#8a3ffc", "#bd93ff"),
    "s5": ("#a16208", "#e6b84c"),
    "s6": ("#c11574", "#ff7ec0"),
    "s7": ("#0e7190", "#4fc6e8"),
    "s8": ("#4b5563", "#b6c0cf"),
}
SERIES = tuple(name for name in PALETTE if re.fullmatch(r"s\d", name))

_SIZE = (3.9, 2.5)  # inches; small, so that text stays readable on a phone
_POINTS = 400
_SMOOTH_FROM = 60


@dataclass(frozen=True)
class Chart:
    """title: plain text. svg: an inline ``<svg>`` element. legend: (colour, plain label, dashed)."""

    title: str
    svg: str
    legend: tuple[tuple[str, str, bool], ...] = ()


@dataclass(frozen=True)
class Series:
    """One curve. steps, values: (K,) finite. dashed: an evaluation curve, drawn with its points."""

    label: str
    steps: np.ndarray
    values: np.ndarray
    dashed: bool = False
    colour: str | None = None


@dataclass(frozen=True)
class SeverityCurve:
    """aucs: (K,) place by place. intervals: (K, 2), or None."""

    label: str
    aucs: np.ndarray
    intervals: np.ndarray | None


def roc_chart(tests: Sequence[Test], aucs: Sequence[float], logarithmic: bool, identifier: str = "roc") -> Chart:
    """ROC curves of all tests. logarithmic: false alarms on a log axis, down to one in the largest test."""
    figure, axes = _figure()
    floor = 1.0 / max(int(np.sum(test.labels == 0)) for test in tests)
    diagonal = np.linspace(0, 1, 200) if not logarithmic else np.geomspace(min(floor, 0.1), 1, 200)
    axes.plot(diagonal, diagonal, color=_c("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    for index, test in enumerate(tests):
        fpr, tpr = roc(test.labels, test.scores)
        if logarithmic:
            # straight between corners in linear axes, hence curved here
            grid = np.geomspace(min(floor, 0.1), 1, 400)
            fpr, tpr = grid, np.interp(grid, fpr, tpr)
        axes.plot(fpr, tpr, color=_c(_series(index)), linewidth=1.6, clip_on=False)
    axes.set_ylim(0, 1)
    axes.set_xlim(min(floor, 0.1) if logarithmic else 0, 1)
    if logarithmic:
        axes.set_xscale("log")
        _plain_decades(axes.xaxis)
    axes.set_xlabel("reals called fake" + (", log scale" if logarithmic else ""))
    axes.set_ylabel("fakes caught")
    legend = [
        (_series(i), f"{t.title} · AUC {auc:.4f}", False) for i, (t, auc) in enumerate(zip(tests, aucs, strict=True))
    ]
    title = "ROC at few false alarms" if logarithmic else "ROC"
    return Chart(
        title, _svg(figure, f"{identifier}-log" if logarithmic else identifier), (*legend, ("muted", "chance", True))
    )


def score_chart(test: Test, identifier: str, threshold: float = 0.5) -> Chart:
    """Histogram of P(fake), each class that occurs as shares of itself, with the threshold."""
    figure, axes = _figure()
    edges = np.linspace(0, 1, 26)
    for label, colour in ((0, "real"), (1, "fake")):
        scores = np.clip(test.scores[test.labels == label], 0, 1)
        shares = np.histogram(scores, edges)[0] / max(1, len(scores))
        axes.stairs(shares, edges, fill=True, color=_c(colour), alpha=0.28)
        axes.stairs(shares, edges, color=_c(colour), linewidth=1.3)
    axes.axvline(threshold, color=_c("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.set_xlabel("P(fake)")
    axes.set_ylabel("share of class")
    legend = (("real", "real", False), ("fake", "fake", False), ("muted", "threshold", True))
    return Chart(test.title, _svg(figure, identifier), legend)


def reliability_chart(title: str, tests: Sequence[Test], identifier: str) -> Chart:
    """Share of fakes against the mean score, of each test's ``metrics.reliability``; dots grow with their count."""
    figure, axes = _figure()
    axes.plot([0, 1], [0, 1], color=_c("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    for index, test in enumerate(tests):
        score, fakes, count = reliability(test.labels, test.scores)
        axes.plot(score, fakes, color=_c(_series(index)), linewidth=1.2, clip_on=False)
        sizes = 6 + 60 * count / count.sum()
        axes.scatter(score, fakes, sizes, color=_c(_series(index)), linewidth=0, clip_on=False, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("mean P(fake)")
    axes.set_ylabel("share of fakes")
    legend = [(_series(index), test.title, False) for index, test in enumerate(tests)]
    return Chart(title, _svg(figure, identifier), (*legend, ("muted", "calibrated", True)))


def severity_chart(
    title: str,
    parameter: str,
    values: Sequence[str],
    curves: Sequence[SeverityCurve],
    floor: float,
    identifier: str,
) -> Chart:
    """AUC against a parameter, such as the severity of damage, with intervals as bands.

    parameter, values: what it is and the places along it, for the axis. floor: where the axis of the AUC ends below.
    """
    figure, axes = _figure()
    axes.axhline(0.5, color=_c("muted"), linewidth=0.8, linestyle=(0, (3, 3)))
    steps = np.arange(len(values))
    for index, curve in enumerate(curves):
        colour = _c(_series(index))
        axes.plot(steps, curve.aucs, color=colour, linewidth=1.4, marker="o", markersize=2.6, clip_on=False)
        if curve.intervals is not None:
            axes.fill_between(steps, *curve.intervals.T, color=colour, alpha=0.16, linewidth=0)
    axes.set_xticks(steps, values)
    axes.set_xlim(0, len(values) - 1)
    axes.set_ylim(floor, 1)
    axes.set_xlabel(parameter)
    axes.set_ylabel("AUC")
    legend = [(_series(index), curve.label, False) for index, curve in enumerate(curves)]
    return Chart(title, _svg(figure, identifier), (*legend, ("muted", "chance", True)))


def scatter_chart(title: str, points: Mapping[str, np.ndarray], labels: Sequence[str], identifier: str) -> Chart:
    """Points of several kinds, (N, 2) by the kind's label; reals, the first, in their own colour, and on top."""
    figure, axes = _figure()
    colours = ["real", *(_series(index + 1) for index in range(len(points) - 1))]
    for rank, (colour, rows) in enumerate(zip(colours, points.values(), strict=True)):
        style = {"linestyle": "", "marker": "o", "markersize": 2.4, "markeredgewidth": 0}
        axes.plot(*rows.T, color=_c(colour), alpha=0.65, zorder=3 + (rank == 0), **style)
    axes.set_xlabel(labels[0])
    axes.set_ylabel(labels[1])
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend = tuple((colour, label, False) for colour, label in zip(colours, points, strict=True))
    return Chart(title, _svg(figure, identifier), legend)


def attack_chart(reconstruction: Series, adversary: Series, identifier: str) -> Chart:
    """P(fake) before and after the attack, per logged step, the gap shaded. Both series share their steps."""
    figure, axes = _figure()
    steps, before = _curve(axes, reconstruction, "s1")
    _, after = _curve(axes, adversary, "s6")
    axes.fill_between(steps, before, after, color=_c("s6"), alpha=0.16, linewidth=0)
    axes.set_ylim(0, 1)
    _step_axis(axes, [reconstruction])
    legend = (("s1", reconstruction.label, False), ("s6", adversary.label, False))
    return Chart("P(fake) before and after the attack", _svg(figure, identifier), legend)


def curve_chart(title: str, series: Sequence[Series], identifier: str, unit: bool = False) -> Chart:
    """Curves over steps. Long noisy ones show faintly under their moving mean.

    unit: the values are shares, and the axis ends at 0 and 1 where they come near. Positive values over more
    than a factor of 100 get a log axis.
    """
    figure, axes = _figure()
    values = np.concatenate([one.values for one in series])
    colours = [one.colour or _series(index) for index, one in enumerate(series)]
    for one, colour in zip(series, colours, strict=True):
        _curve(axes, one, colour)
    low, high = np.quantile(values, [0.01, 0.99])
    if values.min() > 0 and high > 100 * low:
        axes.set_yscale("log")
        _plain_decades(axes.yaxis)
    elif unit:
        axes.set_ylim(-0.02 if low < 0.2 else None, 1.02 if high > 0.8 else None)
    _step_axis(axes, series)
    legend = tuple((c, one.label, one.dashed) for c, one in zip(colours, series, strict=True))
    return Chart(title, _svg(figure, identifier), legend if len(series) > 1 or series[0].label else ())


def _curve(axes: Axes, series: Series, colour: str) -> tuple[np.ndarray, np.ndarray]:
    """Draws one curve, or its moving mean where it wavers over three times its range. Returns the line."""
    steps, values = _binned(series.steps, series.values)
    if len(steps) >= _SMOOTH_FROM and np.sum(np.abs(np.diff(values))) > 3 * np.ptp(values):
        axes.plot(steps, values, color=_c(colour), linewidth=0.7, alpha=0.3)
        values = _moving_mean(values, len(values) // 20)
    marked = len(steps) <= 30 or series.dashed
    style = {"marker": "o", "markersize": 2.6} if marked else {}
    axes.plot(steps, values, color=_c(colour), linewidth=1.4, linestyle="--" if series.dashed else "-", **style)
    return steps, values


def _series(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _c(name: str) -> str:
    return PALETTE[name][0]


def _figure() -> tuple[Figure, Axes]:
    figure = Figure(figsize=_SIZE, layout="constrained")
    axes = figure.add_subplot()
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.grid(color=_c("grid"), linewidth=0.7)
    axes.set_axisbelow(True)
    for side, spine in axes.spines.items():
        spine.set_visible(side == "bottom")
        spine.set_color(_c("muted"))
    axes.tick_params(which="both", length=0, pad=5, labelsize=8.8, labelcolor=_c("muted"))
    for axis in (axes.xaxis, axes.yaxis):
        axis.label.set(size=8.8, color=_c("muted"))
    return figure, axes


def _step_axis(axes: Axes, series: Sequence[Series]) -> None:
    first, last = (pick(pick(one.steps) for one in series) for pick in (min, max))
    axes.set_xlim(first, last if last > first else first + 1)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.xaxis.set_major_formatter(_steps_text)
    axes.set_xlabel("step")


def _plain_decades(axis: Axis) -> None:
    axis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.set_minor_formatter(NullFormatter())


def _steps_text(value: float, _: int) -> str:
    for size, suffix in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g}{suffix}"
    return f"{value:g}"


def _binned(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most _POINTS points, each the mean of neighbours."""
    if len(steps) <= _POINTS:
        return steps, values
    parts = [np.array_split(x, _POINTS) for x in (steps, values)]
    return tuple(np.array([part.mean() for part in split]) for split in parts)


def _moving_mean(values: np.ndarray, radius: int) -> np.ndarray:
    """Centred; the window shrinks at the ends."""
    total = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    radius = np.minimum(radius, np.minimum(index, len(values) - 1 - index))
    return (total[index + radius + 1] - total[index - radius]) / (2 * radius + 1)


def _svg(figure: Figure, identifier: str) -> str:
    buffer = io.StringIO()
    context = {"svg.fonttype": "none", "svg.hashsalt": identifier}
    with matplotlib.rc_context(context):
        figure.savefig(buffer, format="svg", metadata={"Creator": None, "Date": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    box = re.search(r'viewBox="([^"]+)"', text).group(1)
    body = text[text.index(">", text.index("<svg")) + 1 : text.rindex("</svg>")]
    body = re.sub(r"<style.*?</style>", "", body, flags=re.DOTALL)  # its "*" would reach the whole page
    for name, (light, _) in PALETTE.items():
        body = body.replace(light, f"var(--{name})")
    body = re.sub(r'\bid="', f'id="{identifier}-', body)
    body = re.sub(r'(url\(#|xlink:href="#)', rf"\g<1>{identifier}-", body).replace("xlink:href", "href")
    return f'<svg class="plot" viewBox="{box}" aria-hidden="true">{body}</svg>'
