"""An evaluation as a page: the report and the scores in, one HTML file out. Opens offline, runs no script."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np

from fdetect_jax.evaluation import mistakes, robustness
from fdetect_jax.evaluation.evaluate import Level, groups, lines, titles
from fdetect_jax.evaluation.labelled import ScoredFile
from fdetect_jax.evaluation.metrics import Test
from fdetect_jax.report.page import details, document, figures_of, section, verdict
from fdetect_jax.report.plots import reliability_chart, roc_chart, score_chart

_SHOWN = 50  # excluded files, by reason
_HEADS = (
    "",
    "",
    "AUC",
    "95 %",
    "Accuracy",
    "Balanced",
    "EER",
    "AP",
    "TPR 1 %",
    "TPR 0.1 %",
    "ECE",
    "Brier",
    "Real",
    "Fake",
)
_STYLE = """
.figures td{white-space:nowrap;text-align:right}
.figures td:nth-child(2){text-align:left}
.figures th[scope=col]{color:var(--muted);font-weight:500;font-size:.8rem;white-space:nowrap;text-align:right}
.figures :is(td,th){padding:9px 10px}
.files li{overflow-wrap:anywhere;font-size:.86rem;color:var(--muted)}
"""
_NOTE = (
    "<p class=note>AUC: the probability that a fake scores above a real one; its interval is a bootstrap over videos. "
    "Accuracy at P(fake) = {threshold:.3f}; balanced: the mean of both classes. EER: where false alarms equal misses. "
    "AP: average precision on fakes. TPR: fakes caught where 1 % or 0.1 % of the reals are called fake, straight "
    "between the curve's corners; a dash where there are too few reals. ECE: over 15 equal bins of P(fake), the mean "
    "distance of the mean score from the share of fakes. Brier: mean squared distance of the score from the label. "
    "Each method stands against the reals of its source.</p>"
)


def render(
    report: Mapping,
    judged: Sequence[ScoredFile],
    levels: Mapping[str, Level],
    title: str,
    description: str,
    more: Sequence[str] = (),
) -> str:
    """The page.

    report: as ``evaluate.report`` gives it. judged, levels: what it was made of. title, description: any text.
    more: sections of HTML, by ``mistakes`` and ``robustness``.
    """
    rows, names, members = lines(report), titles(report), groups(judged)
    videos = [members[key] if key else range(len(judged)) for _, _, key in rows]
    tests = {level: _tests(levels[level], rows, videos) for level in names}
    threshold = report["protocol"]["threshold"]
    sections = [_header(title, description, report["data"])]
    sections += [_table(names[level], level, rows) for level in names]
    sections.append(_NOTE.format(threshold=threshold))
    sections += [_roc(names[level], level, tests[level], rows) for level in names]
    sections.append(_reliability(tests, names))
    charts = [score_chart(test, f"scores-{index}", threshold) for index, test in enumerate(tests["video"])]
    sections += [section("Scores", figures_of(charts)), *more, _excluded(report["data"]["reasons"])]
    sections.append(details("Settings", {key: report[key] for key in ("protocol", "calibration", "seed")}))
    return document(title, sections, _STYLE + mistakes.STYLE + robustness.STYLE)


def _tests(level: Level, rows: Sequence[tuple], videos: Sequence[Sequence[int]]) -> list[Test]:
    """One for each line of a table."""
    units = [level.of(one) for one in videos]
    return [Test(title, title, one.labels, one.scores) for (title, *_), one in zip(rows, units, strict=True)]


def _header(title: str, description: str, data: Mapping) -> str:
    facts = [f"{data['judged']:,} files judged", f"{data['excluded']:,} excluded"]
    chips = "".join(f"<li>{fact}</li>" for fact in facts)
    return f"<header><h1>{escape(title)}</h1><p>{escape(description)}</p><ul class=facts>{chips}</ul></header>"


def _table(title: str, level: str, rows: Sequence[tuple]) -> str:
    head = "".join(f"<th scope=col>{name}</th>" for name in _HEADS)
    body = "".join(_row(name, found[level]) for name, found, _ in rows)
    return section(title, f"<div class=scroll><table class=figures><tr>{head}</tr>{body}</table></div>")


def _row(title: str, found: Mapping) -> str:
    badge = ""
    if found["auc"] is not None:
        word = verdict(found)
        badge = f'<b class="badge {word}">{word}</b>'
    low, high = found["auc_interval"] or (None, None)
    cells = [
        badge,
        _number(found["auc"]),
        f"{low:.3f}–{high:.3f}" if low is not None else "–",
        *(_percent(found[name]) for name in ("accuracy", "balanced_accuracy", "eer")),
        _number(found["ap"]),
        *(_percent(found[name]) for name in ("tpr_at_fpr_1%", "tpr_at_fpr_0.1%")),
        *(_number(found[name]) for name in ("ece", "brier")),
        *(f"{found[name]:,}" for name in ("n_real", "n_fake")),
    ]
    return f"<tr><th scope=row>{escape(title)}</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _roc(title: str, level: str, tests: Sequence[Test], rows: Sequence[tuple]) -> str:
    known = [(test, found[level]["auc"]) for test, (_, found, _) in zip(tests, rows, strict=True)]
    known = [(test, auc) for test, auc in known if auc is not None]
    if not known:
        return ""
    charts = [roc_chart(*zip(*known, strict=True), logarithmic, f"roc-{level}") for logarithmic in (False, True)]
    return section(f"ROC: {title.lower()}", figures_of(charts))


def _reliability(tests: Mapping[str, Sequence[Test]], names: Mapping[str, str]) -> str:
    """For each line one chart, with a curve for each level."""
    charts = []
    for index, of_line in enumerate(zip(*tests.values(), strict=True)):
        curves = [replace(test, title=title) for test, title in zip(of_line, names.values(), strict=True)]
        charts.append(reliability_chart(of_line[0].title, curves, f"reliability-{index}"))
    return section("Reliability", figures_of(charts))


def _excluded(reasons: Mapping[str, Sequence[str]]) -> str:
    if not reasons:
        return ""
    parts = []
    for reason, files in sorted(reasons.items(), key=lambda item: -len(item[1])):
        shown = "".join(f"<li>{escape(file)}</li>" for file in files[:_SHOWN])
        more = f"<li>and {len(files) - _SHOWN:,} more, in report.json</li>" if len(files) > _SHOWN else ""
        parts.append(f"<p><b>{len(files):,}</b> {escape(reason)}</p><ul class=files>{shown}{more}</ul>")
    return section("Excluded", "".join(parts))


def _number(value: float | None) -> str:
    return "–" if value is None or not np.isfinite(value) else f"{value:.4f}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
