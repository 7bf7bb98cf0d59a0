"""Measuring a detector on labelled data sets, and fitting its calibration there. In: a job. Out: lines, and the files
that are asked for.
"""

import dataclasses
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tqdm import tqdm

from fdetect_jax import weights
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation import confusion, schema
from fdetect_jax.evaluation.evaluate import Evaluated, evaluate
from fdetect_jax.evaluation.evaluation_report import page_of
from fdetect_jax.evaluation.mistakes import Mistakes
from fdetect_jax.evaluation.results import summary
from fdetect_jax.evaluation.robustness import robustness
from fdetect_jax.evaluation.robustness import summary as robustness_summary
from fdetect_jax.evaluation.sets import DataSet, open_sets, protocol_of, score_sets
from fdetect_jax.files import check_folder, check_output, lines_beside, write_out
from fdetect_jax.inference.calibration import calibrate
from fdetect_jax.inference.familiar import COLLECTION, LEAST, Limits, Sample, fit_plane
from fdetect_jax.inference.labelled import Excluded, ScoredFile
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer


@dataclasses.dataclass(frozen=True)
class Job:
    """What to measure, and what to write.

    data: folders, prepared or of real/ and fake/. split: of prepared ones; None: test. output: folder of the report.
    json: file of the report. calibrate: file for the weights with a calibration that is fitted here. false_alarms: its
    thresholds of suspicious and fake are reached by these shares of the real files of the worst source; None: the
    threshold of the best accuracy. suite: "robustness" or None. seed: of the bootstrap and of the damage. workers:
    processes that read files. timeout: seconds for one file.
    """

    data: Sequence[Path]
    split: str | None = None
    output: Path | None = None
    json: Path | None = None
    calibrate: Path | None = None
    false_alarms: Sequence[float] | None = None
    suite: str | None = None
    seed: int = 0
    workers: int | None = None
    timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("json", "calibrate"):
            if (path := getattr(self, name)) is not None:
                check_output(path, f"--{name}")
        if self.output is not None:
            check_folder(self.output, "--output")
        if self.false_alarms is not None:
            suspicious, fake = self.false_alarms
            if self.calibrate is None or not 0 <= fake <= suspicious < 1:
                found, wanted = f"{suspicious:g} {fake:g}", "two shares in [0, 1), the larger first, with --calibrate"
                raise UserError(f"--false-alarms: found {found}, wanted {wanted}")
        if self.calibrate is not None and self.calibrate.suffix != ".safetensors":
            raise UserError(f"{self.calibrate}: wanted a name that ends in .safetensors")

    def open(self) -> list[DataSet]:
        """The data sets. Raises UserError where they cannot be read, or do not allow what is asked for."""
        sets = open_sets(self.data, self.split)
        labels = {file.label for one in sets for file in one.files}
        for name in ("calibrate", "suite"):
            if getattr(self, name) is not None and len(labels) < 2:
                raise UserError(f"{name}: found files of label {labels} alone, wanted real (0) and fake (1) ones")
        if self.suite is not None and len({one.prepared for one in sets}) > 1:
            raise UserError("suite: found prepared and other data sets, wanted either, as it degrades crops or frames")
        return sets


def measure(job: Job, sets: list[DataSet], scorer: Scorer, protocol: Protocol) -> Evaluated:
    """Scores the files of ``job.open()``, prints their measures, and writes what the job asks for.

    Raises:
      UserError: no file is left, or a calibration cannot be fitted.
    """
    protocol = protocol_of(sets, protocol)
    files, excluded, names, sample, known = [], [], [], None, Sample()
    mistakes = Mistakes(scorer.calibration, protocol)
    how = {"seed": job.seed, "workers": job.workers, "seconds": job.timeout}
    found = score_sets(sets, scorer, protocol, degraded=job.suite is not None, **how)
    counts = {one.name: {"scored": 0, "excluded": 0} for one in sets}
    for name, one in tqdm(found, total=sum(len(one.files) for one in sets), unit="file", disable=None):
        counts[name]["excluded" if isinstance(one, Excluded) else "scored"] += 1
        if isinstance(one, Excluded):
            excluded.append(one)
            continue
        mistakes.add(one)
        sample = np.array(one.crops[0]) if sample is None else sample
        if job.calibrate is not None:  # a copy: under the suite a crop is a part of a mapped file of all views
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
        job.seed,
        title=title,
        model=model,
        sets=names,
        classes=scorer.classes,
    )
    content = evaluated.content
    content["data"]["sets"] = [{"name": one.name, "split": one.split} | counts[one.name] for one in sets]
    content["mistakes"] = mistakes.to_dict()
    lines = lines_beside(job.json)
    for line in summary(content, evaluated.shown):
        print(line, file=lines)
    if content["confusion"]:
        for line in confusion.lines(content["confusion"]):
            print(line, file=lines)
    for reason, left_out in content["data"]["reasons"].items():
        print(f"excluded: {len(left_out)} {reason}", file=lines)
    if job.suite is not None:
        for line in _add_robustness(evaluated, files, scorer, protocol, sets):
            print(line, file=lines)
    _write(job, evaluated, files, scorer, protocol, mistakes, sample, known)
    return evaluated


def _add_robustness(
    evaluated: Evaluated, files: list[ScoredFile], scorer: Scorer, protocol: Protocol, sets: list[DataSet]
) -> list[str]:
    """Adds the suite's figures to the report's content; returns the lines that show them."""
    content = evaluated.content
    if (reason := content["tests"]["video"]["undefined"].get("auc")) is not None:
        return [f"robustness: no AUC of the files that show a face, {reason}"]
    clean = {level: content["tests"][level] for level in evaluated.titles}
    found = robustness(files, clean, scorer.calibration, protocol, content["seed"])
    content["robustness"] = found | {"applied_to": "crops" if sets[0].prepared else "frames"}
    return list(robustness_summary(found, evaluated.titles))


def _write(
    job: Job,
    evaluated: Evaluated,
    files: list[ScoredFile],
    scorer: Scorer,
    protocol: Protocol,
    mistakes: Mistakes,
    sample: np.ndarray,
    known: Sample,
) -> None:
    content = evaluated.content
    if job.json:
        write_out(job.json, schema.to_text(content))
    if job.output:
        schema.write(job.output, content, page_of(evaluated, scorer.calibration, mistakes, sample))
        print(job.output / schema.PAGE, file=sys.stderr)
    if job.calibrate:
        labels, sources = [one.file.label for one in files], [one.file.source for one in files]
        found = calibrate(files, labels, protocol, content["title"], sources, job.false_alarms)
        limits, plane = Limits.fit(known), {}
        if scorer.unit == "face" and len(known.crops) >= LEAST:
            embeddings = scorer.embeddings(np.stack(known.crops))
            plane = {} if embeddings is None else fit_plane(embeddings)
        arrays = {f"{COLLECTION}/{name}": array for name, array in plane.items()}
        weights.annotate(scorer.path, job.calibrate, arrays, **found.to_metadata(), **limits.to_metadata())
        fitted = f"temperature {found.temperature:.4g}, bias {found.bias:.4g}, threshold {found.threshold:.4g}"
        fitted += "" if found.suspicious is None else f", suspicious from {found.suspicious:.4g} on"
        fitted += f"; known faces from {limits.smallest:.0f} pixels and a sharpness of {limits.blurred:.1f} on"
        fitted += "" if plane else f"; no limit of embeddings, which takes {LEAST} faces and a detector with some"
        print(f"{job.calibrate}: {fitted}", file=lines_beside(job.json))
