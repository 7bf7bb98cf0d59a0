"""The structure of the package: imports go down the list of rooms, no file is long, nothing private is imported."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "fdetect_jax"
# From the top down; the rooms of one line do not import each other.
ROOMS = (
    ("main", "cli"),
    ("bench", "experiments", "service"),
    ("predict", "overrides", "cluster"),
    ("config",),
    ("train",),
    ("evaluation",),
    ("report",),
    ("inference",),
    ("convert", "loading"),
    ("forgery",),
    ("losses", "optim"),
    ("data",),
    ("datasets",),
    ("facesim",),
    ("gan",),
    ("detectors",),
    ("faces",),
    ("media",),
    (
        "nn",
        "parallel",
        "weights",
        "assets",
        "fields",
        "host",
        "wheels",
        "types",
        "files",
        "remote",
        "errors",
        "interrupts",
        "client",
    ),
)
LEVEL = {room: level for level, rooms in enumerate(ROOMS) for room in rooms}
FILES = sorted(PACKAGE.rglob("*.py"))
LONGEST = 400


def imports(path: Path) -> Iterator[tuple[str, str]]:
    """(module, name) of what a file imports from the package, type checking's own imports included."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] == "fdetect_jax":
            for name in node.names:
                yield node.module, name.name
        elif isinstance(node, ast.Import):
            for name in node.names:
                if name.name.split(".")[0] == "fdetect_jax":
                    yield name.name, ""


def room_of(module: str, name: str) -> str:
    parts = module.split(".")[1:]
    return parts[0] if parts else name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_imports_go_down(path):
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        return
    for module, name in imports(path):
        room = room_of(module, name)
        if room in LEVEL and room != own:
            bottom = LEVEL[own] == LEVEL[room] == len(ROOMS) - 1
            assert LEVEL[own] < LEVEL[room] or bottom, f"{own} imports {room}: {module}.{name}"


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(PACKAGE).as_posix())
def test_nothing_private_is_imported(path):
    for module, name in imports(path):
        assert not name.startswith("_"), f"{module}.{name}"


def test_no_file_is_long():
    lengths = {path.relative_to(PACKAGE).as_posix(): len(path.read_text().splitlines()) for path in FILES}
    assert not {name: length for name, length in lengths.items() if length > LONGEST}


def test_every_room_has_its_place():
    rooms = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert rooms - {"__init__"} == set(LEVEL)
