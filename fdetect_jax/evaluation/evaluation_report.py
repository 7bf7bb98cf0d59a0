"""An evaluation's page: measured tests in, the charts and rows of ``report.evaluation_page`` out."""

import numpy as np

from fdetect_jax.evaluation.curves import histogram, reliability_curve, roc_curve
from fdetect_jax.evaluation.degrade import DEGRADATIONS
from fdetect_jax.evaluation.evaluate import Evaluated
from fdetect_jax.evaluation.mistakes import TITLES, Mistakes
from fdetect_jax.evaluation.results import columns
from fdetect_jax.evaluation.robustness import describe_worst
from fdetect_jax.evaluation.view import view_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.report.evaluation_page import evaluation_page
from fdetect_jax.report.robustness_page import robustness_part


def page_of(
    evaluated: Evaluated, calibration: Calibration, mistakes: Mistakes, sample: np.ndarray | None = None
) -> str:
    """The page.

    sample: (1 + C, S, S, 3) uint8, a face as it is and under each of ``degrade.CONDITIONS``; used where the content has
    ``robustness``.
    """
    content, names = evaluated.content, evaluated.titles
    levels = {}
    for level in names:
        kept = [
            (group.title, test)
            for group, test in zip(evaluated.groups, evaluated.tests[level], strict=True)
            if group.shown
        ]
        levels[level] = [
            (title, test.name, view_of(test, calibration, content["threshold"], content["seed"]))
            for title, test in kept
        ]
    roc = {}
    for level, rows in levels.items():
        aucs = [content["tests"][name].get("auc") for _, name, _ in rows]
        known = zip(rows, aucs, strict=True)
        roc[level] = [roc_curve(title, auc, view) for (title, _, view), auc in known if auc is not None]
    rows_of_levels = list(zip(*levels.values(), strict=True))
    reliability = [
        (row[0][0], [reliability_curve(name, view) for name, (*_, view) in zip(names.values(), row, strict=True)])
        for row in rows_of_levels
    ]
    robustness = None
    if found := content.get("robustness"):
        worst = {level: describe_worst(found["worst"][level]) for level in names}
        damage = [(one.title, one.parameter, one.values) for one in DEGRADATIONS.values()]
        robustness = robustness_part(found, names, worst, damage, sample)
    return evaluation_page(
        content,
        titles=names,
        tests={level: [(title, content["tests"][name]) for title, name, _ in rows] for level, rows in levels.items()},
        columns=columns(content["threshold"]),
        roc=roc,
        reliability=reliability,
        scores=[histogram(title, view) for title, _, view in levels["video"]],
        mistakes=[(title, mistakes.shown(label)) for label, title in TITLES.items()],
        robustness=robustness,
    )
