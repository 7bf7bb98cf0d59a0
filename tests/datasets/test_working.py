"""Folders to work in: removed when the work is done or its process is dead, and never before."""

import os
import subprocess
import sys

import pytest

from fdetect_jax import files
from fdetect_jax.datasets.working import working_folder

_WORKS = """
import sys
from pathlib import Path
from fdetect_jax.datasets.working import working_folder

with working_folder(Path(sys.argv[1])) as folder:
    (folder / "shards").mkdir()
    (folder / "shards" / "one").write_text("crops")
    print(folder, flush=True)
    sys.stdin.readline()
    assert (folder / "shards" / "one").read_text() == "crops"
"""


def _start(parent):
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKS, str(parent)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    return process, parent / os.path.basename(process.stdout.readline().strip())


def _age(folder):
    for path in (*folder.rglob("*"), folder):
        os.utime(path, (0, 0))


def _sweep(parent):
    with working_folder(parent):
        pass


def test_it_goes_with_the_work(tmp_path):
    with working_folder(tmp_path / "new") as folder, working_folder(tmp_path / "new") as other:
        assert folder != other
    assert list((tmp_path / "new").iterdir()) == []
    with pytest.raises(KeyboardInterrupt), working_folder(tmp_path / "new"):
        raise KeyboardInterrupt
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
def test_a_running_process_keeps_its_folder_however_long_it_takes(tmp_path):
    process, folder = _start(tmp_path)
    _age(folder)
    _sweep(tmp_path)
    assert (folder / "shards" / "one").exists()
    process.communicate("go on\n", timeout=60)
    assert process.returncode == 0
    assert not folder.exists()


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
def test_what_a_killed_process_left_goes_after_a_day(tmp_path):
    process, folder = _start(tmp_path)
    process.kill()
    process.communicate(timeout=60)
    _sweep(tmp_path)
    assert folder.exists()  # it may be of a machine whose locks are not seen here
    _age(folder)
    os.utime(folder / "shards" / "one")
    _sweep(tmp_path)
    assert folder.exists()  # something in it is new
    _age(folder)
    _sweep(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_killed_before_it_could_lock(tmp_path):
    for name in (".unfinished-a", ".unfinished-b"):
        (tmp_path / name).mkdir()
    _age(tmp_path / ".unfinished-a")
    _sweep(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".unfinished-b"]


def test_without_locks_nothing_is_swept(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    (tmp_path / ".unfinished-a").mkdir()
    (tmp_path / ".unfinished-a" / "lock").write_bytes(b"")
    _age(tmp_path / ".unfinished-a")
    _sweep(tmp_path)
    assert (tmp_path / ".unfinished-a").exists()
