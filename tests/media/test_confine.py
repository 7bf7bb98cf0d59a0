"""Confined processes: each limit refuses what it is there to refuse, and the work goes on where a system lacks one."""

import ctypes
import errno
import os
import resource
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from fdetect_jax.media import confine, isolated, system_calls
from fdetect_jax.media.confine import NOBODY, TITLES, Confinement
from fdetect_jax.media.isolated import Workers, run_isolated
from fdetect_jax.media.limits import Rejected

FREE = Confinement(False, None, None, None, None, None, False, None)
STRANGER = 54321  # a user whom no system has
root = pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root may become another user")


@pytest.fixture
def folder():
    """Unlike ``tmp_path``, other users may enter it."""
    made = Path(tempfile.mkdtemp())
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
def confined():
    def run(confinement, function, items=(None,), **options):
        isolated.confine(confinement)
        return list(run_isolated(function, items, workers=1, seconds=60.0, **options))

    yield run
    isolated.confine(None)


@pytest.fixture(scope="module", autouse=True)
def holds():
    """Tests of what the machine lacks skip, with the reason that ``examine`` gives."""
    with tempfile.TemporaryDirectory() as made:
        found = isolated.examine(Confinement(folder=Path(made)))
    return lambda name: found[name] is True or pytest.skip(f"{TITLES[name]}: {found[name]}")


def failure_of(function, *arguments):
    """The number of the error that a call gives, or 0."""
    try:
        function(*arguments)
    except OSError as error:
        return error.errno
    return 0


def network(_):
    families = socket.AF_INET, socket.AF_INET6, getattr(socket, "AF_NETLINK", socket.AF_INET)
    opened = [failure_of(socket.socket, family, kind) for family in families for kind in (1, 2)]
    with socket.socket(socket.AF_UNIX) as local:
        connected = failure_of(local.connect, "/nowhere")
    one, other = socket.socketpair()
    one.sendall(b"x")
    return opened, connected, other.recv(1)


def test_no_network(confined, holds):
    holds("network")
    assert confined(replace(FREE, network=True), network) == [([errno.EPERM] * 6, errno.EPERM, b"x")]
    opened, connected, _ = confined(FREE, network)[0]
    assert errno.EPERM not in opened
    assert connected == errno.ENOENT


def calls(names):
    libc = ctypes.CDLL(None, use_errno=True)
    numbers = system_calls._MACHINES[os.uname().machine][1] | system_calls._SHARED
    found = {}
    for name in names:
        ctypes.set_errno(0)
        libc.syscall(ctypes.c_long(numbers[name]), *[ctypes.c_long(0)] * 6)
        found[name] = ctypes.get_errno()
    ctypes.set_errno(0)
    libc.syscall(ctypes.c_long(0x40000000 | numbers["socket"]), 2, 1, 0)
    return found, ctypes.get_errno()


def test_no_reach_into_other_processes_mounts_or_the_kernel(confined, holds):
    holds("filter")
    names = [*system_calls._ALWAYS, "io_uring_setup"]
    ((found, of_x32),) = confined(replace(FREE, network=True), calls, [names])
    assert found == dict.fromkeys(names, errno.EPERM)
    assert of_x32 == (errno.EPERM if os.uname().machine == "x86_64" else errno.ENOSYS)


@pytest.mark.parametrize("machine", system_calls._MACHINES)
def test_the_filter_of_each_machine(machine):
    """The program is run by hand, as the kernel would: of another machine there is no kernel here."""
    number, own = system_calls._MACHINES[machine]
    lines = system_calls._lines(number, own | system_calls._SHARED, machine == "x86_64", True, True)
    assert len(lines) < 256  # the jumps are of one byte

    def run(call, first=0, machine=number):
        loaded, at = 0, 0
        while True:
            code, yes, no, value = lines[at]
            if code == system_calls._RETURN:
                return value
            if code == system_calls._LOAD:
                loaded, jump = {0: call, 4: machine, 16: first}[value], 0
            else:
                tests = {system_calls._EQUAL: loaded == value, system_calls._AT_LEAST: loaded >= value}
                jump = yes if tests.get(code, bool(loaded & value)) else no
            at += 1 + jump

    allowed, refused = 0x7FFF0000, 0x00050000 | errno.EPERM
    assert run(own["socket"], socket.AF_UNIX) == run(own["clone"], 0x3D0F00) == run(0) == allowed
    assert run(own["socket"], socket.AF_INET) == run(own["clone"], 17) == run(own["execve"]) == refused
    assert run(own["ptrace"]) == run(own["connect"]) == run(0, machine=0x40000003) == refused
    assert run(435) == 0x00050000 | errno.ENOSYS


def allocate(size):
    return len(bytearray(size))


def test_memory(confined, holds):
    holds("memory")
    items = [1 << 20, 1 << 30, 2 << 20]
    expected = [1 << 20, Rejected("needs more than 256 MiB of memory"), 2 << 20]
    assert confined(replace(FREE, memory=256 << 20), allocate, items) == expected


def fail_with_little_left(size):
    held = bytearray(size)
    raise SystemError(f"error return without exception set, {len(held)} bytes")


def test_odd_errors_where_little_memory_is_left(confined, holds):
    holds("memory")
    little, enough = confined(replace(FREE, memory=256 << 20), fail_with_little_left, [240 << 20, 100 << 20])
    assert little == Rejected("needs more than 256 MiB of memory")
    assert "SystemError" in enough.reason


def abort(_):
    os.abort()


def test_libraries_that_abort_without_memory(confined):
    (found,) = confined(replace(FREE, memory=1 << 30), abort)
    assert "SIGABRT" in found.reason
    assert "only 1 GiB of memory" in found.reason


def compute(seconds):
    end = time.process_time() + seconds
    while time.process_time() < end:
        pass
    return os.getpid()


def test_processor_time_counts_for_each_item(confined, holds):
    holds("cpu_seconds")
    first, *others = confined(replace(FREE, cpu_seconds=1.0), compute, [0.8, 0.8, 0.8, 30.0, 0.0])
    assert others[:2] == [first, first]
    assert others[2] == Rejected("took over 1 seconds of processor time")
    assert isinstance(others[3], int)


def write(size):
    with tempfile.NamedTemporaryFile() as file:
        file.write(bytes(size))
    return os.path.dirname(file.name), stat.S_IMODE(os.stat(tempfile.gettempdir()).st_mode)


def test_large_files(confined, holds, folder):
    holds("file_bytes")
    found = confined(replace(FREE, file_bytes=1 << 20, folder=folder), write, [1000, 2 << 20])
    assert found[1] == Rejected("would write a file of more than 1 MiB")
    where, mode = found[0]
    assert Path(where).parent == folder
    assert mode == 0o700
    assert list(folder.iterdir()) == []


def leave_behind(item):
    Path(tempfile.gettempdir(), "left").touch()
    if item:
        os.kill(os.getpid(), 9)
    return tempfile.gettempdir()


def test_temporary_files_of_a_killed_process_are_removed(folder):
    with_folder = replace(FREE, folder=folder)
    workers = Workers(leave_behind, workers=1, seconds=60.0, keep=True, confinement=with_folder)
    killed, where = workers.run([1, 0])
    assert isinstance(killed, Rejected)
    assert [str(one) for one in folder.iterdir()] == [where]
    workers.close()
    assert list(folder.iterdir()) == []


def open_many(_):
    held = []
    try:
        while True:
            held.append(os.open(os.devnull, os.O_RDONLY))
    except OSError as error:
        return error.errno, len(held)
    finally:
        for one in held:
            os.close(one)


def test_open_files(confined, holds):
    holds("open_files")
    ((failure, number),) = confined(replace(FREE, open_files=50), open_many)
    assert failure == errno.EMFILE
    assert 20 < number < 50


def multiply(_):
    thread = threading.Thread(target=int)
    thread.start()
    thread.join()
    return failure_of(os.fork), failure_of(subprocess.run, [sys.executable, "-c", ""])


def test_no_other_programs_but_threads(confined, holds):
    holds("filter")
    assert confined(replace(FREE, processes=100), multiply) == [(errno.EPERM, errno.EPERM)]


def without_filter():
    def refuse(network, programs):
        raise OSError(errno.ENOSYS, "this kernel has no filters")

    system_calls.refuse = refuse
    if os.geteuid() == 0:  # whose processes are not counted
        os.setuid(STRANGER)


def bomb(_):
    running, end = [], threading.Event()
    try:
        for _ in range(500):
            running.append(threading.Thread(target=end.wait))
            running[-1].start()
    except RuntimeError:
        return failure_of(os.fork), len(running) - 1
    finally:
        end.set()
        for one in running[:-1]:
            one.join()
    return 0, len(running)


@pytest.mark.skipif(sys.platform != "linux", reason="processes are counted in /proc")
def test_without_a_filter_the_users_processes_are_limited(confined):
    failure, number = confined(replace(FREE, processes=40), bomb, initializer=without_filter)[0]
    assert failure == errno.EAGAIN
    assert 0 < number < 300  # the user's other processes come and go


def user_of(program):
    return subprocess.run([program, "-u"], capture_output=True, text=True, check=True).stdout.strip()


def become_stranger(gain_nothing=True):
    os.setgroups([])
    os.setgid(STRANGER)
    os.setuid(STRANGER)
    if not gain_nothing:
        system_calls.gain_nothing = int
        system_calls.refuse = max  # which needs it


@root
def test_a_setuid_program_gains_nothing(confined, holds, folder):
    holds("privileges")
    program = folder / "id"
    shutil.copy(shutil.which("id"), program)
    program.chmod(0o4755)
    if confined(FREE, user_of, [program], initializer=become_stranger, initargs=(False,)) != ["0"]:
        pytest.skip("setuid programs gain nothing in this folder anyway")
    assert confined(FREE, user_of, [program], initializer=become_stranger) == [str(STRANGER)]


def open_for_all():
    confine._closed = lambda folders: None  # Python's own folder may be closed to others here


def who(path):
    back = failure_of(os.setuid, 0), failure_of(os.setgid, 0), failure_of(os.setgroups, [0])
    owner = os.stat(tempfile.gettempdir()).st_uid
    with tempfile.TemporaryFile() as file:
        file.write(b"x")
    return (os.getresuid(), os.getresgid(), os.getgroups()), back, owner, failure_of(open, path)


@root
def test_root_becomes_nobody(confined, folder):
    secret, given = folder / "secret", folder / "given"
    for path in (secret, given):
        path.write_text("x")
        path.chmod(0o600)
    confinement = replace(FREE, user=True, folder=folder)
    confinement.give(given)
    found, opened = confined(confinement, who, [secret, given], initializer=open_for_all)
    everywhere = ((NOBODY,) * 3, (NOBODY,) * 3, [])
    assert found == (everywhere, (errno.EPERM,) * 3, NOBODY, errno.EACCES)
    assert opened[3] == 0
    assert {path.name for path in folder.iterdir()} == {"secret", "given"}


def close_a_folder(path):
    confine.__file__ = str(path)


def held(_):
    return isolated._held, os.getuid()


@root
def test_root_stays_where_nobody_could_not_read_the_code(confined, tmp_path):
    hidden = tmp_path / "code.py"
    hidden.touch(mode=0o600)
    ((found, user),) = confined(replace(FREE, user=True), held, initializer=close_a_folder, initargs=(hidden,))
    assert f"user {NOBODY} could not read" in found["user"]
    assert user == 0


def lose_everything():
    confine.resource = None
    os.uname = lambda: os.uname_result(("", "", "", "", "m68k"))
    system_calls.gain_nothing = lambda: system_calls._checked(-1)


def test_what_a_system_lacks_is_named_and_the_work_is_done(confined, folder):
    everything = Confinement(user=False, folder=folder / "missing")
    ((found, _),) = confined(everything, held, initializer=lose_everything)
    assert set(found) == set(TITLES) - {"user"}
    assert all(isinstance(reason, str) and reason for reason in found.values())
    assert "m68k" in found["network"]


def test_limits_never_rise_above_those_of_the_system(confined):
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    assert confined(replace(FREE, open_files=hard * 2), held)[0][0]["open_files"] is True


def test_pools_keep_what_they_were_made_with(confined, folder):
    isolated.confine(replace(FREE, folder=folder))
    workers = Workers(held, workers=1, seconds=60.0)
    isolated.confine(None)
    assert next(workers.run([None]))[0]["folder"] is True
    assert confined(None, held)[0][0] == {}
