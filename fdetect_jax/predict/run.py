"""Files in, rows of verdicts, annotated copies and a page out; the same command goes on where it was stopped.

With an output folder every finished file is a line of ``verdicts.jsonl`` there.
"""

import collections
import contextlib
import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.files import sha256_of
from fdetect_jax.inference.analyses import ANALYSES
from fdetect_jax.inference.evidence import DETECTOR
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.files import find_files
from fdetect_jax.media.isolated import run_isolated
from fdetect_jax.media.limits import Rejected
from fdetect_jax.predict import work
from fdetect_jax.predict.copies import distinct
from fdetect_jax.predict.engine import SECONDS, check, verdicts
from fdetect_jax.predict.verdict import Verdict
from fdetect_jax.report.verdicts_page import write_page

DIARY = "verdicts.jsonl"
_SCHEMA = 2  # of a row; a diary of another one is not continued


@dataclass(frozen=True)
class _Job:
    file: Path
    name: Path  # relative to the output folder
    key: str


def predict(
    paths: Sequence[str | Path],
    scorer: Scorer,
    protocol: Protocol,
    output: str | Path | None = None,
    heat_map: bool = False,
    workers: int | None = None,
    seconds: float = SECONDS,
) -> Iterator[dict[str, Any]]:
    """One row for each file, in order; a file that cannot be read is a row too.

    Args:
      paths: files and folders. scorer: the detector. protocol: from scores of faces to that of a file.
      output: a folder for annotated copies, ``verdicts.jsonl`` and ``report.html``; None: rows alone.
      heat_map: beside each annotated copy a picture of the detector's heat maps. workers: processes; None: one per
        core. seconds: that one file may take to be read, as many for its analyses, and as many to be drawn.

    Yields:
      ``Verdict.to_row``, with ``annotated`` and ``heat_map``, paths below ``output``, or None; each row of its evidence
      with ``title``, what a reader sees, and ``picture``, likewise a path; and ``note``: why an analysis or a copy is
      missing, or "".

    Raises:
      UserError: no such path, no file, a heat map without an output folder, or as ``engine.check`` does.
      ModelsUnavailable: the face models cannot be had.
    """
    if heat_map and output is None:
        raise UserError("heat map: found no output folder, wanted one to write it to")
    found = find_files(paths)
    check(scorer, heat_map)
    return _rows(found, scorer, protocol, None if output is None else Path(output), heat_map, workers, seconds)


def _rows(found, scorer, protocol, output, heat_map, workers, seconds) -> Iterator[dict[str, Any]]:
    jobs = _jobs(found, scorer, protocol, heat_map)
    diary = _Diary(output, {job.key for job in jobs})
    left = [job for job in jobs if job.key not in diary.rows]
    how = {"workers": workers, "seconds": seconds}
    rows: list[dict] = []
    with contextlib.ExitStack() as stack:
        made = verdicts([job.file for job in left], scorer, protocol, heat_map=heat_map, **how)
        stack.enter_context(contextlib.closing(made))
        fresh = (
            _drawn(zip(left, made, strict=True), output, how, stack)
            if output
            else (_row(verdict, work.Shown()) for verdict, _ in made)
        )
        for job in jobs:
            row = diary.rows.get(job.key)
            if row is None:
                row = next(fresh)
                diary.add(job.key, row)
            rows.append(row)
            yield row
    if output:
        write_page(output, rows, scorer.description, protocol)


def _jobs(found: Sequence[tuple[Path, Path]], scorer: Scorer, protocol: Protocol, heat_map: bool) -> list[_Job]:
    detector = [sha256_of(scorer.path), scorer.recipe.to_dict(), str(scorer.dtype)]
    how = [_SCHEMA, detector, protocol.to_dict(), heat_map, list(ANALYSES)]
    jobs = []
    for (file, _), name in zip(found, distinct([relative for _, relative in found]), strict=True):
        stat = file.stat()
        which = [str(file.resolve()), str(name), stat.st_size, stat.st_mtime_ns, how]
        jobs.append(_Job(file, name, hashlib.sha256(json.dumps(which).encode()).hexdigest()[:16]))
    return jobs


def _drawn(made: Iterator, output: Path, how: dict, stack: contextlib.ExitStack) -> Iterator[dict]:
    waiting: collections.deque[Verdict] = collections.deque()

    def tasks() -> Iterator[tuple]:
        for job, (verdict, heat) in made:
            waiting.append(verdict)
            yield job.file, output, job.name, verdict, heat

    for shown in stack.enter_context(contextlib.closing(run_isolated(work.show, tasks(), **how))):
        yield _row(waiting.popleft(), shown)


def _row(verdict: Verdict, shown: work.Shown | Rejected) -> dict[str, Any]:
    notes = verdict.notes
    if isinstance(shown, Rejected):
        notes, shown = (*notes, shown.reason), work.Shown()
    elif shown.note:
        notes = (*notes, shown.note)
    row = verdict.to_row()
    for one in row["evidence"]:
        title = "Detector" if one["name"] == DETECTOR else ANALYSES[one["name"]].title
        one |= {"title": title, "picture": shown.pictures.get(one["name"])}
    return row | {"annotated": shown.annotated, "heat_map": shown.heat_map, "note": "; ".join(notes)}


def _files_of(row: dict) -> list[str]:
    """What was written for a row, as paths below the output folder."""
    written = [row["annotated"], row["heat_map"], *(one["picture"] for one in row["evidence"])]
    return [path for path in written if path]


class _Diary:
    """The finished rows of an output folder, by key; a row one of whose pictures is gone is not finished.

    keys: of this run's files; other lines are of other runs.
    """

    def __init__(self, output: Path | None, keys: set[str]):
        self._file = output / DIARY if output else None
        self.rows: dict[str, dict] = {}
        if self._file is None or not self._file.is_file():
            return
        for line in self._file.read_text().splitlines():
            try:
                entry = json.loads(line)
            except json.JSONDecodeError:  # a line that a kill cut off
                continue
            if entry["key"] in keys and all((output / path).is_file() for path in _files_of(entry["row"])):
                self.rows[entry["key"]] = entry["row"]

    def add(self, key: str, row: dict) -> None:
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with open(self._file, "a") as file:
                file.write(json.dumps({"key": key, "row": row}) + "\n")
