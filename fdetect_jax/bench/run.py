"""``fdetect bench``: the benchmarks by name, a table on stdout, rows in a JSON file."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path

from fdetect_jax.bench.measure import Row, compared, line, measure, peaks, require_torch
from fdetect_jax.bench.setting import NAMES, VARIANTS, Setting
from fdetect_jax.errors import UserError
from fdetect_jax.files import check_output, is_stdout, lines_beside, write_out


def run(
    names: Sequence[str],
    setting: Setting,
    repeats: int = 5,
    vs_torch: bool = False,
    peer: str | None = None,
    output: Path | None = None,
) -> list[Row]:
    """Measures ``names`` (all benchmarks when empty), prints a line for each, and writes ``output`` after each.

    Raises:
      UserError: an unknown name or variant, no repeats, or PyTorch is wanted and missing.
      BenchError: a side failed, or the two sides do not agree.
    """
    for name in names:
        if name not in NAMES:
            raise UserError(f"bench: found {name!r}, wanted some of {', '.join(NAMES)}")
    if repeats < 1:
        raise UserError(f"--repeats: found {repeats}, wanted at least 1")
    if peer is not None and peer not in VARIANTS:
        raise UserError(f"--peer: found {peer!r}, wanted one of {', '.join(VARIANTS)}")
    if vs_torch:
        require_torch()
    if output is not None:
        check_output(output, "--json")
    lines = lines_beside(output)
    limits = peaks(setting)
    roofline = f"roofline: {limits['flops_per_s'] / 1e9:.0f} GFLOP/s, {limits['bytes_per_s'] / 1e9:.1f} GB/s"
    print(roofline, file=lines, flush=True)
    rows = []
    for name in names or NAMES:
        row = measure(name, setting, limits, repeats, vs_torch, None if peer is None else [peer])
        rows = compared([*rows, row])
        print(line(rows[-1]), file=lines, flush=True)
        if output is not None and (not is_stdout(output) or len(rows) == len(names or NAMES)):
            write_out(output, json.dumps([dataclasses.asdict(row) for row in rows], indent=2) + "\n")
    return rows
