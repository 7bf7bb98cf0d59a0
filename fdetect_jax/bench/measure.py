"""Runs the two sides of a benchmark: starts them, checks that their outputs agree, and measures them in turn.

Each side is a child process; only one of them works at a time, and both end with the parent.
"""

import contextlib
import dataclasses
import importlib.util
import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from fdetect_jax import interrupts
from fdetect_jax.bench.setting import ALONE, Setting
from fdetect_jax.errors import UserError

# Largest difference between the peer's outputs and ours: norm of the difference over the norm, per output. Gradients of
# a network with kinks do not agree to rounding.
TOLERANCE = {
    "b4_forward": 1e-4,
    "b4_input_gradient": 1e-3,
    "b4_sam_step": 2e-2,
    "lite0_sam_step": 0.3,  # ReLU6 has kinks: rounding moves 2 % of one gradient, and SAM takes the second from there
    "stylegan2_synthesis": 1e-4,
    "latent_pgd": 1e-2,
    "adv_step": 2e-2,
    "input_pipeline": 0.0,
    "predict": 0.0,
}
HALF_PRECISION = 0.3  # bfloat16 keeps 8 bits through about sixty layers


@dataclasses.dataclass(frozen=True)
class Row:
    """The measurements of one benchmark.

    seconds: median of a call, spread: its interquartile range, both in seconds. peak_memory: bytes.
    flops_per_s, bytes_per_s: achieved, by XLA's cost analysis. roofline: share of the best speed that the machine's
    measured peaks allow for these operations and bytes. ratio: the peer's median over ours; peer: its variant.
    stages: seconds of each part of the work on one core, per face and its fake. figures: of ``face_search``, see
    ``groups``. outruns: of ``input_pipeline``, its
    images per second over those of ``b4_sam_step``, if that ran too.
    """

    name: str
    seconds: float
    spread: float
    images_per_s: float
    peak_memory: int
    flops_per_s: float | None
    bytes_per_s: float | None
    roofline: float | None
    ratio: float | None
    peer: str | None
    peer_seconds: float | None
    batch: int
    dtype: str
    device: str
    stages: dict[str, float]
    figures: dict[str, float] = dataclasses.field(default_factory=dict)
    outruns: float | None = None


class BenchError(ValueError):
    """A side that could not be built or run, or two sides that disagree."""


class Side:
    """A worker process; ``made`` is its first answer."""

    def __init__(self, side: str, name: str, folder: str | Path, setting: dict[str, Any]):
        self.title = f"{name} ({side})"
        command = [sys.executable, "-m", "fdetect_jax.bench.worker", side, name, str(folder), json.dumps(setting)]
        # OpenMP's threads spin while they wait: one other busy process then makes PyTorch a hundred times slower.
        environment = {"OMP_WAIT_POLICY": "passive"} | os.environ
        with interrupts.left_to_parent():
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
            )
        try:
            self.made = self._read()
        except BaseException:
            self._end("")
            raise

    def run(self) -> dict[str, Any]:
        """Runs the work once: {"seconds": float, "memory": bytes}."""
        self._process.stdin.write("run\n")
        self._process.stdin.flush()
        return self._read()

    def _read(self) -> dict[str, Any]:
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"{self.title}: its process ended with status {self._process.wait()}")
        content = json.loads(line)
        if "error" in content:
            raise BenchError(f"{self.title}: {content['error']}")
        return content

    def __enter__(self) -> "Side":
        return self

    def __exit__(self, error: type[BaseException] | None, *_: object) -> None:
        self._end("end\n" if error is None else "")  # after an error, such as Ctrl-C, nobody waits for its work

    def _end(self, last: str) -> None:
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            self._process.communicate(last, timeout=10)  # so that it can end its own child processes
        self._process.kill()
        self._process.communicate()


def require_torch() -> None:
    """Raises UserError, naming the extra, if a package of the peer is missing."""
    packages = ("torch", "efficientnet_pytorch", "efficientnet_lite_pytorch")
    missing = [name for name in packages if importlib.util.find_spec(name) is None]
    if missing:
        raise UserError(f"--vs torch: found no {' and no '.join(missing)}, wanted them: pip install -e '.[bench]'")


def peaks(setting: Setting) -> dict[str, float]:
    """The machine's measured peaks, {"flops_per_s", "bytes_per_s"}."""
    with Side("roofline", "roofline", ".", dataclasses.asdict(setting)) as side:
        return side.made


def measure(
    name: str,
    setting: Setting,
    limits: dict[str, float],
    repeats: int = 5,
    vs_torch: bool = False,
    variants: Sequence[str] | None = None,
) -> Row:
    """One benchmark: a warm-up, then ``repeats`` turns of each side. Those in ``ALONE`` have no other side.

    Raises:
      BenchError: a side failed, or the peer's outputs differ.
    """
    ours, theirs, peer = [], [], None
    with tempfile.TemporaryDirectory(prefix="fdetect_bench_") as folder:
        options = dataclasses.asdict(setting) | {"scratch": folder}
        with Side("ours", name, folder, options) as side:
            made = side.made
            side.run()
            if vs_torch and name not in ALONE:
                with Side("torch", name, folder, options | {"variants": variants}) as other:
                    peer = other.made["peer"]
                    agree(name, Path(folder), TOLERANCE[name] if setting.dtype == "float32" else HALF_PRECISION)
                    other.run()
                    for _ in range(repeats):
                        theirs.append(other.run())
                        ours.append(side.run())
            else:
                ours = [side.run() for _ in range(repeats)]
    return summary(name, setting, made, limits, ours, theirs, peer)


def agree(name: str, folder: Path, tolerance: float) -> None:
    """Compares the peer's outputs with ours. Raises BenchError naming the first that differs, and by how much."""
    with np.load(folder / "ours.npz") as ours, np.load(folder / "torch.npz") as theirs:
        if set(ours) != set(theirs):
            raise BenchError(f"{name}: outputs are {sorted(ours)} here and {sorted(theirs)} in PyTorch")
        for key in ours:
            a, b = ours[key].astype(np.float64), theirs[key].astype(np.float64)
            if a.shape != b.shape:
                raise BenchError(f"{name}: {key} has shape {a.shape} here and {b.shape} in PyTorch")
            apart = np.linalg.norm(a - b) / max(np.linalg.norm(a), 1e-30)
            if not apart <= tolerance:
                raise BenchError(f"{name}: {key} differs from PyTorch's by {apart:.1e} of its norm (over {tolerance})")


def summary(
    name: str, setting: Setting, made: dict, limits: dict[str, float], ours: list, theirs: list, peer: str | None
) -> Row:
    """The row of one benchmark; ``ours`` and ``theirs`` are answers of ``Side.run``."""
    seconds = [turn["seconds"] for turn in ours]
    median = statistics.median(seconds)
    peer_median = statistics.median(turn["seconds"] for turn in theirs) if theirs else None
    flops, moved = made.get("flops"), made.get("bytes")
    share = None
    if flops and moved:
        share = max(flops / limits["flops_per_s"], moved / limits["bytes_per_s"]) / median
    return Row(
        name=name,
        seconds=median,
        spread=float(np.subtract(*np.percentile(seconds, (75, 25)))),
        images_per_s=made["images"] / median,
        peak_memory=max(turn["memory"] for turn in ours),
        flops_per_s=flops / median if flops else None,
        bytes_per_s=moved / median if moved else None,
        roofline=share,
        ratio=peer_median / median if peer_median else None,
        peer=peer,
        peer_seconds=peer_median,
        batch=setting.batch,
        dtype=setting.dtype,
        device=made["device"],
        stages=made.get("stages", {}),
        figures=made.get("figures", {}),
    )


def line(row: Row) -> str:
    """A row of the table."""

    def text(value: float | None, unit: str = "", scale: float = 1.0, digits: int = 1) -> str:
        return "–" if value is None else f"{value * scale:.{digits}f}{unit}"

    cells = [
        f"{row.name:20s}",
        f"{text(row.seconds, ' s', digits=4):>10s}",
        f"±{text(row.spread, ' s', digits=4)}",
        f"{text(row.images_per_s, ' img/s', digits=2):>14s}",
        f"{text(row.peak_memory, ' GB', 1e-9, 2):>9s}",
        f"{text(row.flops_per_s, ' GFLOP/s', 1e-9):>15s}",
        f"{text(row.bytes_per_s, ' GB/s', 1e-9):>11s}",
        f"{text(row.roofline, ' % of roofline', 100, 0):>18s}",
    ]
    if row.ratio is not None:
        cells.append(f"  ratio {row.ratio:.2f} (torch {row.peer}: {row.peer_seconds:.4f} s)")
    if row.stages:
        parts = ", ".join(f"{name} {1000 * seconds:.1f} ms" for name, seconds in row.stages.items())
        cells.append(f"\n  a face and its fake on one core: {parts}")
    if row.figures:
        cells.append("\n  " + ", ".join(f"{name} {value:.4g}" for name, value in row.figures.items()))
    if row.outruns is not None:
        cells.append(f"\n  {row.outruns:.1f} times the images per second of b4_sam_step")
    return " ".join(cells)


def compared(rows: Sequence[Row]) -> list[Row]:
    """The rows; with the ratio of ``input_pipeline`` to ``b4_sam_step`` if both are among them."""
    steps = [row.images_per_s for row in rows if row.name == "b4_sam_step"]
    return [
        dataclasses.replace(row, outruns=row.images_per_s / steps[-1])
        if row.name == "input_pipeline" and steps
        else row
        for row in rows
    ]
