"""A filter of system calls (seccomp, Linux). In: what this process must not do any more. Out: the kernel refuses it.

The filter is a program of classic BPF, as seccomp(2) describes it. It holds for every thread of the process and for
whatever it starts, and cannot be taken back.
"""

import ctypes
import errno
import os
import socket
import sys

_NO_NEW_PRIVILEGES = 38  # of prctl
_SET_FILTER, _ALL_THREADS = 1, 1  # of seccomp
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06  # instructions of BPF
_NUMBER, _MACHINE, _FIRST = 0, 4, 16  # where seccomp_data has the call, the machine, and the first argument
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000  # what the filter returns; the error's number is added to the second
_NEW_THREAD = 0x00010000  # a flag of clone
_X32 = 0x40000000  # calls from here on are another set of numbers, on x86-64

# The kernel's name of a machine, its number, and the numbers of its calls; those from 424 on are the same everywhere.
_MACHINES = {
    "x86_64": (
        0xC000003E,
        {
            **{"socket": 41, "connect": 42, "bind": 49, "clone": 56, "fork": 57, "vfork": 58, "execve": 59},
            **{"execveat": 322, "ptrace": 101, "process_vm_readv": 310, "process_vm_writev": 311, "mount": 165},
            **{"umount2": 166, "pivot_root": 155, "chroot": 161, "setns": 308, "unshare": 272, "bpf": 321},
            **{"keyctl": 250, "add_key": 248, "request_key": 249, "kexec_load": 246, "kexec_file_load": 320},
            **{"init_module": 175, "finit_module": 313, "delete_module": 176, "perf_event_open": 298},
            **{"userfaultfd": 323, "open_by_handle_at": 304, "kcmp": 312, "seccomp": 317},
        },
    ),
    "aarch64": (
        0xC00000B7,
        {
            **{"socket": 198, "connect": 203, "bind": 200, "clone": 220, "execve": 221, "execveat": 281},
            **{"ptrace": 117, "process_vm_readv": 270, "process_vm_writev": 271, "mount": 40, "umount2": 39},
            **{"pivot_root": 41, "chroot": 51, "setns": 268, "unshare": 97, "bpf": 280, "keyctl": 219},
            **{"add_key": 217, "request_key": 218, "kexec_load": 104, "kexec_file_load": 294, "init_module": 105},
            **{"finit_module": 273, "delete_module": 106, "perf_event_open": 241, "userfaultfd": 282},
            **{"open_by_handle_at": 265, "kcmp": 272, "seccomp": 277},
        },
    ),
}
_SHARED = {
    **{"io_uring_setup": 425, "open_tree": 428, "move_mount": 429, "fsopen": 430, "clone3": 435, "pidfd_getfd": 438},
    **{"process_madvise": 440, "mount_setattr": 442},
}
# io_uring would open sockets without the call that is refused. A connection could leave by a service of this machine.
_NETWORK = ("connect", "bind", "io_uring_setup")
_PROGRAMS = ("fork", "vfork", "execve", "execveat")
_ALWAYS = (
    *("ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "pidfd_getfd", "kcmp"),
    *("mount", "umount2", "pivot_root", "chroot", "setns", "unshare", "open_tree", "move_mount", "fsopen"),
    *("mount_setattr", "open_by_handle_at", "bpf", "perf_event_open", "userfaultfd"),
    *("keyctl", "add_key", "request_key"),
    *("kexec_load", "kexec_file_load", "init_module", "finit_module", "delete_module"),
)


class _Instruction(ctypes.Structure):
    _fields_ = (("code", ctypes.c_uint16), ("yes", ctypes.c_uint8), ("no", ctypes.c_uint8), ("value", ctypes.c_uint32))


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_uint16), ("instructions", ctypes.POINTER(_Instruction)))


def gain_nothing() -> None:
    """From now on no program that this process runs has more rights than it: setuid files gain nothing.

    Raises OSError where the system has no such thing.
    """
    if sys.platform != "linux":
        raise OSError(errno.ENOSYS, "only Linux has it")
    _checked(_libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))


def refuse(network: bool, programs: bool) -> None:
    """Refuses, with EPERM, whatever reaches into other processes, into the kernel or into mounts. After
    ``gain_nothing``.

    network: refuses also every new socket but those of AF_UNIX, and every connection; pipes and sockets that are open,
    and ``socketpair``, go on. programs: refuses also new processes; new threads go on.

    Raises OSError where the system has no such filters, or where this machine's calls are not known here.
    """
    machine = os.uname().machine if sys.platform == "linux" else sys.platform
    if machine not in _MACHINES or sys.maxsize < 1 << 32:
        raise OSError(errno.ENOSYS, f"no filter is known for {machine}, {sys.maxsize.bit_length() + 1} bits")
    number, calls = _MACHINES[machine]
    lines = _lines(number, calls | _SHARED, machine == "x86_64", network, programs)
    instructions = (_Instruction * len(lines))(*lines)
    program = _Program(len(lines), instructions)
    call = ctypes.c_long(calls["seccomp"])
    _checked(_libc().syscall(call, _SET_FILTER, _ALL_THREADS, ctypes.byref(program)))


def _lines(machine: int, calls: dict[str, int], x32: bool, network: bool, programs: bool) -> list[tuple]:
    """(code, lines to skip if so, lines to skip if not, value) of every instruction."""
    refused = _RETURN, 0, 0, _REFUSE | errno.EPERM
    allowed = _RETURN, 0, 0, _ALLOW
    lines = [(_LOAD, 0, 0, _MACHINE), (_EQUAL, 1, 0, machine), refused, (_LOAD, 0, 0, _NUMBER)]
    if x32:
        lines += [(_AT_LEAST, 0, 1, _X32), refused]
    for name in (*_ALWAYS, *(_NETWORK if network else ()), *(_PROGRAMS if programs else ())):
        if name in calls:  # fork and vfork are not, on aarch64
            lines += [(_EQUAL, 0, 1, calls[name]), refused]
    first = _LOAD, 0, 0, _FIRST
    if network:
        lines += [(_EQUAL, 0, 4, calls["socket"]), first, (_EQUAL, 0, 1, socket.AF_UNIX), allowed, refused]
    if programs:
        # The C library falls back to clone, whose flags are in a register, where clone3 does not exist.
        lines += [(_EQUAL, 0, 1, calls["clone3"]), (_RETURN, 0, 0, _REFUSE | errno.ENOSYS)]
        lines += [(_EQUAL, 0, 4, calls["clone"]), first, (_ANY_BIT, 0, 1, _NEW_THREAD), allowed, refused]
    return [*lines, allowed]


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(result: int) -> None:
    if result > 0:
        raise OSError(errno.EAGAIN, f"thread {result} has a filter of its own")
    if result:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
