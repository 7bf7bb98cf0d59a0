"""A training's report: scored tests, figures, history and pictures in, ``report.json`` and ``report.html`` out.

The JSON is for programs (``evaluation.schema``), the HTML is one file for people, readable offline. Trainers without
tests (gan, inversion) leave ``tests`` empty and get their curves, figures and pictures.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fdetect_jax.evaluation import schema
from fdetect_jax.evaluation.curves import histogram, roc_curve
from fdetect_jax.evaluation.embeddings import embedding_chart
from fdetect_jax.evaluation.localisation import FIGURES, Localisation
from fdetect_jax.evaluation.results import columns, measure_all, summary
from fdetect_jax.evaluation.schema import REPORT
from fdetect_jax.evaluation.table import Test
from fdetect_jax.evaluation.view import view_of
from fdetect_jax.inference.calibration import Calibration
from fdetect_jax.report.curves import attack_series
from fdetect_jax.report.gallery import Gallery
from fdetect_jax.report.training_page import training_page

__all__ = ["REPORT", "attack_drop", "summary", "write"]

_IDENTITY = Calibration()
_NOWHERE: Mapping[str, Localisation] = {}


def write(
    workdir: str | os.PathLike,
    *,
    title: str,
    description: str,
    config: Mapping,
    tests: Sequence[Test],
    figures: Mapping[str, float],
    history: Sequence[dict],
    gallery: Gallery | None,
    embeddings: Mapping[str, np.ndarray],
    step: int,
    seconds: float,
    calibration: Calibration = _IDENTITY,
    threshold: float | None = None,
    seed: int = 0,
    classes: Mapping | None = None,
    fingerprints: Gallery | None = None,
    localisation: Mapping[str, Localisation] = _NOWHERE,
    masks: Gallery | None = None,
) -> dict:
    """Writes ``report.html`` and then ``report.json``, each whole or not at all.

    Args:
      workdir: folder of the run.
      title, description: headline and the config's one line; any text.
      config: the run's settings, nested as they are; what JSON does not know is written as its text.
      tests: scored sets, whose metrics are computed here.
      figures: further numbers, such as ``reconstruction_psnr`` in dB.
      history: rows as ``train.writer.read_history`` gives them; rows may lack any name.
      gallery: pictures, of which the page shows the first 8 rows.
      embeddings: (N, D) by the kind of face, or nothing.
      step: training steps done.
      seconds: they took.
      calibration: from margins to P(fake). threshold: fake from this P(fake) on; None: the calibration's.
      seed: of the bootstrap.
      classes: what held-out faces were taken for, of ``classes.classes_part``. fingerprints: pictures of them.
      localisation: by the name of a forgery, how well its masks are found. masks: pictures of some, likewise 8 rows.

    Returns:
      What report.json holds, see ``evaluation.schema``.

    Raises:
      ValueError: two tests of one name, or a test with other labels or margins that are not finite; names it.
    """
    threshold = calibration.threshold if threshold is None else threshold
    measured = measure_all(tests, calibration, threshold, seed)
    content = schema.base("training", title, description, calibration, threshold, seed, measured, figures) | {
        "step": int(step),
        "seconds": float(seconds),
        "config": schema.plain(config),
        "classes": None if classes is None else schema.plain(classes),
        "localisation": {
            name: {"title": one.title, "faces": one.faces, **one.figures} for name, one in localisation.items()
        },
    }
    views = [view_of(test, calibration, threshold, seed) for test in tests]
    aucs = [measured[test.name].get("auc") for test in tests]
    page = training_page(
        content,
        columns=columns(threshold),
        roc=[
            roc_curve(test.title, auc, view)
            for test, auc, view in zip(tests, aucs, views, strict=True)
            if auc is not None
        ],
        scores=[histogram(test.title, view) for test, view in zip(tests, views, strict=True)],
        history=history,
        drop=attack_drop(history),
        gallery=gallery,
        fingerprints=fingerprints,
        located=FIGURES,
        masks=masks,
        embedding=embedding_chart("Principal components", embeddings, "pca") if embeddings else None,
    )
    schema.write(Path(workdir), content, page)
    return content


def attack_drop(history: Sequence[dict]) -> float | None:
    """The mean drop in P(fake) from reconstructions to adversaries over the last quarter of the logged steps.

    None where no step has logged both.
    """
    if (found := attack_series(history)) is None:
        return None
    steps, before, after = found
    return float(np.mean((before - after)[-max(1, len(steps) // 4) :]))
