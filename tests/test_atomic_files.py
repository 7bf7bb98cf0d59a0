"""Files are whole or absent, whoever writes them at once and whoever is killed; locks end with their process."""

import errno
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from fdetect_jax import files
from fdetect_jax.errors import UserError
from fdetect_jax.files import (
    check_folder,
    check_output,
    digest,
    hold,
    is_held,
    replacing,
    sha256_of,
    write_atomic,
    write_out,
)


def test_text_is_utf8_bytes_stay_and_folders_are_created(tmp_path):
    write_atomic(tmp_path / "a" / "b" / "text", "gün")
    write_atomic(tmp_path / "bytes", b"\x00\xff")
    assert (tmp_path / "a" / "b" / "text").read_bytes() == "gün".encode()
    assert (tmp_path / "bytes").read_bytes() == b"\x00\xff"
    write_atomic(tmp_path / "bytes", b"new")
    assert (tmp_path / "bytes").read_bytes() == b"new"
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "b", "bytes", "text"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_permissions_are_those_of_open(tmp_path, mask):
    before = os.umask(mask)
    try:
        write_atomic(tmp_path / "written", "")
        (tmp_path / "opened").write_text("")
    finally:
        os.umask(before)
    found, wanted = (stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("written", "opened"))
    assert found == wanted == 0o666 & ~mask


def test_an_exception_leaves_the_old_file(tmp_path):
    write_atomic(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "file") as temporary:
        temporary.write_text(f"half {1 // 0}")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]
    assert (tmp_path / "file").read_text() == "old"


def test_a_full_disk_is_named_with_the_file(tmp_path):
    path = tmp_path / "kept.txt"
    path.write_text("old")
    with pytest.raises(OSError, match=r"No space left on device: '.*kept\.txt'"), replacing(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as ``write`` raises it, without a name
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["kept.txt"]
    with pytest.raises(FileNotFoundError, match=r"'nowhere'"), replacing(path):
        Path("nowhere").read_bytes()


def test_a_long_name(tmp_path):
    write_atomic(tmp_path / ("n" * 255), "whole")
    assert (tmp_path / ("n" * 255)).read_text() == "whole"


def test_threads_write_one_path_at_once(tmp_path):
    errors, contents = [], [bytes([65 + n]) * 200_000 for n in range(8)]

    def write(content):
        try:
            for _ in range(10):
                write_atomic(tmp_path / "file", content)
                assert (tmp_path / "file").read_bytes() in contents
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=(content,)) for content in contents]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_two_containers_may_have_one_process_id(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: 7)
    with replacing(tmp_path / "file") as one, replacing(tmp_path / "file") as other:
        assert one != other
        one.write_text("one")
        other.write_text("other")
    assert (tmp_path / "file").read_text() == "one"  # the outer block ends last


_KILLED = """
import os, signal, sys
from fdetect_jax.files import replacing
with replacing(sys.argv[1]) as temporary:
    temporary.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(os.name == "nt", reason="signals")
def test_what_a_killed_writer_left_goes_after_a_week(tmp_path):
    assert subprocess.run([sys.executable, "-c", _KILLED, tmp_path / "file"]).returncode == -signal.SIGKILL
    (left,) = tmp_path.iterdir()
    files._remove_leftovers.cache_clear()
    write_atomic(tmp_path / "file", "whole")
    assert left.exists()  # its writer may be at work
    then = time.time() - 8 * 86400
    os.utime(left, (then, then))
    write_atomic(tmp_path / "file", "again")
    assert left.exists()  # one look a process and folder
    files._remove_leftovers.cache_clear()
    write_atomic(tmp_path / "file", "again")
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


_HOLDS = """
import sys
from fdetect_jax.files import hold
with hold(sys.argv[1]):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.mark.skipif(files.fcntl is None, reason="no locks")
def test_a_lock_ends_with_its_process(tmp_path):
    command = [sys.executable, "-c", _HOLDS, tmp_path / "lock"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "held\n"
    assert is_held(tmp_path / "lock")
    with pytest.raises(FileExistsError), hold(tmp_path / "lock"):
        pass
    process.kill()
    process.communicate()
    assert not is_held(tmp_path / "lock")
    with pytest.raises(FileNotFoundError):
        is_held(tmp_path / "none")


def test_without_locks_every_file_counts_as_held(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "fcntl", None)
    with hold(tmp_path / "lock"):
        assert is_held(tmp_path / "lock")
    assert is_held(tmp_path / "lock")


def test_sha256(tmp_path):
    (tmp_path / "x").write_bytes(b"abc")
    assert sha256_of(tmp_path / "x") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def test_digest_is_of_the_value():
    assert digest([]) == "4f53cda18c2baa0c"
    assert digest({"b": (1, 2), "a": None}) == digest({"a": None, "b": [1, 2]})
    assert len({digest(value) for value in ([1], [1.5], ["1"], [[1]], {"1": 1})}) == 5
    with pytest.raises(TypeError):
        digest(object())


def test_what_is_no_regular_file_is_written_through(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    reader.start()
    write_atomic(pipe, "rows")
    reader.join(10)
    assert read == [b"rows"]
    assert stat.S_ISFIFO(pipe.stat().st_mode)
    write_atomic("/dev/null", "rows")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    (tmp_path / "kept").write_text("old")
    (tmp_path / "link").symlink_to(tmp_path / "kept")
    write_atomic(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "kept").read_text() == "new"


@pytest.mark.parametrize("target", ["-", "/dev/stdout", "/dev/fd/1"])
def test_standard_output_keeps_what_was_printed(tmp_path, target):
    """Also where the shell sent it to a file, which must not be replaced."""
    script = f"from fdetect_jax.files import write_out; print('first'); write_out({target!r}, 'rows\\n'); print('last')"
    with open(tmp_path / "out", "wb") as out:
        subprocess.run([sys.executable, "-c", script], stdout=out, check=True)
    assert sorted((tmp_path / "out").read_text().split()) == ["first", "last", "rows"]
    piped = subprocess.run([sys.executable, "-c", script], capture_output=True, check=True, text=True).stdout
    assert piped.split() == ["first", "rows", "last"]


def test_a_name_that_is_no_utf8_is_written_as_its_escape(tmp_path, capsys):
    name = os.fsdecode(b"M\xfcller")
    write_atomic(tmp_path / "text", name)
    write_out("-", name)
    assert (tmp_path / "text").read_text() == capsys.readouterr().out == r"M\udcfcller"


def test_a_closed_standard_output_is_no_target(monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    with pytest.raises(UserError, match="--json: found the standard output closed"):
        check_output("-", "--json")


def test_outputs_are_checked_before_work(tmp_path):
    (tmp_path / "file").write_text("")
    check_output(tmp_path / "new" / "rows.json", "--json")
    check_output("-", "--json")
    check_output("/dev/null", "--json")
    check_folder(tmp_path / "new" / "folder", "--output")
    with pytest.raises(UserError, match="--json: found a folder at"):
        check_output(tmp_path, "--json")
    with pytest.raises(UserError, match="--json: found a file at"):
        check_output(tmp_path / "file" / "rows.json", "--json")
    with pytest.raises(UserError, match="--output: found a file at"):
        check_folder(tmp_path / "file", "--output")
    with pytest.raises(UserError, match="which cannot be written"):
        check_folder("/proc/1", "--output")
    with pytest.raises(UserError, match="which cannot be written"):
        check_output("/proc/rows.json", "--json")
