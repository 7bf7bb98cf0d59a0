"""How well a detector holds under degradations: files judged under each in, AUC against severity out, as figures for
JSON, lines of text, and a section of a page.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from fdetect_jax.evaluation.degrade import CONDITIONS, DEGRADATIONS
from fdetect_jax.evaluation.evaluate import figures, levels
from fdetect_jax.evaluation.labelled import ScoredFile
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.report.page import figures_of, picture, section
from fdetect_jax.report.plots import SeverityCurve, severity_chart

_KEPT = ("auc", "auc_interval", "balanced_accuracy")
_SIDE = 96  # pixels of a picture
_NOTES = {
    "frames": "Whole frames are degraded, at their own size; faces are those found in the frames as they are. H.264: "
    "the sampled frames with a face, in clips of eight; an image is a clip of one.",
    "crops": "The prepared crops are degraded, at their own size. H.264: the crops of one person, in clips of eight.",
}
_NOTE = (
    "Resize: shrunk to a share of the sides and grown back. Blur: σ in pixels; noise: σ as a share of full scale. "
    "Saturation, contrast, brightness: times a factor. Bands: 95 % intervals, a bootstrap over videos."
)
STYLE = """
.severities td{white-space:nowrap;text-align:right}
.severities th[scope=col]{color:var(--muted);font-weight:500;font-size:.8rem;text-align:right}
.severities td{vertical-align:top}
.severities small{display:block;color:var(--muted);font-weight:400}
.severities .worst{color:var(--bad);font-weight:600}
.damage{display:grid;grid-template-columns:minmax(4em,8em) repeat(6,minmax(0,96px));gap:6px;align-items:center;
  margin-top:16px}
.damage b{font-size:.82rem;font-weight:500;overflow-wrap:anywhere}
.damage small{color:var(--muted)}
.damage img{display:block;width:100%;border-radius:6px}
.damage figcaption{font-size:.72rem;color:var(--muted)}
"""


def robustness(
    judged: Sequence[ScoredFile],
    clean: Mapping[str, Mapping],
    calibration: Calibration,
    protocol: Protocol,
    seed: int = 0,
) -> dict:
    """AUC under every degradation, fit for JSON.

    Args:
      judged: of both classes, with ``degraded``. clean: level -> ``evaluate.figures`` of the same files as they are.

    Returns:
      ``clean``: level -> auc, auc_interval (95 %, over videos), balanced_accuracy; ``degradations``: name -> title,
      parameter, values, and for each level a list of the same figures, from mild to severe; ``worst``: of each level,
      where its AUC is lowest: degradation, severity (1 to 5), value, auc, and fall, by how much it is below clean.
    """
    found: dict[str, dict] = {
        name: {"title": one.title, "parameter": one.parameter, "values": list(one.values)}
        | {level: [] for level in clean}
        for name, one in DEGRADATIONS.items()
    }
    for number, (name, _) in enumerate(CONDITIONS):
        here = levels([replace(one, margins=one.degraded[number]) for one in judged], calibration, protocol)
        for level in clean:
            found[name][level].append(_kept(figures(here[level], protocol.threshold, seed)))
    return {
        "clean": {level: _kept(of_level) for level, of_level in clean.items()},
        "degradations": found,
        "worst": {level: _worst(found, level, of_level["auc"]) for level, of_level in clean.items()},
    }


def _kept(of_level: Mapping) -> dict:
    return {name: of_level[name] for name in _KEPT}


def _worst(found: Mapping[str, Mapping], level: str, clean: float) -> dict:
    aucs = {(name, number): one["auc"] for name, of in found.items() for number, one in enumerate(of[level])}
    name, number = min(aucs, key=aucs.__getitem__)
    auc = aucs[name, number]
    value = found[name]["values"][number]
    return {"degradation": name, "severity": number + 1, "value": value, "auc": auc, "fall": clean - auc}


def describe_worst(worst: Mapping) -> str:
    """For example "JPEG, quality 10: 0.6123, 0.3001 below clean"."""
    if worst["fall"] <= 0:
        return "none is below clean"
    named = DEGRADATIONS[worst["degradation"]].named(worst["value"])
    return f"{named}: {worst['auc']:.4f}, {worst['fall']:.4f} below clean"


def summary(found: Mapping, titles: Mapping[str, str]) -> Iterator[str]:
    """Lines of text. found: of ``robustness``. titles: level -> what a reader calls it."""
    for level, title in titles.items():
        yield ""
        head = "".join(f"{severity:>8d}" for severity in range(1, 6))
        yield f"{f'AUC by severity: {title.lower()}':26s}{'clean':>8s}{head}"
        for of in found["degradations"].values():
            aucs = "".join(f"{one['auc']:8.4f}" for one in of[level])
            values = ", ".join(f"{value:g}" for value in of["values"])
            yield f"{of['title']:26s}{found['clean'][level]['auc']:8.4f}{aucs}  {of['parameter']} {values}"
        yield f"worst: {describe_worst(found['worst'][level])}"


def robustness_section(found: Mapping, titles: Mapping[str, str], crops: np.ndarray) -> str:
    """Curves, a table, and what the degradations look like.

    found: of ``robustness``, with ``applied_to``: "frames" or "crops". titles: as in ``summary``.
    crops: (1 + C, S, S, 3) uint8, a face as it is and under each condition.
    """
    lead = ""
    for level, title in titles.items():
        clean, worst = found["clean"][level]["auc"], describe_worst(found["worst"][level])
        lead += f"<p>{title} as they are: AUC {clean:.4f}. Worst: <b>{worst}</b>.</p>"
    charts = list(_charts(found, titles))
    tables = "".join(_table(found, level, title) for level, title in titles.items())
    notes = f"<p class=note>{_NOTES[found['applied_to']]} {_NOTE}</p>"
    return section("Robustness", lead + figures_of(charts) + tables + _pictures(crops) + notes)


def _charts(found: Mapping, titles: Mapping[str, str]) -> Iterator:
    every = [one["auc"] for of in found["degradations"].values() for level in titles for one in of[level]]
    floor = max(0.0, np.floor(10 * min(0.5, *every) - 0.5) / 10)
    for name, of in found["degradations"].items():
        curves = []
        for level, title in titles.items():
            row = [found["clean"][level], *of[level]]
            known = all(one["auc_interval"] for one in row)
            intervals = np.array([one["auc_interval"] for one in row]) if known else None
            curves.append(SeverityCurve(title, np.array([one["auc"] for one in row]), intervals))
        values = ["clean", *(f"{value:g}" for value in of["values"])]
        yield severity_chart(of["title"], of["parameter"], values, curves, floor, f"severity-{name}")


def _table(found: Mapping, level: str, title: str) -> str:
    head = "".join(f"<th scope=col>{name}</th>" for name in (title, "clean", *range(1, 6)))
    worst, body = found["worst"][level], ""
    for name, of in found["degradations"].items():
        cells = f"<td>{found['clean'][level]['auc']:.4f}</td>"
        for number, (value, one) in enumerate(zip(of["values"], of[level], strict=True), 1):
            lowest = (name, number) == (worst["degradation"], worst["severity"])
            mark = " class=worst" if lowest else ""
            cells += f"<td{mark}>{one['auc']:.4f}<small>{value:g}</small></td>"
        body += f"<tr><th scope=row>{of['title']}<small>{of['parameter']}</small></th>{cells}</tr>"
    return f'<div class=scroll style="margin-top:14px"><table class=severities><tr>{head}</tr>{body}</table></div>'


def _pictures(crops: np.ndarray) -> str:
    cells, damaged = "", iter(crops[1:])
    for one in DEGRADATIONS.values():
        cells += f"<b>{one.title}<br><small>{one.parameter}</small></b>{_pictured(crops[0], 'as it is')}"
        cells += "".join(_pictured(next(damaged), f"{value:g}") for value in one.values)
    return f"<div class=damage>{cells}</div>"


def _pictured(crop: np.ndarray, caption: str) -> str:
    return f"<figure>{picture(crop, caption, _SIDE)}<figcaption>{caption}</figcaption></figure>"
