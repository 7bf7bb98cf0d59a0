"""AUC under degradations as a part of a page: figures of the suite and a degraded face in, charts and rows out."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from fdetect_jax.report.pages import image_of
from fdetect_jax.report.plots import Chart, SeverityCurve, severity_chart

_SIDE = 96  # pixels of a picture
_NOTES = {
    "frames": "Whole frames are degraded, at their own size; faces are those found in the frames as they are. H.264: "
    "the sampled frames with a face, in clips of eight; an image is a clip of one.",
    "crops": "The prepared crops are degraded, at their own size. H.264: the crops of one person, in clips of eight.",
}
_NOTE = (
    "Resize: shrunk to a share of the sides and grown back. Blur: σ in pixels; noise: σ as a share of full scale. "
    "Saturation, contrast, brightness: times a factor. Bands: 95 % intervals, a bootstrap over files."
)
Damage = tuple[str, str, Sequence[float]]


def robustness_part(
    found: Mapping, titles: Mapping[str, str], worst: Mapping[str, str], damage: Sequence[Damage], crops: np.ndarray
) -> dict:
    """What ``robustness.html`` shows.

    found: the ``robustness`` of report.json. titles, worst: level -> what a reader calls it, and where its AUC is
    lowest, in words. damage: (title, parameter, values) of each degradation. crops: (1 + C, S, S, 3) uint8, a face as
    it is and under each value of each degradation.
    """
    return {
        "leads": [
            {"title": title, "clean": f"{found['clean'][level]['auc']:.4f}", "worst": worst[level]}
            for level, title in titles.items()
        ],
        "charts": list(_charts(found, titles)),
        "tables": [_table(found, level, title) for level, title in titles.items()],
        "damage": list(_pictures(damage, crops)),
        "notes": f"{_NOTES[found['applied_to']]} {_NOTE}",
    }


def _charts(found: Mapping, titles: Mapping[str, str]) -> Iterator[Chart]:
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


def _table(found: Mapping, level: str, title: str) -> dict:
    worst, rows = found["worst"][level], []
    for name, of in found["degradations"].items():
        cells = [
            {
                "auc": f"{one['auc']:.4f}",
                "value": f"{value:g}",
                "worst": (name, number) == (worst["degradation"], worst["severity"]),
            }
            for number, (value, one) in enumerate(zip(of["values"], of[level], strict=True), 1)
        ]
        clean = f"{found['clean'][level]['auc']:.4f}"
        rows.append({"title": of["title"], "parameter": of["parameter"], "clean": clean, "cells": cells})
    return {"title": title, "rows": rows}


def _pictures(damage: Sequence[Damage], crops: np.ndarray) -> Iterator[dict]:
    damaged = iter(crops[1:])
    for title, parameter, values in damage:
        images = [image_of(crops[0], "as it is", _SIDE)]
        images += [image_of(next(damaged), f"{value:g}", _SIDE) for value in values]
        yield {"title": title, "parameter": parameter, "images": images}
