"""``fdetect evaluate``: arguments in, a table and files out."""

import argparse
import sys
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from fdetect_jax.errors import UserError
from fdetect_jax.files import check_folder, check_output, lines_beside
from fdetect_jax.host import set_up

if TYPE_CHECKING:  # JAX comes after what host sets
    from fdetect_jax.evaluation.evaluate import Evaluated
    from fdetect_jax.evaluation.mistakes import Mistakes
    from fdetect_jax.evaluation.sets import DataSet
    from fdetect_jax.inference.familiar import Sample
    from fdetect_jax.inference.labelled import ScoredFile
    from fdetect_jax.inference.protocol import Protocol
    from fdetect_jax.inference.scorer import Scorer


def run(arguments: argparse.Namespace) -> None:
    """Scores labelled files, prints their measures, and writes what is asked for.

    Raises UserError before any work where the data, the model, the protocol or an output cannot be used.
    """
    set_up()
    from fdetect_jax.evaluation import confusion
    from fdetect_jax.evaluation.evaluate import evaluate
    from fdetect_jax.evaluation.mistakes import Mistakes
    from fdetect_jax.evaluation.results import summary
    from fdetect_jax.evaluation.sets import open_sets, protocol_of, score_sets
    from fdetect_jax.inference.familiar import Sample
    from fdetect_jax.inference.labelled import Excluded
    from fdetect_jax.inference.options import chosen

    _check_outputs(arguments)
    sets = open_sets(arguments.data, arguments.split)
    _check_jobs(arguments, sets)
    scorer, protocol = chosen(arguments)
    protocol = protocol_of(sets, protocol)
    files, excluded, names, sample, known = [], [], [], None, Sample()
    mistakes = Mistakes(scorer.calibration, protocol)
    how = {"seed": arguments.seed, "workers": arguments.workers, "seconds": arguments.timeout}
    found = score_sets(sets, scorer, protocol, degraded=arguments.suite is not None, **how)
    counts = {one.name: {"scored": 0, "excluded": 0} for one in sets}
    for name, one in tqdm(found, total=sum(len(one.files) for one in sets), unit="file", disable=None):
        counts[name]["excluded" if isinstance(one, Excluded) else "scored"] += 1
        if isinstance(one, Excluded):
            excluded.append(one)
            continue
        mistakes.add(one)
        sample = np.array(one.crops[0]) if sample is None else sample
        if arguments.calibrate is not None:  # a copy: under the suite a crop is a part of a mapped file of all views
            known.add(np.array(one.crops[0][0]), float(np.sqrt(one.areas.max())))
        files.append(one.without_crops())
        names.append(name)
    model = {"file": scorer.path.name, "description": scorer.description, "recipe": scorer.recipe.to_dict()}
    title = "; ".join(", ".join(filter(None, (one.name, one.split))) for one in sets)
    evaluated = evaluate(
        files,
        excluded,
        scorer.calibration,
        protocol,
        arguments.seed,
        title=title,
        model=model,
        sets=names,
        classes=scorer.classes,
    )
    content = evaluated.content
    content["data"]["sets"] = [{"name": one.name, "split": one.split} | counts[one.name] for one in sets]
    content["mistakes"] = mistakes.to_dict()
    lines = lines_beside(arguments.json)
    for line in summary(content, evaluated.shown):
        print(line, file=lines)
    if content["confusion"]:
        for line in confusion.lines(content["confusion"]):
            print(line, file=lines)
    for reason, left_out in content["data"]["reasons"].items():
        print(f"excluded: {len(left_out)} {reason}", file=lines)
    if arguments.suite is not None:
        for line in _add_robustness(evaluated, files, scorer, protocol, sets):
            print(line, file=lines)
    _write(arguments, evaluated, files, scorer, protocol, mistakes, sample, known)


def _add_robustness(
    evaluated: "Evaluated", files: "list[ScoredFile]", scorer: "Scorer", protocol: "Protocol", sets: "list[DataSet]"
) -> list[str]:
    """Adds the suite's figures to the report's content; returns the lines that show them."""
    from fdetect_jax.evaluation.robustness import robustness, summary

    content = evaluated.content
    if (reason := content["tests"]["video"]["undefined"].get("auc")) is not None:
        return [f"robustness: no AUC of the files that show a face, {reason}"]
    clean = {level: content["tests"][level] for level in evaluated.titles}
    found = robustness(files, clean, scorer.calibration, protocol, content["seed"])
    content["robustness"] = found | {"applied_to": "crops" if sets[0].prepared else "frames"}
    return list(summary(found, evaluated.titles))


def _check_jobs(arguments: argparse.Namespace, sets: "list[DataSet]") -> None:
    labels = {file.label for one in sets for file in one.files}
    for job in ("calibrate", "suite"):
        if getattr(arguments, job) is not None and len(labels) < 2:
            raise UserError(f"{job}: found files of label {labels} alone, wanted real (0) and fake (1) ones")
    prepared = [one for one in sets if one.prepared]
    if arguments.suite is not None and 0 < len(prepared) < len(sets):
        raise UserError("suite: found prepared and other data sets, wanted either, as it degrades crops or frames")
    for name in ("frames", "per_second", "faces"):
        if prepared and (found := getattr(arguments, name)) is not None:
            raise UserError(f"{name}: found {found!r}, wanted none: {prepared[0].root} was prepared with its own")


def _check_outputs(arguments: argparse.Namespace) -> None:
    for name in ("json", "calibrate"):
        if (path := getattr(arguments, name)) is not None:
            check_output(path, f"--{name}")
    if arguments.output is not None:
        check_folder(arguments.output, "--output")
    if arguments.false_alarms is not None:
        suspicious, fake = arguments.false_alarms
        if arguments.calibrate is None or not 0 <= fake <= suspicious < 1:
            found, wanted = f"{suspicious:g} {fake:g}", "two shares in [0, 1), the larger first, with --calibrate"
            raise UserError(f"--false-alarms: found {found}, wanted {wanted}")
    if arguments.calibrate is not None and arguments.calibrate.suffix != ".safetensors":
        raise UserError(f"{arguments.calibrate}: wanted a name that ends in .safetensors")


def _write(
    arguments: argparse.Namespace,
    evaluated: "Evaluated",
    files: "list[ScoredFile]",
    scorer: "Scorer",
    protocol: "Protocol",
    mistakes: "Mistakes",
    sample: np.ndarray,
    known: "Sample",
) -> None:
    from fdetect_jax import weights
    from fdetect_jax.evaluation import schema
    from fdetect_jax.evaluation.evaluation_report import page_of
    from fdetect_jax.files import write_out
    from fdetect_jax.inference.calibration import calibrate
    from fdetect_jax.inference.familiar import COLLECTION, LEAST, Limits, fit_plane

    content = evaluated.content
    if arguments.json:
        write_out(arguments.json, schema.to_text(content))
    if arguments.output:
        schema.write(arguments.output, content, page_of(evaluated, scorer.calibration, mistakes, sample))
        print(arguments.output / schema.PAGE, file=sys.stderr)
    if arguments.calibrate:
        labels, sources = [one.file.label for one in files], [one.file.source for one in files]
        found = calibrate(files, labels, protocol, content["title"], sources, arguments.false_alarms)
        limits, plane = Limits.fit(known), {}
        if scorer.unit == "face" and len(known.crops) >= LEAST:
            embeddings = scorer.embeddings(np.stack(known.crops))
            plane = {} if embeddings is None else fit_plane(embeddings)
        arrays = {f"{COLLECTION}/{name}": array for name, array in plane.items()}
        weights.annotate(scorer.path, arguments.calibrate, arrays, **found.to_metadata(), **limits.to_metadata())
        fitted = f"temperature {found.temperature:.4g}, bias {found.bias:.4g}, threshold {found.threshold:.4g}"
        fitted += "" if found.suspicious is None else f", suspicious from {found.suspicious:.4g} on"
        fitted += f"; known faces from {limits.smallest:.0f} pixels and a sharpness of {limits.blurred:.1f} on"
        fitted += "" if plane else f"; no limit of embeddings, which takes {LEAST} faces and a detector with some"
        print(f"{arguments.calibrate}: {fitted}", file=lines_beside(arguments.json))
