"""``fdetect evaluate``: arguments in, a table and files out."""

import argparse
import dataclasses
import json
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fdetect_jax.errors import UserError
from fdetect_jax.host import set_up

if TYPE_CHECKING:  # JAX comes after what host sets
    from fdetect_jax.data.prepared import Prepared
    from fdetect_jax.evaluation.labelled import Excluded, LabelledFile, ScoredFile
    from fdetect_jax.inference.calibration import Calibration
    from fdetect_jax.inference.protocol import Protocol
    from fdetect_jax.inference.scorer import Scorer

_COLUMNS = ("accuracy", "eer", "ap", "tpr_at_fpr_1%", "tpr_at_fpr_0.1%", "ece")


def run(arguments: argparse.Namespace) -> None:
    """Judges labelled files, prints their figures, and writes what is asked for.

    Raises ValueError before any work where the data, the model, the protocol or an output cannot be used.
    """
    set_up()
    from fdetect_jax.data.prepared import Prepared
    from fdetect_jax.datasets.prepare import MANIFEST
    from fdetect_jax.evaluation.evaluate import report
    from fdetect_jax.evaluation.labelled import Excluded, files_of
    from fdetect_jax.evaluation.mistakes import Mistakes, mistakes_section
    from fdetect_jax.inference.options import chosen

    root, prepared = arguments.data, None
    if (root / MANIFEST).is_file():
        prepared = Prepared(root, arguments.split or "test")
    elif arguments.split is not None:
        raise UserError(f"split: found {arguments.split!r}, wanted none: {root} was not prepared and has no splits")
    files = files_of(root) if prepared is None else list(prepared.files())
    _check_outputs(arguments)
    for job in ("calibrate", "suite"):
        if getattr(arguments, job) is not None and len(kinds := {file.label for file in files}) < 2:
            raise UserError(f"{job}: found files of label {kinds} alone, wanted real (0) and fake (1) ones")
    predictor, protocol = chosen(arguments)
    if prepared is not None:
        protocol = _as_prepared(arguments, protocol, prepared)
    judged, excluded, mistakes, sample = [], [], Mistakes(predictor.calibration, protocol), None
    found = _judge(arguments, files, prepared, predictor, protocol)
    for one in tqdm(found, total=len(files), unit="file", disable=None):
        if isinstance(one, Excluded):
            excluded.append(one)
            continue
        mistakes.add(one)
        sample = np.array(one.crops[0]) if sample is None else sample
        judged.append(one.without_crops())
    model = {"file": predictor.path.name, "description": predictor.description, "recipe": predictor.recipe.to_dict()}
    content = {"model": model} | report(judged, excluded, predictor.calibration, protocol, arguments.seed)
    content["data"] |= {"folder": root.resolve().name, "split": prepared and prepared.split}
    content["mistakes"] = mistakes.to_dict()
    for line in _summary(content):
        print(line)
    sections = [mistakes_section(mistakes, protocol.threshold)]
    if arguments.suite is not None:
        sections.append(_robustness(content, judged, sample, predictor.calibration, protocol, prepared is not None))
    _write(arguments, content, judged, predictor, protocol, sections)


def _judge(
    arguments: argparse.Namespace,
    files: "list[LabelledFile]",
    prepared: "Prepared | None",
    predictor: "Scorer",
    protocol: "Protocol",
) -> "Iterator[ScoredFile | Excluded]":
    """Every file, under degradations too where the suite asks for them."""
    from fdetect_jax.evaluation.degraded import score_degraded, score_degraded_prepared
    from fdetect_jax.evaluation.labelled import score_files, score_prepared

    work = arguments.workers, arguments.timeout
    if arguments.suite is not None:
        if prepared is not None:
            return score_degraded_prepared(prepared, predictor, arguments.seed, *work)
        return score_degraded(arguments.data, files, predictor, protocol, arguments.seed, *work)
    if prepared is not None:
        return score_prepared(prepared, predictor)
    return score_files(arguments.data, files, predictor, protocol, *work)


def _robustness(
    content: dict,
    judged: "list[ScoredFile]",
    sample: np.ndarray,
    calibration: "Calibration",
    protocol: "Protocol",
    prepared: bool,
) -> str:
    """Adds the suite's figures to ``content``, prints them, and returns their section of the page."""
    from fdetect_jax.evaluation.evaluate import titles
    from fdetect_jax.evaluation.robustness import robustness, robustness_section, summary

    if (reason := content["video"]["undefined"].get("auc")) is not None:
        print(f"robustness: no AUC of the files that show a face, {reason}", file=sys.stderr)
        return ""
    names = titles(content)
    clean = {level: content[level] for level in names}
    found = robustness(judged, clean, calibration, protocol, content["seed"])
    content["robustness"] = found | {"applied_to": "crops" if prepared else "frames"}
    for line in summary(found, names):
        print(line)
    return robustness_section(content["robustness"], names, sample)


def _check_outputs(arguments: argparse.Namespace) -> None:
    for path in (arguments.json, arguments.calibrate):
        if path is not None and not path.parent.is_dir():
            raise UserError(f"{path}: found no folder {str(path.parent)!r}")
    if arguments.output is not None and arguments.output.is_file():
        raise UserError(f"{arguments.output}: found a file, wanted a folder, or a name for a new one")
    if arguments.calibrate is not None and arguments.calibrate.suffix != ".safetensors":
        raise UserError(f"{arguments.calibrate}: wanted a name that ends in .safetensors")


def _write(
    arguments: argparse.Namespace,
    content: dict,
    judged: list,
    predictor: "Scorer",
    protocol: "Protocol",
    sections: list,
) -> None:
    from fdetect_jax.evaluation.evaluate import levels
    from fdetect_jax.files import write_atomic
    from fdetect_jax.inference.calibration import calibrate, write_calibrated
    from fdetect_jax.report.evaluation_page import render

    data = ", ".join(filter(None, (content["data"]["folder"], content["data"]["split"])))
    text = json.dumps(content, indent=1, allow_nan=False) + "\n"
    if arguments.json:
        write_atomic(arguments.json, text)
    if arguments.output:
        page = render(
            content, judged, levels(judged, predictor.calibration, protocol), data, predictor.description, sections
        )
        write_atomic(arguments.output / "report.json", text)
        write_atomic(arguments.output / "report.html", page)
        print(arguments.output / "report.html", file=sys.stderr)
    if arguments.calibrate:
        found = calibrate(judged, [one.file.label for one in judged], protocol, data)
        write_calibrated(predictor.path, arguments.calibrate, found)
        fitted = f"temperature {found.temperature:.4g}, bias {found.bias:.4g}, threshold {found.threshold:.4g}"
        print(f"{arguments.calibrate}: {fitted}")


def _as_prepared(arguments: argparse.Namespace, protocol: "Protocol", prepared: "Prepared") -> "Protocol":
    """The protocol with what was fixed when the data was prepared."""
    from fdetect_jax.media.video import Sampling

    for name in ("frames", "per_second", "faces"):
        if (found := getattr(arguments, name)) is not None:
            raise UserError(f"{name}: found {found!r}, wanted none: {prepared.folder} was prepared with its own")
    sampling = Sampling.from_dict(prepared.manifest["sampling"])
    return dataclasses.replace(protocol, sampling=sampling, faces=prepared.manifest["faces"])


def _summary(found: Mapping) -> Iterator[str]:
    """The figures as lines of text."""
    from fdetect_jax.evaluation.evaluate import lines, titles

    heads = "".join(f"{name.replace('_at_fpr_', ' '):>10s}" for name in _COLUMNS)
    yield f"{'':31s}{'auc':>8s}  {'95 %':13s}{heads}"
    for title, of_line, _ in lines(found):
        for level, name in titles(found).items():
            one = of_line[level]
            interval = "–" if one["auc_interval"] is None else "{:.3f}–{:.3f}".format(*one["auc_interval"])
            values = "".join(f"{_shown(one[name]):>10s}" for name in _COLUMNS)
            counts = f"({one['n_real']} real, {one['n_fake']} fake)"
            yield f"{title[:23]:23s} {name:7s}{_shown(one['auc']):>8s}  {interval:13s}{values}  {counts}"
    for reason, files in found["data"]["reasons"].items():
        yield f"excluded: {len(files)} {reason}"


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"
