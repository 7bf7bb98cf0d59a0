"""History rows -> charts: which scalars belong in one picture, and the attack's own.

A scalar's chart is what stands before its first "/": ``loss`` and ``loss/margin`` share one. ``eval/`` is set
aside first, so ``eval/loss`` joins them as a dashed curve.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from fdetect_jax.report.plots import Chart, Series, attack_chart, curve_chart

BEFORE, AFTER = "p_fake/reconstruction", "p_fake/adversary"
_BUDGET = {
    "delta_norm": "Length of the step in latent space, ‖δ‖",
    "on_sphere": "Share of steps at full length",
}
_FIRST = ("loss", "accuracy", "learning_rate")
_SHARES = ("accuracy", "auc", "ap", "eer", "on_sphere", "ssim", "p_fake")
_CAPITALS = ("ap", "auc", "eer", "fid", "fps", "gan", "lpips", "pgd", "psnr", "r1", "sam", "sbi", "ssim")
_COUNTS = ("n_real", "n_fake")
_BOOKKEEPING = ("step", "time", "seconds")


def series_of(history: Sequence[dict]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """name -> (steps, values), finite values only, in first-seen order; a step's last row wins."""
    points: dict[str, dict[int, float]] = {}
    for row in history:
        for name, value in row.items():
            if name in _BOOKKEEPING or isinstance(value, str) or value is None or not np.isfinite(value):
                continue
            points.setdefault(name, {})[int(row["step"])] = float(value)
    return {name: (np.array(sorted(at)), np.array([at[s] for s in sorted(at)])) for name, at in points.items()}


def attack_series(history: Sequence[dict]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Steps, and P(fake) there of reconstructions and of adversaries, (K,) each; None where no step has logged both."""
    scalars = series_of(history)
    if BEFORE not in scalars or AFTER not in scalars:
        return None
    steps = np.intersect1d(scalars[BEFORE][0], scalars[AFTER][0])
    if not len(steps):
        return None
    return steps, *(values[np.isin(at, steps)] for at, values in (scalars[BEFORE], scalars[AFTER]))


def attack_charts(history: Sequence[dict]) -> list[Chart]:
    """Charts of the attack at work; none where ``attack_series`` has nothing."""
    if (found := attack_series(history)) is None:
        return []
    steps, before, after = found
    charts = [attack_chart(Series("reconstructions", steps, before), Series("adversaries", steps, after), "attack")]
    scalars = series_of(history)
    for name, title in _BUDGET.items():
        if name in scalars:
            charts.append(curve_chart(title, [Series("", *scalars[name])], f"attack-{name}", name in _SHARES))
    return charts


def training_charts(history: Sequence[dict], titles: Mapping[str, str]) -> list[Chart]:
    """One chart per group of scalars: loss, accuracy, learning rate, then the rest without the attack's.

    titles: group -> title, for groups that are tests.
    """
    groups: dict[str, list[Series]] = {}
    shared: dict[str, bool] = {}
    for name, (steps, values) in series_of(history).items():
        key = name.removeprefix("eval/")
        if key in (BEFORE, AFTER, *_BUDGET) or key.rsplit("/", 1)[-1] in _COUNTS:
            continue
        group, _, rest = key.partition("/")
        evaluated = name != key
        label = humanise(rest) or ("total" if group == "loss" else "")
        groups.setdefault(group, []).append(Series(label, steps, values, dashed=evaluated))
        shared[group] = shared.get(group, True) and (rest.rsplit("/", 1)[-1] or group) in _SHARES
    ordered = [name for name in _FIRST if name in groups] + [name for name in groups if name not in _FIRST]
    charts = []
    for index, group in enumerate(ordered):
        title = titles.get(group) or headline(group)
        series = groups[group]
        if all(one.dashed for one in series):
            title += ", evaluation"
        elif len(series) > 1:
            series = [_named(one) for one in series]
        charts.append(curve_chart(title, series, f"curve-{index}", shared[group] or group in _SHARES))
    return charts


def _named(one: Series) -> Series:
    """A label that tells training from evaluation, for charts that hold both."""
    if not one.dashed:
        return replace(one, label=one.label or "train")
    return replace(one, label=f"{one.label} (eval)" if one.label else "eval")


def humanise(name: str) -> str:
    """``loss/r1_penalty`` -> ``loss · R1 penalty``; ``p_fake`` -> ``P(fake)``."""
    words = name.replace("p_fake", "P(fake)").replace("/", " · ").replace("_", " ").split()
    return " ".join(word.upper() if word in _CAPITALS else word for word in words)


def headline(name: str) -> str:
    """``humanise`` with a capital first letter."""
    text = humanise(name)
    return text[:1].upper() + text[1:]
