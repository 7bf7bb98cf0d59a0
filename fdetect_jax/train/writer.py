"""Writes the figures of every trainer: metrics.jsonl, TensorBoard and one progress bar.

The JSONL file is the record, strict JSON line by line: ``{"step": int, "time": unix seconds, name: float}``.
Names are grouped by the part before "/"; names that start with ``eval/`` are evaluation rows.
"""

import json
import math
import os
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TextIO

import numpy as np
from tensorboardX import SummaryWriter
from tqdm import tqdm

from fdetect_jax.errors import UserError
from fdetect_jax.fields import from_json
from fdetect_jax.files import write_atomic

_FILE = "metrics.jsonl"
_POSTFIX = ("loss", "accuracy", "p_fake/reconstruction", "p_fake/adversary", "loss/generator", "psnr")
_SHOWN = 4
_LINE_SECONDS = 10.0


class Writer:
    """Writes one run's figures; a context manager.

    Args:
      workdir: folder of the run, made if needed.
      total_steps: end of the progress bar.
      start_step: step of the checkpoint that the run resumes from, 0 for a new run. Rows of later steps are
        dropped from the record and hidden in TensorBoard, so the record equals an uninterrupted run's. Write a
        step's rows before saving its checkpoint; otherwise a kill between the two loses them. With 0 an existing
        record starts again.
      tensorboard: also write event files to ``workdir/tensorboard``.
      progress: show the bar and the lines of ``say``; without a terminal, a plain line every 10 s.
      enabled: False writes and shows nothing; for every process of a pod except the first.

    Raises:
      UserError: start_step outside [0, total_steps], or a damaged line before the last in the record.
    """

    def __init__(
        self,
        workdir: str | os.PathLike,
        total_steps: int,
        start_step: int = 0,
        tensorboard: bool = True,
        progress: bool = True,
        enabled: bool = True,
    ):
        if not 0 <= start_step <= total_steps:
            raise UserError(f"start_step must lie in [0, total_steps = {total_steps}], found {start_step}")
        self._file: TextIO | None = None
        self._events: SummaryWriter | None = None
        self._bar: _Bar | _Lines | None = None
        if not enabled:
            return
        workdir = Path(workdir)
        workdir.mkdir(parents=True, exist_ok=True)
        kept = [row for row in _rows(workdir / _FILE) if row["step"] <= start_step] if start_step else []
        write_atomic(workdir / _FILE, "".join(map(_line, kept)))
        self._file = open(workdir / _FILE, "a", buffering=1, encoding="utf-8")  # noqa: SIM115 (closed by close)
        if tensorboard:
            purge = start_step + 1 if start_step else 0
            # its file names count seconds: without the suffix a quick resume would overwrite the earlier file
            suffix = f".from{start_step}"
            self._events = SummaryWriter(str(workdir / "tensorboard"), purge_step=purge, filename_suffix=suffix)
        if progress:
            self._bar = (_Bar if sys.stdout.isatty() else _Lines)(total_steps, start_step)

    def scalars(self, step: int, values: Mapping[str, float]) -> None:
        """Appends one row. Values are anything ``float`` takes; NaN and infinities become null.

        Raises UserError on a value named ``step`` or ``time``.
        """
        if taken := {"step", "time"} & set(values):
            raise UserError(f"{sorted(taken)} are the row's own fields; name these values otherwise")
        values = {name: float(value) for name, value in values.items()}
        if self._file is not None:
            self._file.write(_line({"step": int(step), "time": round(time.time(), 3), **values}))
            self._file.flush()
        if self._events is not None:
            for name, value in values.items():
                self._events.add_scalar(name, value, int(step))
        if self._bar is not None:
            self._bar.show(values)

    def images(self, step: int, name: str, images: np.ndarray) -> None:
        """(N, H, W, 3) uint8 -> TensorBoard, as one grid. Raises UserError on anything else."""
        images = np.asarray(images)
        if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
            raise UserError(f"{name}: images must be (N, H, W, 3) uint8, found {images.shape} {images.dtype}")
        if self._events is not None:
            self._events.add_images(name, images, int(step), dataformats="NHWC")

    def advance(self, step: int) -> None:
        """Moves the bar to ``step``, the number of steps done."""
        if self._bar is not None:
            self._bar.advance(int(step))

    def begin(self, step: int) -> None:
        """Starts the bar's clock after ``step`` steps, so that compilation before does not affect the estimate."""
        if self._bar is not None:
            self._bar.begin(int(step))

    def say(self, text: str) -> None:
        """Prints a line above the bar."""
        if self._bar is not None:
            self._bar.say(text)

    def close(self) -> None:
        """Flushes and closes everything; a second call does nothing."""
        for part in (self._bar, self._events, self._file):
            if part is not None:
                part.close()
        self._bar = self._events = self._file = None

    def __enter__(self) -> "Writer":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def read_history(workdir: str | os.PathLike) -> list[dict[str, float]]:
    """Rows of ``workdir/metrics.jsonl`` in file order, null read as NaN; empty if there is no record.

    An incomplete last line, left by a kill, is skipped. Raises UserError, with file and line, on other damage.
    """
    return _rows(Path(workdir) / _FILE)


def _rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = {name: math.nan if value is None else value for name, value in from_json(line).items()}
            list(map(math.isfinite, row.values()))  # raises where one is no number
            row["step"] = int(row["step"])
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
            if number == len(lines):
                break
            raise UserError(f"{path}, line {number}: not a row of metrics ({error}): {line[:80]!r}") from error
        rows.append(row)
    return rows


def _line(row: Mapping[str, float]) -> str:
    finite = {name: value if math.isfinite(value) else None for name, value in row.items()}
    return json.dumps(finite, allow_nan=False) + "\n"


def _postfix(values: Mapping[str, float], before: str) -> str:
    """The chosen figures of a row, or the previous text if the row has none (evaluation rows)."""
    names = [name for name in _POSTFIX if name in values]
    names = names or [name for name in values if not name.startswith("eval/")]
    return ", ".join(f"{name}={values[name]:.4g}" for name in names[:_SHOWN]) or before


class _Bar:
    """tqdm on a terminal."""

    def __init__(self, total: int, initial: int):
        self._tqdm = tqdm(total=total, initial=initial, file=sys.stdout, unit="step", dynamic_ncols=True)
        self._text = ""

    def begin(self, step: int) -> None:
        self._tqdm.initial = self._tqdm.n = self._tqdm.last_print_n = step
        self._tqdm.start_t = self._tqdm.last_print_t = time.time()

    def show(self, values: Mapping[str, float]) -> None:
        self._text = _postfix(values, self._text)
        self._tqdm.set_postfix_str(self._text, refresh=False)

    def advance(self, step: int) -> None:
        self._tqdm.update(step - self._tqdm.n)

    def say(self, text: str) -> None:
        tqdm.write(text, file=sys.stdout)

    def close(self) -> None:
        self._tqdm.close()


class _Lines:
    """For logs: plain lines, at most one every 10 s and one at the end. The rate is since the previous line."""

    def __init__(self, total: int, initial: int):
        self._total, self._step = total, initial
        self._start = self._time = time.monotonic()
        self._printed = initial
        self._text = ""

    def begin(self, step: int) -> None:
        self._step = self._printed = step
        self._start = self._time = time.monotonic()

    def show(self, values: Mapping[str, float]) -> None:
        self._text = _postfix(values, self._text)

    def advance(self, step: int) -> None:
        self._step = step
        if time.monotonic() - self._time >= _LINE_SECONDS or step == self._total:
            self._print()

    def say(self, text: str) -> None:
        print(text, flush=True)

    def close(self) -> None:
        if self._step != self._printed:
            self._print()

    def _print(self) -> None:
        now = time.monotonic()
        rate = (self._step - self._printed) / max(now - self._time, 1e-9)
        self._time, self._printed = now, self._step
        line = tqdm.format_meter(
            self._step,
            self._total,
            now - self._start,
            rate=rate,
            unit="step",
            postfix=self._text or None,
            bar_format="{percentage:3.0f}% {n_fmt}/{total_fmt} [{elapsed}<{remaining}, {rate_fmt}{postfix}]",
        )
        print(line, flush=True)
