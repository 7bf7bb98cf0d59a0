"""``fdetect probe``: labelled files and a trained network in, a detector fitted to them out.

The network finds nothing new: its embedding, or the activity of its layers, is classified anew (``inference.probes``,
``inference.spotter``). That takes seconds, where training the network takes hours.
"""

import dataclasses
import json
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from threadpoolctl import threadpool_limits
from tqdm import tqdm

from fdetect_jax import weights
from fdetect_jax.datasets import audit
from fdetect_jax.datasets.layouts.base import Item
from fdetect_jax.datasets.manifest import MANIFEST
from fdetect_jax.detectors.fakespotter import NEURONS, coverage, layer_means
from fdetect_jax.detectors.probe import embedding_of
from fdetect_jax.errors import UserError
from fdetect_jax.evaluation.bootstrap import auc_interval
from fdetect_jax.evaluation.groups import groups_of
from fdetect_jax.evaluation.probe_arrays import arrays_of
from fdetect_jax.evaluation.sets import DataSet, crop_set, open_sets
from fdetect_jax.files import check_output
from fdetect_jax.inference import probes, spotter
from fdetect_jax.inference.calibration import FileFaces, calibrate
from fdetect_jax.inference.familiar import COLLECTION, LEAST, MOST, Limits, Sample, fit_plane
from fdetect_jax.inference.labelled import CroppedFile, Excluded
from fdetect_jax.inference.probes import Rows
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.stream import joined
from fdetect_jax.inference.trunk import Spool, Trunk
from fdetect_jax.media.video import Sampling
from fdetect_jax.types import FAKE, REAL, Outputs, margin

KINDS = ("logistic", "knn", "fakespotter", "svm")
FEW = 20  # groups of a class, below which a warning is said
_FRAMES = 8
_SMALL = 1_000_000  # numbers; NumPy's threads would wait for each other longer than they compute
_NEEDED = 5  # files of a class
_CLASSES = ("real", "fake")


@dataclasses.dataclass(frozen=True)
class Job:
    """What to fit, and to what.

    data: folders, prepared or of real/ and fake/. output: file for the detector. kind: one of ``KINDS``. k: neighbours
    of "knn". neuron: of "fakespotter" and "svm", see ``FakeSpotterConfig``. split: of prepared data; None: train.
    frames: of a video; None: 8. seed: of folds, draws and the bootstrap. workers: processes that read files. timeout:
    seconds for one file.
    """

    data: Sequence[Path]
    output: Path
    kind: str = "logistic"
    k: int = 5
    neuron: str = "unit"
    split: str | None = None
    frames: int | None = None
    seed: int = 0
    workers: int | None = None
    timeout: float = 600.0

    def __post_init__(self) -> None:
        check_output(self.output, "--output")
        if self.output.suffix != ".safetensors":
            raise UserError(f"--output: found {self.output}, wanted a name that ends in .safetensors")
        for name, allowed in (("kind", KINDS), ("neuron", NEURONS)):
            if getattr(self, name) not in allowed:
                raise UserError(f"--{name}: found {getattr(self, name)!r}, wanted one of {', '.join(allowed)}")
        if self.k < 1:
            raise UserError(f"--k: found {self.k}, wanted at least 1")

    @property
    def counts(self) -> bool:
        """Whether neurons are counted, in place of an embedding."""
        return self.kind in ("fakespotter", "svm")

    def open(self) -> list[DataSet]:
        """The data sets. Raises UserError where one cannot be read, or a class has too few files."""
        prepared = [root for root in self.data if (root / MANIFEST).is_file()]
        if prepared and self.frames is not None:
            raise UserError(f"--frames: found {self.frames}, wanted none: {prepared[0]} was prepared with its own")
        sets = open_sets(self.data, self.split or ("train" if prepared else None))
        found = Counter(file.label for one in sets for file in one.files)
        if min(found[REAL], found[FAKE]) < _NEEDED:
            raise UserError(
                f"--data: found {found[REAL]} real and {found[FAKE]} fake files, wanted at least {_NEEDED} of each"
            )
        return sets


@dataclasses.dataclass
class Found:
    """The faces of all files, in order. files: with a face. file: of each face the number of its file. groups: of each
    file. read: (N, …) arrays of each face, of ``Trunk.stream``."""

    files: list[CroppedFile] = dataclasses.field(default_factory=list)
    file: list[int] = dataclasses.field(default_factory=list)
    groups: list[str] = dataclasses.field(default_factory=list)
    excluded: list[Excluded] = dataclasses.field(default_factory=list)
    sample: Sample = dataclasses.field(default_factory=Sample)
    read: tuple[np.ndarray, ...] = ()


def probe(job: Job, sets: list[DataSet], trunk: Trunk) -> None:
    """Fits a detector to the files of ``job.open()``, prints how well it does on those held out, and writes it.

    Raises:
      UserError: a network without an embedding, too few faces, or nothing that can be learned from them.
    """
    start = time.monotonic()
    with closing(Spool(trunk.recipe.size)) as spool:
        found = _read(job, sets, trunk, spool if job.counts else None)
        seen = time.monotonic()
        data, lines = _data(found)
        for line in lines:
            print(line)
        print(f"{_counts(data, found)}; {seen - start:.1f} s to find and read them")
        data, warned = _divided(data, found)
        fold = probes.folds(data.labels, data.groups, seed=job.seed)
        with threadpool_limits(1 if data.rows.size < _SMALL else None):
            fitted, margins, thresholds = _fitted(job, trunk, data, fold, spool)
    lines, learned = _result(job, trunk, data, found, fold, margins, fitted.note)
    for line in lines:
        print(line)
    ready = time.monotonic()
    for line in [*warned, *learned, *_shortcuts(job, sets)]:
        print(f"warning: {line}", file=sys.stderr)
    checked = time.monotonic()
    _write(job, sets, trunk, found, data, fitted, margins, thresholds)
    taken = f"{ready - seen:.1f} s to fit and test it, {checked - ready:.1f} s to look for shortcuts"
    print(f"{job.output}: {taken}, {time.monotonic() - start:.1f} s in all")


def _read(job: Job, sets: list[DataSet], trunk: Trunk, spool: Spool | None) -> Found:
    """The largest face of each frame."""

    def read(outputs: Outputs) -> tuple[Any, ...]:
        row = layer_means(outputs) if job.counts else embedding_of(outputs)
        return row, margin(outputs.logits)

    stream, found, results = trunk.stream(read), Found(), []
    bar = tqdm(total=sum(len(one.files) for one in sets), unit="file", disable=None)
    protocol = Protocol(Sampling(count=_FRAMES if job.frames is None else job.frames), "largest")
    with bar:
        for one in sets:
            group = groups_of(one)
            how = trunk.recipe, protocol, 2 * trunk.batch_size, job.workers, job.timeout
            with closing(crop_set(one, *how)) as cropped:
                for file in cropped:
                    bar.update()
                    if isinstance(file, Excluded):
                        found.excluded.append(file)
                        continue
                    crops = list(_largest(file))
                    for crop, area in crops:
                        found.sample.add(crop, float(np.sqrt(area)))
                        if spool is not None:
                            spool.add(crop)
                    results += stream.put([crop for crop, _ in crops])
                    found.file += [len(found.files)] * len(crops)
                    found.files.append(dataclasses.replace(file, crops=()))
                    found.groups.append(f"{one.name}/{group[file.file.name]}")
    found.read = joined(results + stream.end(), ((0, 1), (0,)))
    return found


def _largest(file: CroppedFile) -> Iterator[tuple[np.ndarray, float]]:
    for frame in np.unique(file.frames):
        own = np.flatnonzero(file.frames == frame)
        place = own[np.argmax(file.areas[own])]
        yield file.crops[place][0], file.areas[place]


def _data(found: Found) -> tuple[Rows, list[str]]:
    labels = np.array([one.file.label for one in found.files], int)
    files = np.array(found.file, int)
    reasons = Counter(one.reason for one in found.excluded)
    lines = [f"excluded: {count} {reason}" for reason, count in reasons.items()]
    for label, name in enumerate(_CLASSES):
        if (count := int(np.sum(labels == label))) < _NEEDED:
            why = f" ({'; '.join(lines)})" if lines else ""
            raise UserError(f"--data: found {count} {name} files with a face{why}, wanted at least {_NEEDED}")
    if not all(np.isfinite(values).all() for values in found.read):
        raise UserError("--model: found outputs that are not finite, wanted weights that give numbers")
    own = labels[files]
    _, groups = np.unique(np.array(found.groups)[files], return_inverse=True)
    return Rows(found.read[0], own, groups, probes.balanced(own, files)), lines


def _counts(data: Rows, found: Found) -> str:
    def of(label: int) -> str:
        own = data.labels == label
        files = len(np.unique(np.array(found.file)[own]))
        return f"{own.sum()} {_CLASSES[label]} faces ({files} files, {len(np.unique(data.groups[own]))} groups)"

    return f"{of(REAL)}, {of(FAKE)}"


def _divided(data: Rows, found: Found) -> tuple[Rows, list[str]]:
    """The data with groups that can be divided, and what is to be said of them."""
    warned, groups = [], data.groups.copy()
    for label, name in enumerate(_CLASSES):
        own = data.labels == label
        count = len(np.unique(data.groups[own]))
        if count == 1:
            group = found.groups[found.file[int(np.flatnonzero(own)[0])]]
            groups[own] = len(data.groups) + np.array(found.file)[own]
            warned.append(
                f"all {name} faces are of one group, {group}: the cross-validation divides its files, and says nothing "
                f"of other people; wanted several groups"
            )
        elif count < FEW:
            warned.append(f"{count} groups of {name} faces are few: the figures above may be far off; wanted {FEW}")
    return dataclasses.replace(data, groups=groups), warned


def _fitted(
    job: Job, trunk: Trunk, data: Rows, fold: np.ndarray, spool: Spool
) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """The classifier, (N,) cross-validated margins, and the thresholds of its layers where it has some."""
    if not job.counts:
        fit = probes.logistic if job.kind == "logistic" else partial(probes.neighbours, k=job.k, seed=job.seed)
        return fit(data), probes.cross_validated(fit, data, fold), None
    sums = spotter.Coverage(fold)
    sums.add(data.rows)
    thresholds = sums.thresholds.astype(np.float32)
    stream = trunk.stream(lambda outputs: (coverage(outputs, jnp.asarray(thresholds), job.neuron),))
    results = []
    for crop in tqdm(spool, total=len(fold), unit="face", disable=None):
        results += stream.put([crop])
    (counts,) = joined(results + stream.end(), ((0, 0, 0),))
    fit = probes.svm if job.kind == "svm" else partial(spotter.network, seed=job.seed)
    return *spotter.fitted(fit, counts, data, fold), thresholds[-1]


def _result(
    job: Job, trunk: Trunk, data: Rows, found: Found, fold: np.ndarray, margins: np.ndarray, note: str
) -> tuple[list[str], list[str]]:
    """What to print, and what to warn of."""
    auc, low, text = _auc(job, data, margins)
    lines, warned = [f"cross-validated AUC {text}, {fold.max() + 1} folds over groups; {note}"], []
    if low <= 0.5:
        warned.append("the interval of the AUC reaches 0.5: what was learned may be chance")
    if trunk.scores:
        own, _, text = _auc(job, data, found.read[1])
        lines.append(f"AUC of the network as it was: {text}")
        if own > auc:
            warned.append("the network as it was ranks these files better")
    return lines, warned


def _auc(job: Job, data: Rows, margins: np.ndarray) -> tuple[float, float, str]:
    """The AUC, the lower end of its interval, and both as text."""
    from sklearn.metrics import roc_auc_score

    auc = float(roc_auc_score(data.labels, margins))
    low, high = auc_interval(data.labels, margins, data.groups, seed=job.seed)
    return auc, low, f"{auc:.3f} (95 % {low:.3f} to {high:.3f})"


def _shortcuts(job: Job, sets: list[DataSet]) -> Iterator[str]:
    """What else tells the classes apart, in files that lie here."""
    for one in sets:
        if one.prepared is None:
            items = [
                Item(file.name, file.label, "train", file.method, file.source, file.name, file.name)
                for file in one.files
            ]
            yield from audit.lines(audit.measure(one.root, items, job.workers))


def _write(
    job: Job,
    sets: list[DataSet],
    trunk: Trunk,
    found: Found,
    data: Rows,
    fitted: Any,
    margins: np.ndarray,
    thresholds: np.ndarray | None,
) -> None:
    file = np.array(found.file)
    own = [margins[file == number] for number in range(len(found.files))]
    scored = [
        FileFaces(np.arange(len(faces)), np.ones(len(faces)), faces, one.image)
        for faces, one in zip(own, found.files, strict=True)
    ]
    title = "; ".join(", ".join(filter(None, (one.name, one.split))) for one in sets)
    what = f"{job.kind} of {_counts(data, found)}, {title}, by {fitted.note}"
    labels = [one.file.label for one in found.files]
    try:
        calibration = calibrate(scored, labels, Protocol(), f"cross-validation on {title}")
    except UserError as error:
        raise UserError(
            f"{job.output}: not written, for nothing was learned that holds for other groups ({error})"
        ) from None
    name, fields, variables = arrays_of(fitted, job.neuron, thresholds)
    overrides = {"trunk": trunk.name, "trunk_overrides": trunk.overrides} | fields
    for collection, arrays in trunk.variables.items():
        if collection != COLLECTION:
            variables.setdefault(collection, {})["trunk"] = arrays
    if not job.counts and len(data.rows) >= LEAST:
        chosen = np.random.default_rng(job.seed).permutation(len(data.rows))[:MOST]
        variables[COLLECTION] = fit_plane(data.rows[chosen])
    notes = {"recipe": json.dumps(trunk.recipe.to_dict()), "size": str(trunk.recipe.size), "description": what}
    notes |= {"classes": json.dumps(_CLASSES), "source": trunk.metadata.get("source", ""), "trunk": trunk.description}
    if "licence" in trunk.metadata:
        notes["licence"] = trunk.metadata["licence"]
    notes |= calibration.to_metadata() | Limits.fit(found.sample).to_metadata()
    dtypes = {"bank/embedding": np.float16}
    dtypes |= {f"{part}/trunk/": trunk.metadata.get("dtype", "float32") for part in variables}
    weights.save(job.output, "detector", {"name": name, "overrides": overrides}, variables, np.float32, dtypes, **notes)
