"""Files in, verdicts out: faces are found and copies are drawn in worker processes, scores are made in this one.

With an output folder every finished file is a line of ``verdicts.jsonl`` there; the same command goes on where it was
stopped. Hostile files meet only the workers.
"""

import collections
import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax.errors import UserError
from fdetect_jax.files import sha256_of
from fdetect_jax.inference.predictor import Predictor
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.media.clips import MediaFaces
from fdetect_jax.media.extract import extract_faces
from fdetect_jax.media.files import find_files
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.media.models import load_models
from fdetect_jax.predict import work
from fdetect_jax.predict.copies import distinct
from fdetect_jax.predict.verdict import Verdict, decide, unable
from fdetect_jax.report.verdicts_page import write_page

DIARY = "verdicts.jsonl"
_HEAT_FACES = 8  # of a file, those with the highest scores


@dataclass(frozen=True)
class _Job:
    file: Path
    name: Path  # relative to the output folder
    key: str


def predict(
    paths: Sequence[str | Path],
    predictor: Predictor,
    protocol: Protocol,
    output: str | Path | None = None,
    heat_map: bool = False,
    workers: int | None = None,
    seconds: float = 600.0,
) -> Iterator[dict[str, Any]]:
    """Judges files, one row each, in order; a file that cannot be read is a row too.

    Args:
        paths: files and folders. predictor: the detector. protocol: how scores of faces become one of a file.
        output: a folder for annotated copies, ``verdicts.jsonl`` and ``report.html``; None: rows alone.
        heat_map: beside each annotated copy a picture of where the detector looks. workers: processes; None: one per
        core. seconds: that one file may take to be read, and as many to be drawn.

    Yields:
        ``Verdict.to_row``, with ``annotated`` and ``heat_map``, paths below ``output``, or None, and ``note``: why a
        copy is missing, or "".

    Raises:
        ValueError: no such path, no file, a heat map without an output folder, or a recipe of another face detector.
        ModelsUnavailable: the face models cannot be had.
    """
    if heat_map and output is None:
        raise UserError("heat map: found no output folder, wanted one to write it to")
    found = find_files(paths)
    predictor.recipe.require_detector()
    load_models()
    return _rows(found, predictor, protocol, None if output is None else Path(output), heat_map, workers, seconds)


def _rows(found, predictor, protocol, output, heat_map, workers, seconds) -> Iterator[dict[str, Any]]:
    jobs = _jobs(found, predictor, protocol, heat_map)
    diary = _Diary(output)
    left = [job for job in jobs if job.key not in diary.rows]
    rows: list[dict] = []
    with contextlib.ExitStack() as stack:
        files, how = [job.file for job in left], (predictor.recipe, protocol.sampling, protocol.faces)
        looked = stack.enter_context(contextlib.closing(extract_faces(files, *how, workers=workers, seconds=seconds)))
        judged = _judged(zip(left, looked, strict=True), predictor, protocol, heat_map)
        fresh = (
            _drawn(judged, output, workers, seconds, stack) if output else (_row(verdict) for _, verdict, _ in judged)
        )
        for job in jobs:
            row = diary.rows.get(job.key)
            if row is None:
                row = next(fresh)
                diary.add(job.key, row)
            rows.append(row)
            yield row
    if output:
        write_page(output, rows, predictor.description, protocol)


def _jobs(found: Sequence[tuple[Path, Path]], predictor: Predictor, protocol: Protocol, heat_map: bool) -> list[_Job]:
    how = [sha256_of(predictor.path), predictor.recipe.to_dict(), protocol.to_dict(), heat_map]
    jobs = []
    for (file, _), name in zip(found, distinct([relative for _, relative in found]), strict=True):
        stat = file.stat()
        which = [str(file.resolve()), str(name), stat.st_size, stat.st_mtime_ns, how]
        jobs.append(_Job(file, name, hashlib.sha256(json.dumps(which).encode()).hexdigest()[:16]))
    return jobs


def _judged(
    looked: Iterable[tuple[_Job, MediaFaces | Rejected]], predictor: Predictor, protocol: Protocol, heat_map: bool
) -> Iterator[tuple[_Job, Verdict, work.Heat | None]]:
    groups = (
        ((job, seen), [] if isinstance(seen, Rejected) else [one.example["image"] for one in seen.crops])
        for job, seen in looked
    )
    for (job, seen), margins in predictor.margins_of_each(groups):
        if isinstance(seen, Rejected):
            yield job, unable(str(job.file), seen.reason, protocol), None
            continue
        scores = predictor.calibration.scores(margins)
        verdict = decide(str(job.file), seen, scores, protocol)
        yield job, verdict, _heat(seen, scores, predictor) if heat_map and seen.crops else None


def _heat(seen: MediaFaces, scores: np.ndarray, predictor: Predictor) -> work.Heat:
    chosen = np.sort(np.argsort(-scores, kind="stable")[:_HEAT_FACES])
    images = np.stack([seen.crops[number].example["image"] for number in chosen])
    return work.Heat(images, predictor.attention(images), scores[chosen])


def _drawn(judged: Iterator, output: Path, workers: int | None, seconds: float, stack) -> Iterator[dict]:
    verdicts: collections.deque[Verdict] = collections.deque()

    def tasks() -> Iterator[tuple]:
        for job, verdict, heat in judged:
            verdicts.append(verdict)
            yield job.file, output, job.name, verdict, heat

    shown = run_isolated(work.show, tasks(), workers=workers, seconds=seconds)
    for made in stack.enter_context(contextlib.closing(shown)):
        yield _row(verdicts.popleft(), made)


def _row(verdict: Verdict, made: work.Shown | Rejected | None = None) -> dict[str, Any]:
    note = made.reason if isinstance(made, Rejected) else ""
    annotated, heat_map = (made.annotated, made.heat_map) if isinstance(made, work.Shown) else (None, None)
    return verdict.to_row() | {"annotated": annotated, "heat_map": heat_map, "note": note}


class _Diary:
    """The finished rows of an output folder, by key; a row whose annotated copy is gone is not finished."""

    def __init__(self, output: Path | None):
        self._file = output / DIARY if output else None
        self.rows: dict[str, dict] = {}
        if self._file is None or not self._file.is_file():
            return
        for line in self._file.read_text().splitlines():
            with contextlib.suppress(json.JSONDecodeError, KeyError, TypeError):  # a line that a kill cut off
                entry = json.loads(line)
                row = entry["row"]
                if all((output / row[name]).is_file() for name in ("annotated", "heat_map") if row[name]):
                    self.rows[entry["key"]] = row

    def add(self, key: str, row: dict) -> None:
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a") as file:
                file.write(json.dumps({"key": key, "row": row}) + "\n")
