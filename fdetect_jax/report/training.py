"""A run's report: scores, figures, history and pictures in, ``report.json`` and ``report.html`` out.

The JSON is for programs, the HTML is one file for people, readable offline. Trainers without tests (gan,
inversion) leave ``tests`` empty and get their curves, figures and pictures.
"""

import json
import math
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.metrics import Test, classification
from fdetect_jax.files import write_atomic
from fdetect_jax.report import page
from fdetect_jax.report.gallery import Gallery, difference, gallery_png

REPORT = "report.json"
__all__ = ["REPORT", "Gallery", "Test", "difference", "gallery_png", "write"]


def write(
    workdir: str | os.PathLike,
    *,
    title: str,
    description: str,
    config: dict,
    tests: Sequence[Test],
    figures: dict[str, float],
    history: Sequence[dict],
    gallery: Gallery | None,
    embeddings: Mapping[str, np.ndarray],
    step: int,
    seconds: float,
) -> dict:
    """Writes ``report.html`` and then ``report.json``, each whole or not at all.

    Args:
      workdir: folder of the run.
      title, description: headline and the config's one line; any text.
      config: the run's settings, nested as they are; what JSON does not know is written as its text.
      tests: scored sets; their metrics are computed here at threshold 0.5.
      figures: further numbers, such as ``reconstruction_psnr`` in dB.
      history: rows as ``train.writer.read_history`` gives them; rows may lack any name.
      gallery: pictures, of which the page shows the first 8 rows.
      embeddings: (N, D) by the kind of face, or nothing.
      step: training steps done.
      seconds: they took.

    Returns:
      What report.json holds: ``title``, ``description``, ``step``, ``seconds``, ``config`` and ``tests``,
      which has each test's metrics and each figure under its name, null where it is not finite.

    Raises:
      ValueError: two results of one name, or a test that ``classification`` refuses, with its name.
    """
    results: dict[str, dict | float | None] = {}
    for test in tests:
        if test.name in results:
            raise UserError(f"two tests are named {test.name!r}")
        try:
            results[test.name] = classification(test.labels, test.scores)
        except ValueError as error:
            raise UserError(f"test {test.name!r}: {error}") from error
    metrics = list(results.values())
    if clash := sorted(set(results) & set(figures)):
        raise UserError(f"{clash} are names of both tests and figures")
    plain = _plain(config)
    report = {
        "title": title,
        "description": description,
        "step": int(step),
        "seconds": float(seconds),
        "tests": results | {name: float(v) if math.isfinite(v) else None for name, v in figures.items()},
        "config": plain,
    }
    html = page.render(
        title=title,
        description=description,
        config=plain,
        tests=tests,
        results=metrics,
        figures=figures,
        history=history,
        gallery=gallery,
        embeddings=embeddings,
        step=step,
        seconds=seconds,
    )
    workdir = Path(workdir)
    write_atomic(workdir / "report.html", html)
    write_atomic(workdir / REPORT, json.dumps(report, indent=2, allow_nan=False, ensure_ascii=False) + "\n")
    return report


def _plain(value):
    """The nearest thing that strict JSON can hold."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return _plain(value.tolist())
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)
