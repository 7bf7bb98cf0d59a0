"""``fdetect predict``: arguments in, lines and files out."""

import argparse
import contextlib
import json
import sys

from tqdm import tqdm

from fdetect_jax.host import set_up
from fdetect_jax.predict.lines import found_files, lines, status, summary


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each file and returns the exit status, that of ``lines.status``."""
    set_up()
    from fdetect_jax.faces.extract import start_readers
    from fdetect_jax.files import lines_beside, on_one_line, write_out
    from fdetect_jax.media.isolated import enough

    named, shown = found_files(arguments), lines_beside(arguments.json)
    rows: list[dict] = []
    with contextlib.closing(start_readers(enough(len(named.files), arguments.workers), arguments.timeout)) as readers:
        # While the processes start: JAX takes longest to import, and then the detector is compiled.
        from fdetect_jax.inference.options import chosen
        from fdetect_jax.predict.run import predict

        how = arguments.output, arguments.heat_map, arguments.workers, arguments.timeout, readers
        found = predict(named, *chosen(arguments), *how)
        try:
            # Only a terminal gets a bar.
            for row in tqdm(found, total=len(named.files), unit="file", disable=None):
                rows.append(row)
                for line in lines(row):
                    tqdm.write(on_one_line(line), file=shown)
        finally:  # what is finished before a stop is kept
            if arguments.json:
                write_out(arguments.json, json.dumps(rows, indent=1) + "\n")
    print(summary(rows), file=sys.stderr)
    if arguments.output:
        print(arguments.output / "report.html", file=sys.stderr)
    return status(rows)
