"""A training's report as one page: measures, curves, history and pictures in, HTML out."""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime

from fdetect_jax.report.curves import attack_charts, headline, training_charts
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.report.pages import image_of, leaves, render
from fdetect_jax.report.plots import Chart, Histogram, RocCurve, roc_chart, score_chart
from fdetect_jax.report.tables import Column, table_of

_ROWS = 8
_SIDE = 224  # pixels a picture is stored at


def training_page(
    content: Mapping,
    *,
    columns: Sequence[Column],
    roc: Sequence[RocCurve],
    scores: Sequence[Histogram],
    history: Sequence[dict],
    drop: float | None,
    gallery: Gallery | None,
    fingerprints: Gallery | None,
    located: Sequence[Column],
    masks: Gallery | None,
    embedding: Chart | None,
) -> str:
    """The page.

    content: of report.json, of a training (``evaluation.schema``). columns: metrics to show. roc, scores: of its tests.
    history: rows of scalars by step. drop: how far the attack lowers P(fake), None without an attack. gallery: of which
    the first 8 rows are shown. fingerprints: a column for each class, see ``train.classed``. located: the figures of
    the content's localisation. masks: pictures of true and found masks, likewise.
    """
    tests = content["tests"]
    known = {one["title"]: one["auc"] for one in tests.values() if one.get("auc") is not None}
    return render(
        "training.html",
        title=content["title"],
        description=content["description"],
        facts=_facts(content, history),
        table=table_of("Verdict", "Test", ((one["title"], one) for one in tests.values()), columns),
        hardest=min(known, key=known.__getitem__) if len(known) > 1 else None,
        figures=[_tile(name, value) for name, value in content["figures"].items()],
        roc=[roc_chart(roc, logarithmic) for logarithmic in (False, True)] if roc else [],
        scores=[score_chart(one, f"scores-{index}") for index, one in enumerate(scores)],
        attack=attack_charts(history),
        drop=drop,
        gallery=_pictures(gallery),
        classes=content["classes"],
        fingerprints=_pictures(fingerprints),
        located=[
            (one["title"], one["faces"], [column.text(one[column.name]) for column in located])
            for one in content["localisation"].values()
        ],
        located_columns=located,
        masks=_pictures(masks),
        embedding=[embedding] if embedding else [],
        training=training_charts(history, {name: one["title"] for name, one in tests.items()}),
        config=list(leaves(content["config"])),
    )


def _facts(content: Mapping, history: Sequence[dict]) -> tuple[str, ...]:
    facts = [f"{content['step']:,} steps", _duration(content["seconds"])]
    if times := [row["time"] for row in history if math.isfinite(row.get("time", math.nan))]:
        end = datetime.fromtimestamp(times[-1], UTC)
        facts.append(f"{end.day} {end:%B %Y, %H:%M} UTC")
    return tuple(facts)


def _pictures(gallery: Gallery | None) -> dict | None:
    if gallery is None:
        return None
    names, cells = list(gallery.columns), []
    for row in range(min(_ROWS, len(gallery.columns[names[0]]))):
        for name in names:
            image = image_of(gallery.columns[name][row], f"{name}, face {row + 1}", _SIDE)
            score = float(gallery.scores[name][row]) if name in gallery.scores else None
            cells.append({"image": image, "score": score})
    return {"names": names, "cells": cells, "scored": bool(gallery.scores)}


def _duration(seconds: float) -> str:
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def _tile(name: str, value: float | None) -> tuple[str, str, str]:
    """(title, number, unit) of a figure."""
    if value is None:
        return headline(name), "not finite", ""
    if "psnr" in name.lower():
        return headline(name), f"{value:.2f}", "dB"
    return headline(name), f"{value:,.0f}" if value.is_integer() and abs(value) >= 10 else f"{value:.4g}", ""
