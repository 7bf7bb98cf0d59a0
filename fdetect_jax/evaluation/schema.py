"""report.json, the file that every training and every evaluation writes: its fields, and how it is written.

``schema``: 2, the version of these fields. ``job``: "training" or "evaluation".
``title``, ``description``: any text. ``model``: of an evaluation {"file", "description", "recipe"}, of a training null.
``calibration``: the fields of ``inference.calibration.Calibration``. ``threshold``: a unit counts as fake from this
calibrated score on. ``seed``: of random draws, such as the bootstrap's.
``tests``: name -> ``results.measure``: title, unit, sources, methods, n_real, n_fake, n_groups, verdict, every
registered metric (a number, [low, high], or null) and ``undefined`` (metric -> reason of a null).
``figures``: name -> number, null where it is not finite: what is no metric of a test, such as a reconstruction's PSNR.

Of a training also: ``step``, ``seconds`` (of training), ``config`` (nested, as it was); ``classes``: of
``classes.classes_part``, null for a detector of real and fake alone; ``localisation``: the name of a forgery -> title,
faces (whose true mask is known) and every figure of ``localisation.FIGURES``, {} without a mask.

Of an evaluation also: ``protocol`` (``Protocol.to_dict``); ``data``: {"scored", "excluded": counts of files, "reasons":
reason -> excluded files, "sets": [{"name", "split", "scored", "excluded"}]}; ``files``: [{"name", "label", "method",
"source", "frames", "score"}]; ``confusion``: of ``confusion.confusion``, or null; ``mistakes``: "real" and "fake" ->
the most confident ones; with the suite ``robustness``, see ``robustness.robustness``. Its tests are "video" and
"frame", all files at one threshold, then "video/SOURCE" and "video/SOURCE/METHOD" and the same of frames; a method
stands against the reals of its source. Of several data sets, "video/SET" too, where a set holds several sources.
"""

import dataclasses
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax.files import write_atomic
from fdetect_jax.inference.calibration import Calibration

SCHEMA = 2
REPORT = "report.json"
PAGE = "report.html"


def base(
    job: str,
    title: str,
    description: str,
    calibration: Calibration,
    threshold: float,
    seed: int,
    tests: Mapping[str, Mapping],
    figures: Mapping[str, float],
    model: Mapping | None = None,
) -> dict[str, Any]:
    """The fields that both jobs share. tests: of ``results.measure_all``. figures: any numbers, finite or not."""
    return {
        "schema": SCHEMA,
        "job": job,
        "title": title,
        "description": description,
        "model": model,
        "calibration": dataclasses.asdict(calibration),
        "threshold": float(threshold),
        "seed": int(seed),
        "tests": tests,
        "figures": {name: float(value) if math.isfinite(value) else None for name, value in figures.items()},
    }


def plain(value: Any) -> Any:
    """The nearest thing that strict JSON can hold; what JSON does not know becomes its text."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        return plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else str(value)
    return value if value is None or isinstance(value, bool | int | str) else str(value)


def to_text(content: Mapping[str, Any]) -> str:
    """A report's content as strict JSON. Raises ValueError for a number that is not finite."""
    return json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def write(folder: str | Path, content: Mapping[str, Any], page: str) -> None:
    """Writes ``report.html`` and then ``report.json`` into ``folder``, each whole or not at all."""
    text = to_text(content)
    write_atomic(Path(folder) / PAGE, page)
    write_atomic(Path(folder) / REPORT, text)
