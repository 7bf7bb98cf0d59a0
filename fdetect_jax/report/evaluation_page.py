"""An evaluation as one page: its content and curves in, HTML out."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from fdetect_jax.report.pages import image_of, leaves, render
from fdetect_jax.report.plots import (
    Histogram,
    ReliabilityCurve,
    RocCurve,
    reliability_chart,
    roc_chart,
    score_chart,
)
from fdetect_jax.report.tables import Column, table_of

_SHOWN = 50  # excluded files, by reason
_SIDE = 144  # pixels of a mistake's picture


def evaluation_page(
    content: Mapping[str, Any],
    *,
    titles: Mapping[str, str],
    tests: Mapping[str, Sequence[tuple[str, Mapping]]],
    columns: Sequence[Column],
    roc: Mapping[str, Sequence[RocCurve]],
    reliability: Sequence[tuple[str, Sequence[ReliabilityCurve]]],
    scores: Sequence[Histogram],
    mistakes: Sequence[tuple[str, Sequence[tuple[Mapping, np.ndarray]]]],
    robustness: Mapping | None,
) -> str:
    """The page.

    content: of report.json, of an evaluation (``evaluation.schema``). titles: level -> what a reader calls it.
    tests: level -> (title, measures) of each row. roc: level -> curves. reliability: (title, a curve for each level).
    mistakes: (title of a class, (row of report.json, (S, S, 3) uint8 picture) of each). robustness: of
    ``robustness_page.robustness_part``.
    """
    data = content["data"]
    excluded = [
        {"reason": reason, "count": len(files), "names": files[:_SHOWN]}
        for reason, files in sorted(data["reasons"].items(), key=lambda item: -len(item[1]))
    ]
    return render(
        "evaluation.html",
        title=content["title"],
        description=content["description"],
        facts=(f"{data['scored']:,} files scored", f"{data['excluded']:,} excluded"),
        tables=[table_of(titles[level], "", rows, columns) for level, rows in tests.items()],
        roc=[
            (titles[level], [roc_chart(curves, logarithmic, f"roc-{level}") for logarithmic in (False, True)])
            for level, curves in roc.items()
            if curves
        ],
        reliability=[
            reliability_chart(title, curves, f"reliability-{number}")
            for number, (title, curves) in enumerate(reliability)
        ],
        scores=[score_chart(one, f"scores-{number}") for number, one in enumerate(scores)],
        confusion=content.get("confusion"),
        threshold=content["threshold"],
        mistakes=[
            (title, [row | {"image": image_of(picture, row["name"], _SIDE)} for row, picture in shown])
            for title, shown in mistakes
        ],
        robustness=robustness,
        excluded=excluded,
        settings=list(leaves({name: content[name] for name in ("protocol", "calibration", "seed")})),
    )
