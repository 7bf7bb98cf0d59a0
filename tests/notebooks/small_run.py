"""A notebook of ``notebooks/`` from its first cell to its last, on small settings."""

import os
from pathlib import Path

import nbformat
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[2] / "notebooks"


def run(name: str) -> None:
    """Raises where a cell does; checks that the stored notebook has output in the same cells."""
    stored = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    executed = nbformat.from_dict(stored)
    environment = os.environ | {"FDETECT_NOTEBOOKS_SMALL": "1"}  # and the tests' own compilation cache
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(executed, timeout=280, kernel_name="python3", resources=where).execute(env=environment)
    for now, then in zip(executed.cells, stored.cells, strict=True):
        assert kinds(now) == kinds(then), now.source


def kinds(cell: nbformat.NotebookNode) -> set[str]:
    """Of a cell's outputs."""
    return {output.output_type for output in cell.get("outputs", [])}
