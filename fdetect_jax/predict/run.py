"""Files in, rows of verdicts, annotated copies and a page out; the same command goes on where it was stopped.

With an output folder every finished file is a line of ``verdicts.jsonl`` there.
"""

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import digest, sha256_of
from fdetect_jax.inference.analyses import ANALYSES
from fdetect_jax.inference.protocol import Protocol
from fdetect_jax.inference.scorer import Scorer
from fdetect_jax.media.files import VERDICTS, Found, find_files, written_for
from fdetect_jax.media.isolated import Workers, enough
from fdetect_jax.predict.copies import distinct
from fdetect_jax.predict.engine import SECONDS, check, verdicts
from fdetect_jax.predict.rows import rows_of

_SCHEMA = 6  # of a line of the diary; lines of another one are not continued


@dataclass(frozen=True)
class _Job:
    """source: the file's own path, however it was named. name: of its copies, relative to the output folder."""

    file: Path
    source: str
    name: Path
    key: str


def predict(
    paths: Sequence[str | Path] | Found,
    scorer: Scorer,
    protocol: Protocol,
    output: str | Path | None = None,
    heat_map: bool = False,
    workers: int | None = None,
    seconds: float = SECONDS,
    readers: Workers | None = None,
) -> Iterator[dict[str, Any]]:
    """One row for each file, in order; a file that cannot be read is a row too.

    Args:
      paths: files and folders, or what ``find_files`` found of them. scorer: the detector. protocol: from scores of
        faces to that of a file.
      output: a folder for annotated copies, ``verdicts.jsonl`` and ``report.html``; None: rows alone.
      heat_map: beside each annotated copy a picture of the detector's heat maps, or of its masks where it has such.
      workers: processes; None: one per core.
      seconds: that one file may take to be read, as many for its analyses, and as many to be drawn.
      readers: of ``start_readers``, if they run already; closed here.

    Yields:
      ``Verdict.to_row``, with ``annotated``, ``heat_map`` and ``poster``, paths below ``output``, or None; each row of
      its evidence with ``title``, what a reader sees, and ``picture``, likewise a path; and ``note``: why an analysis
      or a copy is missing, why the score may mean little, or "".

    Raises:
      UserError: no such path, no file, a heat map without an output folder, or as ``engine.check`` does.
      ModelsUnavailable: the face models cannot be had.
    """
    if heat_map and output is None:
        raise UserError("heat map: found no output folder, wanted one to write it to")
    output = None if output is None else Path(output)
    found = paths if isinstance(paths, Found) else find_files(paths, output)
    check(scorer, heat_map)
    return _rows(found, scorer, protocol, output, heat_map, workers, seconds, readers)


def _rows(found, scorer, protocol, output, heat_map, workers, seconds, readers) -> Iterator[dict[str, Any]]:
    diary = _Diary(output)
    jobs = _jobs(found, diary, scorer, protocol, heat_map)
    done = {job.key: row for job in jobs if (row := diary.row(job.key)) is not None}
    left = [job for job in jobs if job.key not in done]
    how = {"workers": enough(len(left), workers), "seconds": seconds}
    rows: list[dict] = []
    with contextlib.ExitStack() as stack:
        made = verdicts([job.file for job in left], scorer, protocol, heat_map=heat_map, readers=readers, **how)
        stack.enter_context(contextlib.closing(made))
        fresh = rows_of(zip((job.name for job in left), made, strict=True), output, heat_map, **how)
        stack.enter_context(contextlib.closing(fresh))
        for job in jobs:
            if job.key in done:
                row = done[job.key] | {"file": str(job.file)}
            else:
                row, lasting = next(fresh)
                if lasting:
                    diary.add(job, row)
            rows.append(row)
            yield row
    if output:
        from fdetect_jax.report.verdicts_page import write_page  # templates, which rows alone do not need

        write_page(output, rows, scorer.description, protocol)


def _jobs(found: Found, diary: "_Diary", scorer: Scorer, protocol: Protocol, heat_map: bool) -> list[_Job]:
    detector = [sha256_of(scorer.path), scorer.recipe.to_dict(), str(scorer.dtype)]
    how = [_SCHEMA, detector, protocol.to_dict(), heat_map, list(ANALYSES)]
    sources = [str(file.resolve()) for file, _ in found.files]
    # A source keeps the name that an earlier run gave its copies; another source never gets it.
    new = {source: relative for source, (_, relative) in zip(sources, found.files, strict=True)}
    new = {source: relative for source, relative in new.items() if source not in diary.names}
    named = dict(zip(new, distinct(list(new.values()), diary.names.values()), strict=True)) | diary.names
    jobs = []
    for source, (file, _) in zip(sources, found.files, strict=True):
        stat = file.stat()
        content = [stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns, stat.st_ino]
        jobs.append(_Job(file, source, named[source], digest([source, str(named[source]), content, how])))
    return jobs


class _Diary:
    """The finished rows of an output folder, by key; each line of its file is one.

    A row is finished while all its pictures are there and no later line wrote one of them again. names: the name that
    the copies of a source have.
    """

    def __init__(self, output: Path | None):
        self._output, self._file = output, output / VERDICTS if output else None
        self._rows: dict[str, dict] = {}
        self._writer: dict[str, str] = {}  # path of a picture -> key of the line that wrote it last
        self.names: dict[str, Path] = {}
        if self._file is None or not self._file.is_file():
            return
        text = self._file.read_text(errors="replace")
        for line in text.splitlines():
            # A line that a kill cut off, of another schema, or that is no row any more.
            with contextlib.suppress(ValueError, KeyError, TypeError, AttributeError):
                entry = from_json(line)
                if entry.pop("digest") == digest(entry):
                    self._take(entry["key"], entry["source"], Path(entry["name"]), entry["row"])
        if text and not text.endswith("\n"):
            with open(self._file, "a") as file:  # or the next line would continue the one that was cut off
                file.write("\n")

    def row(self, key: str) -> dict | None:
        row = self._rows.get(key)
        whole = row is not None and all(
            self._writer[path] == key and (self._output / path).is_file() for path in written_for(row)
        )
        return row if whole else None

    def add(self, job: _Job, row: dict) -> None:
        if self._file:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            entry = {"key": job.key, "source": job.source, "name": str(job.name), "row": row}
            with open(self._file, "a") as file:
                file.write(json.dumps(entry | {"digest": digest(entry)}) + "\n")

    def _take(self, key: str, source: str, name: Path, row: dict) -> None:
        for path in written_for(row):
            self._writer[path] = key
        self._rows[key], self.names[source] = row, name
