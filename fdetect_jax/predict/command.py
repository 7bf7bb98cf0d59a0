"""``fdetect predict``: arguments in, lines and files out."""

import argparse
import contextlib
import json
import sys
from collections import Counter

from tqdm import tqdm

from fdetect_jax.host import set_up

_WORDS = {"real": "real", "suspicious": "suspicious", "fake": "FAKE"}
_WORDS |= {"not_applicable": "no face", "unable_to_evaluate": "not evaluated"}
FOUND_FAKE, NOT_ALL = 1, 3  # exit status


def run(arguments: argparse.Namespace) -> int:
    """Prints a line for each file and returns the exit status: 1 with a fake, 3 with none but unreadable files."""
    set_up()
    from fdetect_jax.faces.extract import start_readers
    from fdetect_jax.files import check_folder, check_output, lines_beside, on_one_line, write_out
    from fdetect_jax.media.files import find_files
    from fdetect_jax.media.isolated import enough

    if arguments.json:
        check_output(arguments.json, "--json")
    if arguments.output:
        check_folder(arguments.output, "--output")
    lines = lines_beside(arguments.json)
    named = find_files(arguments.paths, arguments.output)
    for note in named.notes():
        print(note, file=sys.stderr)
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
                for line in _lines(row):
                    tqdm.write(on_one_line(line), file=lines)
        finally:  # what is finished before a stop is kept
            if arguments.json:
                write_out(arguments.json, json.dumps(rows, indent=1) + "\n")
    counts = Counter(row["verdict"] for row in rows)
    print(", ".join(f"{number} {_WORDS[word]}" for word, number in counts.items()), file=sys.stderr)
    if arguments.output:
        print(arguments.output / "report.html", file=sys.stderr)
    return FOUND_FAKE if counts["fake"] else NOT_ALL if counts["unable_to_evaluate"] else 0


def _lines(row: dict) -> list[str]:
    """The verdict, and below it the evidence of each analysis; the detector's is the verdict's reason already."""
    score = "     " if row["score"] is None else f"{row['score']:.3f}"
    note = f" ({row['note']})" if row["note"] else ""
    from fdetect_jax.inference.evidence import DETECTOR

    others = [one for one in row["evidence"] if one["name"] != DETECTOR]
    return [
        f"{_WORDS[row['verdict']]:13s} {score}  {row['file']}: {row['reason']}{note}",
        *(f"{'':21s}{one['title']}: {one['words']}" for one in others),
    ]
