"""Hashes of many files: right after every change, and no file is read twice."""

import hashlib
import os
import threading

import pytest

from fdetect_jax.datasets import content as module
from fdetect_jax.datasets.content import hash_files

NAMES = ["a.png", "deep/b.png", "none.png"]
LONG_AGO = 10**18  # ns


@pytest.fixture
def root(tmp_path):
    for name in NAMES[:2]:
        (tmp_path / "root" / name).parent.mkdir(parents=True, exist_ok=True)
        _write(tmp_path / "root" / name, name)
    return tmp_path / "root"


@pytest.fixture
def read(monkeypatch):
    """The names of the files that are read; all files count as settled."""
    names, original = [], module.sha256_of
    monkeypatch.setattr(module, "sha256_of", lambda path: (names.append(path.name), original(path))[1])
    monkeypatch.setattr(module, "_SETTLED", -(10**18))
    return names


def _write(path, text):
    path.write_text(text)
    os.utime(path, ns=(LONG_AGO, LONG_AGO))


def _wanted(root):
    return [hashlib.sha256((root / name).read_bytes()).hexdigest() for name in NAMES[:2]] + [None]


def test_files_are_read_once(root, read, tmp_path):
    index = tmp_path / "cache" / "index.json"
    assert hash_files(root, NAMES, index) == _wanted(root)
    assert sorted(read) == ["a.png", "b.png"]
    assert hash_files(root, NAMES, index) == _wanted(root)
    assert len(read) == 2


def test_what_changed_is_read_again(root, read, tmp_path):
    index = tmp_path / "index.json"
    hash_files(root, NAMES, index)
    _write(root / "a.png", "A.png")  # the same size and time of change
    assert hash_files(root, NAMES, index) == _wanted(root)
    assert read[2:] == ["a.png"]
    os.utime(root / "deep" / "b.png")
    assert hash_files(root, NAMES, index) == _wanted(root)
    assert read[3:] == ["b.png"]


@pytest.mark.parametrize("text", ["", "[]", '{"a.png": 1}', '{"a.png": [1, 2]}', "\x00", "[" * 100_000])
def test_a_lost_or_damaged_index_does_no_harm(root, read, tmp_path, text):
    index = tmp_path / "index.json"
    hash_files(root, NAMES, index)
    index.write_text(text)
    assert hash_files(root, NAMES, index) == _wanted(root)
    index.unlink()
    assert hash_files(root, NAMES, index) == _wanted(root)
    assert len(read) == 6


def test_a_file_that_may_still_change_is_not_put_into_the_index(root, read, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_SETTLED", 3600 * 10**9)
    for _ in range(2):
        hash_files(root, NAMES, tmp_path / "index.json")
    assert len(read) == 4


def test_an_index_that_cannot_be_written(root, read, tmp_path):
    (tmp_path / "file").write_text("")
    assert hash_files(root, NAMES, tmp_path / "file" / "index.json") == _wanted(root)


def test_an_interrupted_run_goes_on(root, read, tmp_path, monkeypatch):
    original = module.tqdm
    monkeypatch.setattr(module, "tqdm", lambda values, *_, **__: _interrupted(values))
    with pytest.raises(KeyboardInterrupt):
        hash_files(root, NAMES, tmp_path / "index.json")
    monkeypatch.setattr(module, "tqdm", original)
    del read[:]
    hash_files(root, NAMES, tmp_path / "index.json")
    assert read == ["b.png"]


def _interrupted(values):
    yield next(values)
    raise KeyboardInterrupt


def test_at_once(root, read, tmp_path):
    found = []
    work = lambda: found.append(hash_files(root, NAMES, tmp_path / "index.json"))  # noqa: E731
    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [_wanted(root)] * 8
