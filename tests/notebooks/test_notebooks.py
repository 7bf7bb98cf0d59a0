"""The notebooks as they are stored: executed in order, with their figures, and without a trace of the machine."""

import json
import re
from pathlib import Path

import nbformat
import pytest
from small_run import FOLDER

NAMES = sorted(path.stem for path in FOLDER.glob("*.ipynb"))
LIMIT = 1_500_000  # bytes


def test_each_notebook_is_run():
    tests = {path.stem.removeprefix("test_") for path in Path(__file__).parent.glob("test_*.py")}
    assert set(NAMES) == tests - {"notebooks"} != set()


@pytest.mark.parametrize("name", NAMES)
def test_stored_as_executed(name):
    path = FOLDER / f"{name}.ipynb"
    assert path.stat().st_size < LIMIT
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert notebook.metadata.kernelspec.name == "python3"
    code = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell.outputs]
    assert any("image/png" in output.get("data", {}) for output in outputs)
    for output in outputs:
        assert output.output_type != "error"
        assert output.get("name") != "stderr", output.text


@pytest.mark.parametrize("name", NAMES)
def test_nothing_tells_of_the_machine(name):
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    assert all("execution" not in cell.metadata for cell in notebook.cells)
    for cell in notebook.cells:
        for output in cell.get("outputs", []):
            output.get("data", {}).pop("image/png", None)  # base64 has slashes of its own
    found = re.search(r"(?<![\w.~-])/(work|tmp|home|root|mnt|opt|usr|var|Users)\b.{0,40}", json.dumps(notebook))
    assert found is None, found[0]
