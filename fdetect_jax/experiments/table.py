"""Makes a table from its config: trains the variants, writes ``table.json`` and ``table.html``, prints a summary."""

import json
from pathlib import Path

from ml_collections import ConfigDict

from fdetect_jax import parallel
from fdetect_jax.experiments.page import page_of
from fdetect_jax.experiments.results import results, summary
from fdetect_jax.experiments.runs import runs_of, train
from fdetect_jax.files import write_atomic


def run_table(config: ConfigDict, workdir: str | Path) -> dict:
    """Trains every variant with every seed, resumes unfinished runs, and compares the variants.

    With ``evaluate_only`` and ``evaluation.split=val``, compares trained variants on validation, in
    ``table_val.json`` and ``table_val.html``; a variant is to be chosen from that table.

    Returns:
      The content of ``<workdir>/table.json``, see ``results.results``; {} in every process but the first.

    Raises:
      UserError: before any work. Stopped: after SIGTERM; the same command resumes.
    """
    workdir = Path(workdir)
    runs = runs_of(config, workdir)
    reports = list(train(runs, lambda text: print(text, flush=True)))
    if parallel.process() > 0:  # the first process writes
        return {}
    text = json.dumps(results(config, reports), indent=2, allow_nan=False, ensure_ascii=False)
    found = json.loads(text)
    name = "table" if config.evaluation.split == "test" else f"table_{config.evaluation.split}"
    write_atomic(workdir / f"{name}.html", page_of(config.description, found, workdir, reports[0][1]["threshold"]))
    write_atomic(workdir / f"{name}.json", text + "\n")
    print("\n".join(summary(found)))
    print(f"table: {workdir / name}.html")
    return found
