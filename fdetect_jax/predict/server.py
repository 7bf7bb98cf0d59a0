"""``fdetect predict --server``: the files are judged by a service; its rows and copies are fetched. No JAX."""

import argparse
import collections
import contextlib
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from fdetect_jax.client import REPORT, Client, ServiceError, finished
from fdetect_jax.client.exchange import not_understood
from fdetect_jax.errors import UserError
from fdetect_jax.files import lines_beside, on_one_line, write_atomic, write_out
from fdetect_jax.media.files import VERDICTS
from fdetect_jax.predict.lines import found_files, lines, status, summary
from fdetect_jax.predict.verdict import Verdict

_TAKEN = ("model", "faces", "frames", "per_second")
_FILE = re.compile(r"files\[(\d+)\]")
_AHEAD = 2  # jobs at a time: one is judged while the next one's files are sent


def run(arguments: argparse.Namespace, protocol: Mapping[str, Any]) -> int:
    """As ``command.run``. protocol: the default of each option that says how files are judged.

    Raises UserError for such an option that the service does not take.
    """
    for name, default in protocol.items():
        if name not in _TAKEN and getattr(arguments, name) != default:
            taken = ", ".join(f"--{one.replace('_', '-')}" for one in _TAKEN)
            raise UserError(f"--{name.replace('_', '-')}: found with --server, which takes {taken} and --heat-map")
    if arguments.heat_map and not arguments.output:
        raise UserError("heat map: found no output folder, wanted one to write it to")
    files, shown = [path for path, _ in found_files(arguments).files], lines_beside(arguments.json)
    rows: dict[Path, dict] = {}
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(Client(arguments.server, arguments.key or os.environ.get("FDETECT_KEY") or None))
        # Only a terminal gets a bar.
        bar = stack.enter_context(tqdm(total=len(files), unit="file", disable=None))
        options = {name: getattr(arguments, name) for name in _TAKEN} | {"heat_map": arguments.heat_map}
        work = _Work(client, options, arguments.output, lambda *now: bar.set_postfix_str(_progress(*now)))
        try:
            for path, row in stack.enter_context(contextlib.closing(work.rows(files))):
                rows[path] = row
                bar.update()
                for line in lines(row):
                    tqdm.write(on_one_line(line), file=shown)
        finally:  # what is finished before a stop is kept
            if arguments.json:
                write_out(arguments.json, json.dumps([rows[path] for path in files if path in rows], indent=1) + "\n")
    print(summary(list(rows.values())), file=sys.stderr)
    for page in work.pages:
        print(page, file=sys.stderr)
    return status(list(rows.values()))


def _progress(share: float, state: str) -> str:
    return f"{on_one_line(state)[:20]} {share:.0%}"


class _Work:
    """Files as jobs of the service. pages: the reports of the finished ones."""

    def __init__(self, client: Client, options: dict, output: Path | None, progress: Callable[[float, str], None]):
        self._client, self._options, self._output, self._progress = client, options, output, progress
        self._limits = client.limits()
        self._rule: dict[str, float | None] = {}
        self.pages: list[Path] = []

    def rows(self, files: Sequence[Path]) -> Iterator[tuple[Path, dict]]:
        """Each file with its row: first those that the service would not take, then the others in order.

        A stop, such as Ctrl-C, cancels the jobs that are not finished.
        """
        left = []
        for path in files:
            if reason := self._unfit(path):
                yield path, self._unable(path, reason)
            else:
                left.append(path)
        waiting: collections.deque[tuple[str, list[Path]]] = collections.deque()
        try:
            for batch in self._batches(left):
                yield from self._sent(batch, waiting)
                if len(waiting) == _AHEAD:
                    yield from self._judged(waiting)
            while waiting:
                yield from self._judged(waiting)
        except (KeyboardInterrupt, SystemExit, GeneratorExit):
            for id_, _ in waiting:
                with contextlib.suppress(ServiceError):
                    self._client.delete(id_)
            raise

    def _unfit(self, path: Path) -> str:
        size, most = path.stat().st_size, min(self._most("file_bytes"), self._most("job_bytes"))
        if size > most:
            return f"{size} bytes, at most {most} are taken by the service"
        return "" if os.access(path, os.R_OK) else "it cannot be read: permission denied"

    def _most(self, name: str) -> float:
        found = self._limits.get(name)
        return found if isinstance(found, int | float) and found > 0 else float("inf")

    def _batches(self, files: Sequence[Path]) -> Iterator[list[Path]]:
        batch, size = [], 0
        for path in files:
            more = path.stat().st_size
            if batch and (len(batch) >= self._most("files") or size + more > self._most("job_bytes")):
                yield batch
                batch, size = [], 0
            batch.append(path)
            size += more
        if batch:
            yield batch

    def _sent(self, batch: list[Path], waiting: collections.deque) -> Iterator[tuple[Path, dict]]:
        """Adds the batch's job to those that are waited for. Yields the rows of the files that the service refuses."""
        while batch:
            try:
                job = self._client.submit(batch, progress=self._progress, **self._options)
            except ServiceError as error:
                path = _refused(error, batch)
                if path is None:
                    raise
                yield path, self._unable(path, error.detail)
                batch = [one for one in batch if one != path]
            else:
                waiting.append((job["id"], batch))
                return

    def _judged(self, waiting: collections.deque) -> Iterator[tuple[Path, dict]]:
        id_, batch = waiting[0]
        job = self._client.wait(id_, self._progress)
        try:
            rows = finished(job, len(batch))
        except ServiceError as error:
            if error.code == "not_understood":
                raise
            rows = [self._unable(path, error.detail) for path in batch]
        else:
            if self._output is not None:
                rows = finished(job | self._client.result(id_, self._output), len(batch))
                self.pages.append(self._output / id_ / REPORT)
                # By this file ``find_files`` knows the folder of an output.
                write_atomic(self._output / id_ / VERDICTS, "".join(json.dumps({"row": row}) + "\n" for row in rows))
        waiting.popleft()
        for path, row in zip(batch, rows, strict=True):
            yield path, _whole(row | {"file": str(path)})

    def _unable(self, path: Path, reason: str) -> dict:
        if not self._rule:
            name, models = self._options["model"], self._client.models()
            used = [one for one in models if (one.get("default") if name is None else one.get("name") == name)]
            self._rule = {part: used[0].get(part) if used else None for part in ("threshold", "suspicious")}
        verdict = Verdict(str(path), "unable_to_evaluate", None, reason, **self._rule)
        return verdict.to_row() | dict.fromkeys(("annotated", "heat_map", "poster")) | {"note": ""}


def _whole(row: dict) -> dict:
    """The row, where it has what is printed. Raises ServiceError."""
    try:
        lines(row)
    except (KeyError, TypeError, ValueError):
        raise not_understood("an incomplete row") from None
    return row


def _refused(error: ServiceError, batch: Sequence[Path]) -> Path | None:
    """The file that an error is about, where it is about one."""
    if error.status not in (413, 415, 422):
        return None
    found = _FILE.match(error.field or "")
    number = int(found[1]) if found else 0 if len(batch) == 1 and error.status != 422 else len(batch)
    return batch[number] if number < len(batch) else None
