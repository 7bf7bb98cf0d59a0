"""Jobs that are killed, stopped or out of space at chosen moments, and started again: nothing that was made is lost.

``injected/sitecustomize.py`` breaks a job at any of its moments; one run without a fault lists them.
"""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from fdetect_jax.datasets.crop_store import read_crops
from fdetect_jax.errors import exit_status
from tests.datasets import trees
from tests.evaluation.models import save

ROOT = Path(__file__).parents[1]
FDETECT = "import sys; from fdetect_jax.cli import main; sys.exit(main())"
PHOTOS = """
import sys
from pathlib import Path
from fdetect_jax.errors import exit_status
with exit_status() as status:
    from fdetect_jax.datasets.photos import prepare_folder
    from fdetect_jax.faces.crop import RECIPES
    prepare_folder(Path("job/in"), RECIPES["aligned64"], Path("job/out"))
sys.exit(status.code)
"""
MODEL = ("--model", "model.safetensors", "--workers", "1", "--output", "job/out")
JOBS = {
    "predict": [FDETECT, "predict", "job/in", *MODEL, "--threshold", "0"],
    "prepare": [FDETECT, "prepare", "folder", "--root", "job/in", "--output", "job/out", "--size", "64", *MODEL[2:4]],
    "evaluate": [FDETECT, "evaluate", "--data", "job/in", *MODEL],
    "photos": [PHOTOS],
}
# A job, a fault, and the moment of it, as the injector names them; the last one that fits.
FAULTS = (
    ("predict", "kill", r"worker replace out/"),
    ("predict", "kill_main", r"main write out/verdicts\.jsonl"),
    ("predict", "full", r"main write out/\..*tmp"),
    ("predict", "interrupt", r"worker write out/"),
    ("prepare", "kill", r"worker fsync out/\.work/records"),
    ("prepare", "kill_main", r"main write out/\.\w+\.fdetect-tmp"),
    ("prepare", "full", r"main open out/\.work/shards"),
    ("prepare", "interrupt", r"worker replace out/\.work/records"),
    ("evaluate", "full", r"main write out/"),
    ("evaluate", "interrupt", r"worker read in/"),
    ("photos", "kill_main", r"main rename .*/face_crops/"),
    ("photos", "interrupt", r"main write out/\.crops-"),
)
LASTING = {"predict": ("out/verdicts.jsonl",), "prepare": ("out/.work/records/*/*.npz",), "photos": ("out/.crops-*",)}


@dataclass(frozen=True)
class Ended:
    """A run: its exit status, the lines it wrote to standard error, and its moments."""

    status: int
    errors: list[str]
    moments: list[str]


def start(arguments: list[str], where: Path, **environment: str) -> subprocess.Popen:
    own = {"PYTHONPATH": os.pathsep.join([str(Path(__file__).parent / "injected"), str(ROOT)])}
    own |= {"XLA_FLAGS": os.environ.get("FDETECT_TESTS_XLA_FLAGS", "")}
    command, pipe = [sys.executable, "-c", *arguments], subprocess.PIPE
    return subprocess.Popen(
        command, cwd=where, env=os.environ | own | environment, stdout=pipe, stderr=pipe, start_new_session=True
    )


def end(process: subprocess.Popen, where: Path) -> Ended:
    _, error = process.communicate(timeout=120)
    assert not running(process.pid)
    lines = [line for line in error.decode().splitlines() if line.startswith(("error", "stopped", "Traceback"))]
    count = where / "moments"
    return Ended(process.returncode, lines, count.read_text().splitlines() if count.is_file() else [])


def running(group: int) -> bool:
    """Whether a process of the group works on; the processes of a killed one take a moment to notice."""
    for _ in range(100):
        shown = subprocess.run(["ps", "-o", "stat=", "-g", str(group)], capture_output=True, text=True).stdout
        if all(line.startswith("Z") for line in shown.split()):
            return False
        time.sleep(0.05)
    return True


def run(job: str, where: Path, fault: str = "", at: int = -1) -> Ended:
    (where / "moments").unlink(missing_ok=True)
    faults = {"FAULT_BELOW": str(where / "job"), "FAULT_COUNT": str(where / "moments")}
    return end(start(JOBS[job], where, FAULT_KIND=fault, FAULT_AT=str(at), **faults), where)


@pytest.fixture(scope="module")
def new(faces, tmp_path_factory):
    """Makes a folder to run a job in."""
    root = tmp_path_factory.mktemp("jobs")
    save(root / "model.safetensors")
    tree = root / "in" / "real"
    for number in range(2):
        trees.write_photo(root / "in" / "real" / f"{number}.png", number)
        trees.write_photo(root / "in" / "fake" / f"{number}.png", 2 + number)
    (tree / "broken.png").write_bytes(b"nothing")
    cv2.imwrite(str(root / "in" / "fake" / "wall.png"), np.full((90, 90, 3), 127, np.uint8))

    def make(name: str) -> Path:
        where = root / name
        shutil.copytree(root / "in", where / "job" / "in")
        os.link(root / "model.safetensors", where / "model.safetensors")
        return where

    return make


@pytest.fixture(scope="module")
def whole(new):
    """Each job's run without a fault, and what it made."""
    found = {}

    def get(job: str) -> tuple[Ended, dict[str, Any]]:
        if job not in found:
            where = new(job)
            found[job] = run(job, where), made(where)
            assert found[job][0].status == (1 if job == "predict" else 0), found[job][0].errors
        return found[job]

    return get


def made(where: Path) -> dict[str, Any]:
    """What a job made; not its notes for the next run, whose order or whose keys may differ. Shards of photos are read:
    the same record has other bytes in another process."""
    out = where / "job" / "out"
    files = {path.relative_to(out).as_posix(): path for path in out.rglob("*") if path.is_file()}
    notes = r"verdicts\.jsonl|(.*/)?\.\w+\.fdetect-tmp|\.(hashes|crops|unfinished)-.*"
    files = {name: path for name, path in files.items() if not re.fullmatch(notes, name)}
    return {name: _crops(path.parent) if "face_crops" in name else path.read_bytes() for name, path in files.items()}


def _crops(folder: Path) -> dict[str, tuple]:
    return {photo: (crop.image, crop.landmarks.tobytes()) for photo, crop in read_crops(folder).items()}


def kept(job: str, where: Path) -> dict[Path, bytes]:
    """What a stopped job goes on from."""
    found = [path for pattern in LASTING.get(job, ()) for path in (where / "job").glob(pattern)]
    return {path: path.read_bytes() for path in found}


@pytest.mark.parametrize(("job", "fault", "moment"), FAULTS, ids=lambda text: re.sub(r"\W+", "_", text))
def test_the_same_command_ends_as_if_nothing_had_happened(job, fault, moment, new, whole):
    before, wanted = whole(job)
    at = max(number for number, line in enumerate(before.moments) if re.match(moment, line))
    where = new(f"{job}_{fault}")
    broken = run(job, where, fault, at)
    statuses = {
        "kill": {before.status},
        "kill_main": {-signal.SIGKILL},
        "full": {2},
        "interrupt": {130},
    }
    assert broken.status in statuses[fault], broken
    says = {"full": "error: [Errno 28] No space left on device", "interrupt": "stopped"}
    if fault in says:
        (said,) = broken.errors  # the name of the file follows
        assert said.startswith(says[fault])
    else:
        assert not broken.errors
    notes = kept(job, where)
    again = run(job, where)
    assert (again.status, again.errors) == (before.status, [])
    assert made(where) == wanted
    if job == "predict":
        ((path, text),) = notes.items()
        assert path.read_bytes().startswith(text)
        assert len(path.read_text().splitlines()) <= len(before.moments)
    worked = [line for line in again.moments if line.startswith("worker read in/")]
    files = {re.search(r"in/\S+", line)[0] for line in worked}
    if fault == "kill":
        assert len(files) <= 1 + (job == "predict"), "more than what the process was at"
    elif notes:
        assert len(files) < 6, "everything was done again"


def test_ctrl_c_ends_bench(tmp_path):
    process = start([FDETECT, "bench", "stylegan2_synthesis", "--batch", "1"], tmp_path)
    time.sleep(2)
    os.killpg(process.pid, signal.SIGINT)
    begun = time.monotonic()
    ended = end(process, tmp_path)
    assert (ended.status, ended.errors) == (130, ["stopped"])
    assert time.monotonic() - begun < 20


LOST = """
import gc, os, signal, sys, time
from fdetect_jax.errors import exit_status

def callback(phase, info):
    gc.callbacks.remove(callback)
    os.kill(os.getpid(), signal.SIGINT)

with exit_status() as status:
    gc.callbacks.append(callback)
    gc.collect()
    time.sleep(60)
sys.exit(status.code)
"""
IMPORTED = """
import os, signal, sys, time
from pathlib import Path
from fdetect_jax.errors import exit_status

Path("stopping.py").write_text("import os, signal, time; os.kill(os.getpid(), signal.SIGINT); whole = time.sleep(1)")
sys.path.insert(0, "")
with exit_status() as status:
    try:
        import stopping
        time.sleep(60)
    finally:
        assert "whole" in vars(stopping)
sys.exit(status.code)
"""


@pytest.mark.parametrize("script", [LOST, IMPORTED], ids=["callback", "import"])
def test_ctrl_c_is_not_lost_and_spares_an_import(script, tmp_path):
    begun = time.monotonic()
    ended = end(start([script], tmp_path), tmp_path)
    assert (ended.status, ended.errors) == (130, ["stopped"])
    assert time.monotonic() - begun < 30


@pytest.mark.parametrize(
    ("error", "line", "status"),
    [
        (
            RuntimeError("write() failed: No space left on device; writing a/b"),
            "no space is left on the disk: write",
            2,
        ),
        (ValueError("RESOURCE_EXHAUSTED: Error writing x: No space left on device"), "no space is left on the disk", 2),
        (RuntimeError("RESOURCE_EXHAUSTED: 3 GB"), "no memory is left on the device: RESOURCE", 70),
    ],
)
def test_what_c_libraries_lack_is_one_line(error, line, status, capsys):
    """ArrayRecord and TensorStore raise no OSError where a disk is full."""
    with exit_status() as found:
        raise error
    assert found.code == status
    (said,) = capsys.readouterr().err.splitlines()
    assert said.startswith(f"error: {line}")
