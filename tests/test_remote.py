"""Addresses: what lies there is copied here once, and a run's folder is copied back whole or not at all."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import fsspec
import numpy as np
import pytest
from ml_collections import ConfigDict

from fdetect_jax import Predictor, remote, weights
from fdetect_jax.data.sources import make_source
from fdetect_jax.datasets.prepare import prepare
from fdetect_jax.errors import UserError
from fdetect_jax.faces.crop import make_recipe
from fdetect_jax.loading import load
from fdetect_jax.media.video import Sampling
from tests.datasets import trees

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "fdetect_jax"


@pytest.fixture
def memory():
    """A file system that lives in this process."""
    system = fsspec.filesystem("memory")
    system.store.clear()
    yield system
    system.store.clear()


def test_only_addresses_are_touched(memory):
    for path in ("runs/adv", "/tmp/x", "C:\\faces", Path("gs:/x"), "", None):
        assert remote.here(path) is path
    assert remote.is_address("gs://bucket/run")


def test_a_file_and_a_folder_are_copied_once_for_each_content(memory):
    memory.pipe_file("/set/a/one.txt", b"1")
    memory.pipe_file("/set/two.txt", b"2")
    folder = remote.here("memory://set")
    assert {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*.txt")} == {
        "a/one.txt": b"1",
        "two.txt": b"2",
    }
    assert remote.here("memory://set") == folder
    file = remote.here("memory://set/two.txt")
    assert (file.name, file.read_bytes()) == ("two.txt", b"2")
    memory.pipe_file("/set/two.txt", b"other")
    assert (remote.here("memory://set") / "two.txt").read_bytes() == b"other"


@pytest.mark.parametrize(
    ("address", "found"),
    [("memory://nothing", "found nothing there"), ("nosuch://bucket/x", "cannot be used"), ("s3://bucket/x", "")],
)
def test_what_cannot_be_read_is_named(address, found):
    with pytest.raises(UserError, match=rf"^{address}: .*{found}"):
        remote.here(address)


def test_weights_at_an_address(memory, tmp_path):
    source = ROOT / "fdetect_jax" / "assets" / "demo" / "detector.safetensors"
    memory.put_file(str(source), "/weights/detector.safetensors")
    address = "memory://weights/detector.safetensors"
    image = np.full((1, 128, 128, 3), 90, np.uint8)
    np.testing.assert_array_equal(load(address)(image).logits, load(source)(image).logits)
    np.testing.assert_array_equal(Predictor(address).scores(image), Predictor(source).scores(image))
    assert weights.describe(remote.here(address))[0] == weights.describe(source)[0]


def test_prepared_data_at_an_address_are_those_of_the_folder(memory, tmp_path, faces, monkeypatch):
    for number in range(2):
        trees.write_person(tmp_path / "root" / "train" / "real" / f"{number}.mp4", number)
    folder = prepare(
        "folder", tmp_path / "root", tmp_path / "made", make_recipe("aligned64"), Sampling(count=2), workers=1
    )
    memory.put(str(folder), "/prepared", recursive=True)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    fields = {"source": "prepared", "size": 64, "balance": 1.0, "leave_out": {}}
    one, two = (
        make_source(ConfigDict(fields | {"root": root}), "train") for root in (str(folder), "memory://prepared")
    )
    assert one.fingerprint == two.fingerprint
    assert len(one) == len(two) > 0
    np.testing.assert_array_equal(one[0]["image"], two[0]["image"])


def test_a_workdir_is_copied_back_and_taken_up(memory, cache):
    with remote.workdir("memory://runs/one") as folder:
        (folder / "a").mkdir()
        (folder / "a" / "x.txt").write_text("1")
        (folder / ".y.txt.fdetect-tmp").write_text("half")
        (folder / "checkpoints" / "5.orbax-checkpoint-tmp").mkdir(parents=True)
        (folder / "checkpoints" / "5.orbax-checkpoint-tmp" / "part").write_text("half")
    assert not folder.exists()
    assert sorted(memory.find("/runs/one")) == ["/runs/one/a/x.txt", f"/runs/one/{remote.LISTING}"]
    with remote.workdir("memory://runs/one") as folder:
        assert (folder / "a" / "x.txt").read_text() == "1"
        (folder / "a" / "x.txt").unlink()
        (folder / "z.txt").write_text("2")
    assert sorted(memory.find("/runs/one")) == [f"/runs/one/{remote.LISTING}", "/runs/one/z.txt"]


def test_only_what_the_last_listing_names_is_taken_up(memory):
    """A copy that was cut short leaves files that no listing names."""
    with remote.workdir("memory://runs/two") as folder:
        (folder / "kept").write_text("1")
    memory.pipe_file("/runs/two/checkpoints/10/part", b"half")
    with remote.workdir("memory://runs/two", writes=False) as folder:
        assert [path.name for path in folder.iterdir()] == ["kept"]
        (folder / "own").write_text("of a process that does not write")
    assert "/runs/two/own" not in memory.find("/runs/two")


def test_a_listing_cannot_name_files_outside(memory):
    memory.pipe_file(f"/runs/bad/{remote.LISTING}", json.dumps({"../../x": 1}).encode())
    with (
        pytest.raises(UserError, match=r"memory://runs/bad: .*found the name '../../x'"),
        remote.workdir("memory://runs/bad"),
    ):
        pass


def test_what_changes_is_copied_while_the_run_works(memory, monkeypatch):
    monkeypatch.setattr(remote, "_SECONDS", 0.05)
    with remote.workdir("memory://runs/three") as folder:
        (folder / "log").write_text("1")
        deadline = time.monotonic() + 20
        copied = None
        while copied != b"1" and time.monotonic() < deadline:  # the file is there, and empty, before its bytes are
            time.sleep(0.01)
            copied = memory.cat_file("/runs/three/log") if memory.exists("/runs/three/log") else None
        assert copied == b"1"


def test_an_address_that_cannot_be_written_is_refused_before_work(monkeypatch, memory):
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError("no right to write")

    monkeypatch.setattr(type(memory), "pipe_file", refuse)
    wanted = r"^memory://runs/four: cannot be used \(PermissionError: no right to write\)"
    with pytest.raises(UserError, match=wanted), remote.workdir("memory://runs/four"):
        pytest.fail("the block ran")


@pytest.mark.slow
def test_a_run_at_an_address_is_stopped_and_taken_up(tmp_path, cache):
    """Through the command, at a file:// address: the result is that of a folder, bit for bit."""
    file = tmp_path / "small_run.py"
    file.write_text(
        f"import sys\nsys.path[:0] = [{str(ROOT)!r}, {str(ROOT / 'tests')!r}]\n"
        "from small import small_baseline, without_generator\n\n"
        "def get_config():\n    config = without_generator(small_baseline(''))\n"
        "    config.update(steps=8, checkpoint_every=100)\n"
        "    config.evaluation.skip = ('fwa', 'composite', 'resample')\n    return config\n"
    )
    environment = os.environ | {"XLA_FLAGS": os.environ.get("FDETECT_TESTS_XLA_FLAGS", "")}
    told = {"cwd": ROOT, "env": environment, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    line = [sys.executable, "-m", "fdetect_jax.main", f"--config={file}"]
    plain, address = tmp_path / "plain", tmp_path / "bucket" / "run"
    done = subprocess.run([*line, f"--workdir={plain}"], **told, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:]
    process = subprocess.Popen([*line, f"--workdir=file://{address}"], **told)
    for text in process.stdout:
        if "compiling the first step" in text:
            process.send_signal(signal.SIGTERM)
            break
    output = process.communicate(timeout=240)[0]
    assert process.returncode == 143, output[-2000:]
    assert f"copied to file://{address}" in output
    assert [path.name for path in (address / "checkpoints").iterdir()] == ["1"]
    done = subprocess.run([*line, f"--workdir=file://{address}"], **told, timeout=240)
    assert done.returncode == 0, done.stdout[-2000:]
    assert "resuming from step 1" in done.stdout
    assert (address / "detector.safetensors").read_bytes() == (plain / "detector.safetensors").read_bytes()
    assert not list((cache / "workdirs").iterdir())
