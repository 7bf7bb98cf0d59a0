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
from markupsafe import Markup
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, NullFormatter

from fdetect_jax.report.palette import PALETTE

# Six colours that stay apart for the colour-blind too; after them the next dash. Dashed lines are evaluations.
SERIES = tuple(name for name in PALETTE if re.fullmatch(r"s\d", name))
_DASHES = {"solid": "-", "dotted": (0, (1, 1.2)), "dashdot": (0, (6, 1.5, 1, 1.5)), "dashed": (0, (3, 3))}
_ROUNDS = ("solid", "dotted", "dashdot")

_SIZE = (3.9, 2.5)  # inches; small, so that text stays readable on a phone
_POINTS = 400
_SMOOTH_FROM = 60


@dataclass(frozen=True)
class Legend:
    """One line of a legend. colour: of ``PALETTE``. label: plain text. dash: "solid", "dotted", "dashdot", "dashed"."""

    colour: str
    label: str
    dash: str = "solid"


@dataclass(frozen=True)
class Chart:
    """title: plain text. svg: an inline ``<svg>`` element, safe as it is. legend: below it."""

    title: str
    svg: Markup
    legend: tuple[Legend, ...] = ()


@dataclass(frozen=True)
class RocCurve:
    """label: plain text. fpr, tpr: (K,) corners from (0, 0) to (1, 1). n_real: how many reals they come from."""

    label: str
    fpr: np.ndarray
    tpr: np.ndarray
    n_real: int


@dataclass(frozen=True)
class Histogram:
    """P(fake) of a test by class. edges: (B + 1,) in [0, 1]. real, fake: (B,) shares of the class. threshold: drawn."""

    title: str
    edges: np.ndarray
    real: np.ndarray
    fake: np.ndarray
    threshold: float


@dataclass(frozen=True)
class ReliabilityCurve:
    """score, fakes, count: (K,) of each bin that holds units, mean P(fake), share of fakes, and number."""

    label: str
    score: np.ndarray
    fakes: np.ndarray
    count: np.ndarray


@dataclass(frozen=True)
class Series:
    """One curve. steps, values: (K,) finite. dashed: an evaluation curve, drawn with its points."""

    label: str
    steps: np.ndarray
    values: np.ndarray
    dashed: bool = False


@dataclass(frozen=True)
class SeverityCurve:
    """aucs: (K,) place by place. intervals: (K, 2), or None."""

    label: str
    aucs: np.ndarray
    intervals: np.ndarray | None


def roc_chart(curves: Sequence[RocCurve], logarithmic: bool, identifier: str = "roc") -> Chart:
    """ROC curves of several tests. logarithmic: false alarms on a log axis, down to one in the largest test."""
    figure, axes = _figure()
    floor = min(1.0 / max(curve.n_real for curve in curves), 0.1)
    diagonal = np.linspace(0, 1, 200) if not logarithmic else np.geomspace(floor, 1, 200)
    _reference(axes, diagonal, diagonal)
    for index, curve in enumerate(curves):
        fpr, tpr = curve.fpr, curve.tpr
        if logarithmic:
            # straight between corners in linear axes, hence curved here
            grid = np.geomspace(floor, 1, 400)
            fpr, tpr = grid, np.interp(grid, fpr, tpr)
        axes.plot(fpr, tpr, **_style(index), linewidth=1.6, clip_on=False)
    axes.set_ylim(0, 1)
    axes.set_xlim(floor if logarithmic else 0, 1)
    if logarithmic:
        axes.set_xscale("log")
        _plain_decades(axes.xaxis)
    axes.set_xlabel("reals called fake" + (", log scale" if logarithmic else ""))
    axes.set_ylabel("fakes caught")
    legend = [_legend(index, curve.label) for index, curve in enumerate(curves)]
    title = "ROC at few false alarms" if logarithmic else "ROC"
    svg = _svg(figure, f"{identifier}-log" if logarithmic else identifier)
    return Chart(title, svg, (*legend, Legend("muted", "chance", "dashed")))


def score_chart(shown: Histogram, identifier: str) -> Chart:
    """Histogram of P(fake), each class as shares of itself, with the threshold."""
    figure, axes = _figure()
    for shares, colour in ((shown.real, "real"), (shown.fake, "fake")):
        axes.stairs(shares, shown.edges, fill=True, color=_c(colour), alpha=0.28)
        axes.stairs(shares, shown.edges, color=_c(colour), linewidth=1.3)
    axes.axvline(shown.threshold, color=_c("muted"), linewidth=0.8, linestyle=_DASHES["dashed"])
    axes.set_xlim(0, 1)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(lambda share, _: f"{100 * share:g}%")
    axes.set_xlabel("P(fake)")
    axes.set_ylabel("share of class")
    legend = (Legend("real", "real"), Legend("fake", "fake"), Legend("muted", "threshold", "dashed"))
    return Chart(shown.title, _svg(figure, identifier), legend)


def reliability_chart(title: str, curves: Sequence[ReliabilityCurve], identifier: str) -> Chart:
    """Share of fakes against the mean score; dots grow with their count."""
    figure, axes = _figure()
    _reference(axes, [0, 1], [0, 1])
    for index, curve in enumerate(curves):
        axes.plot(curve.score, curve.fakes, **_style(index), linewidth=1.2, clip_on=False)
        sizes, colour = 6 + 60 * curve.count / curve.count.sum(), _c(_colour(index))
        axes.scatter(curve.score, curve.fakes, sizes, color=colour, linewidth=0, clip_on=False, zorder=3)
    axes.set_xlim(0, 1)
    axes.set_ylim(0, 1)
    axes.set_xlabel("mean P(fake)")
    axes.set_ylabel("share of fakes")
    legend = [_legend(index, curve.label) for index, curve in enumerate(curves)]
    return Chart(title, _svg(figure, identifier), (*legend, Legend("muted", "calibrated", "dashed")))


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
    axes.axhline(0.5, color=_c("muted"), linewidth=0.8, linestyle=_DASHES["dashed"])
    steps = np.arange(len(values))
    for index, curve in enumerate(curves):
        axes.plot(steps, curve.aucs, **_style(index), linewidth=1.4, marker="o", markersize=2.6, clip_on=False)
        if curve.intervals is not None:
            axes.fill_between(steps, *curve.intervals.T, color=_c(_colour(index)), alpha=0.16, linewidth=0)
    axes.set_xticks(steps, values, parse_math=False)
    axes.set_xlim(0, len(values) - 1)
    axes.set_ylim(floor, 1)
    axes.set_xlabel(parameter, parse_math=False)
    axes.set_ylabel("AUC")
    legend = [_legend(index, curve.label) for index, curve in enumerate(curves)]
    return Chart(title, _svg(figure, identifier), (*legend, Legend("muted", "chance", "dashed")))


def scatter_chart(title: str, points: Mapping[str, np.ndarray], labels: Sequence[str], identifier: str) -> Chart:
    """Points of several kinds, (N, 2) by the kind's label; reals, the first, in their own colour, and on top.

    Kinds beyond the colours get another marker. labels: of the two axes.
    """
    figure, axes = _figure()
    colours = ["real", *(_colour(index + 1) for index in range(len(points) - 1))]
    for rank, (colour, rows) in enumerate(zip(colours, points.values(), strict=True)):
        marker = "o" if rank <= len(SERIES) - 1 else "^" if rank <= 2 * len(SERIES) - 1 else "s"
        style = {"linestyle": "", "marker": marker, "markersize": 2.4, "markeredgewidth": 0}
        axes.plot(*rows.T, color=_c(colour), alpha=0.65, zorder=3 + (rank == 0), **style)
    axes.set_xlabel(labels[0], parse_math=False)
    axes.set_ylabel(labels[1], parse_math=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    legend = [Legend("real", next(iter(points)))]
    legend += [_legend(index, label) for index, label in enumerate(points) if index]
    return Chart(title, _svg(figure, identifier), tuple(legend))


def attack_chart(reconstruction: Series, adversary: Series, identifier: str) -> Chart:
    """P(fake) before and after the attack, per logged step, the gap shaded. Both series share their steps."""
    figure, axes = _figure()
    steps, before = _curve(axes, reconstruction, 0)
    _, after = _curve(axes, adversary, 2)
    axes.fill_between(steps, before, after, color=_c(_colour(2)), alpha=0.16, linewidth=0)
    axes.set_ylim(0, 1)
    _step_axis(axes, [reconstruction])
    legend = (_legend(0, reconstruction.label), _legend(2, adversary.label))
    return Chart("P(fake) before and after the attack", _svg(figure, identifier), legend)


def curve_chart(title: str, series: Sequence[Series], identifier: str, unit: bool = False) -> Chart:
    """Curves over steps. Long noisy ones show faintly under their moving mean.

    unit: the values are shares, and the axis ends at 0 and 1 where they come near. Positive values over more
    than a factor of 100 get a log axis; values that hardly vary get an axis of a tenth of their size.
    """
    figure, axes = _figure()
    values = np.concatenate([one.values for one in series])
    for index, one in enumerate(series):
        _curve(axes, one, index)
    low, high = np.quantile(values, [0.01, 0.99])
    if values.min() > 0 and high > 100 * low:
        axes.set_yscale("log")
        _plain_decades(axes.yaxis)
    elif unit:
        axes.set_ylim(-0.02 if low < 0.2 else None, 1.02 if high > 0.8 else None)
    elif np.ptp(values) < 0.02 * np.abs(values).max():
        middle, reach = (values.min() + values.max()) / 2, 0.05 * np.abs(values).max()
        axes.set_ylim(middle - reach, middle + reach)
    elif not values.any():
        axes.set_ylim(-1, 1)
    _step_axis(axes, series)
    legend = tuple(_legend(index, one.label, one.dashed) for index, one in enumerate(series))
    return Chart(title, _svg(figure, identifier), legend if len(series) > 1 or series[0].label else ())


def _curve(axes: Axes, series: Series, index: int) -> tuple[np.ndarray, np.ndarray]:
    """Draws one curve, or its moving mean where it wavers over three times its range. Returns the line."""
    steps, values = _binned(series.steps, series.values)
    style = _style(index, series.dashed)
    if len(steps) >= _SMOOTH_FROM and np.sum(np.abs(np.diff(values))) > 3 * np.ptp(values):
        axes.plot(steps, values, color=style["color"], linewidth=0.7, alpha=0.3)
        values = _moving_mean(values, len(values) // 20)
    marked = len(steps) <= 30 or series.dashed
    points = {"marker": "o", "markersize": 2.6} if marked else {}
    axes.plot(steps, values, **style, linewidth=1.4, **points)
    return steps, values


def _reference(axes: Axes, x: Sequence[float], y: Sequence[float]) -> None:
    axes.plot(x, y, color=_c("muted"), linewidth=0.8, linestyle=_DASHES["dashed"])


def _colour(index: int) -> str:
    return SERIES[index % len(SERIES)]


def _dash(index: int) -> str:
    return _ROUNDS[index // len(SERIES) % len(_ROUNDS)]


def _style(index: int, dashed: bool = False) -> dict:
    return {"color": _c(_colour(index)), "linestyle": _DASHES["dashed" if dashed else _dash(index)]}


def _legend(index: int, label: str, dashed: bool = False) -> Legend:
    return Legend(_colour(index), label, "dashed" if dashed else _dash(index))


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
        axis.set_major_formatter(lambda value, _: f"{value:g}")  # the default puts an offset or a power above the axis
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


def _svg(figure: Figure, identifier: str) -> Markup:
    """identifier: begins every id of the element, so that they are unique in a page."""
    identifier = re.sub(r"[^\w-]", "-", identifier)
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
    return Markup(f'<svg class="plot" viewBox="{box}" aria-hidden="true">{body}</svg>')
