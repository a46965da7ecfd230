"""The inside of the sandbox: a script that shuts itself in, then runs a program.

It is started by its path in an isolated interpreter (``-I -S``), so it uses only the standard library. Linux only:
seccomp allows only what computing needs. Even root cannot make or change files, start processes or threads, open
sockets, signal other processes or raise limits. A program can read files, but it cannot send out what it reads: what it
prints is ignored.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import struct
import sys

# System calls by number: (x86-64, arm64); -1 if an architecture does not have one.
ALLOWED = {
    "read": (0, 63), "write": (1, 64), "writev": (20, 66), "close": (3, 57), "fstat": (5, 80), "stat": (4, -1),
    "lstat": (6, -1), "newfstatat": (262, 79), "statx": (332, 291), "lseek": (8, 62), "pread64": (17, 67),
    "access": (21, -1), "faccessat": (269, 48), "faccessat2": (439, 439), "getdents64": (217, 61), "getcwd": (79, 17),
    "readlink": (89, -1), "readlinkat": (267, 78), "dup": (32, 23), "mmap": (9, 222), "munmap": (11, 215),
    "mremap": (25, 216), "mprotect": (10, 226), "madvise": (28, 233), "brk": (12, 214), "futex": (202, 98),
    "sched_yield": (24, 124), "sched_getaffinity": (204, 123), "rt_sigaction": (13, 134), "rt_sigprocmask": (14, 135),
    "rt_sigreturn": (15, 139), "sigaltstack": (131, 132), "getpid": (39, 172), "gettid": (186, 178),
    "getuid": (102, 174), "geteuid": (107, 175), "getgid": (104, 176), "getegid": (108, 177), "getrusage": (98, 165),
    "times": (100, 153), "uname": (63, 160), "sysinfo": (99, 179), "clock_gettime": (228, 113),
    "clock_getres": (229, 114), "clock_nanosleep": (230, 115), "nanosleep": (35, 101), "gettimeofday": (96, 169),
    "time": (201, -1), "getrandom": (318, 278), "restart_syscall": (219, 128), "exit": (60, 93),
    "exit_group": (231, 94),
}  # fmt: skip
# Opening only to read. (x86-64, arm64), and which argument holds the flags.
OPENING = (((2, -1), 1), ((257, 56), 2))
WRITING = 0o1 | 0o2 | 0o100 | 0o1000 | 0o20000000  # O_WRONLY, O_RDWR, O_CREAT, O_TRUNC, O_TMPFILE's own bit
MACHINES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}  # index in the pairs above, AUDIT_ARCH

LOAD, IF_EQUAL, IF_ANY_BIT, RETURN = 0x20, 0x15, 0x45, 0x06  # classic BPF
ALLOW, REFUSE, KILL = 0x7FFF0000, 0x00050001, 0x80000000  # a refused call fails with EPERM
NUMBER, ARCH, ARGUMENTS = 0, 4, 16  # offsets in seccomp_data
SET_DUMPABLE, SET_SECCOMP, SET_NO_NEW_PRIVS, MODE_FILTER = 4, 22, 38, 2  # prctl

Instruction = tuple[int, int, int, int]  # code, jump if true, jump if false, constant


def instructions(machine: str) -> list[Instruction]:
    """Return the filter. Raises KeyError for an unknown machine."""
    at, arch = MACHINES[machine]
    program: list[Instruction] = [
        (LOAD, 0, 0, ARCH), (IF_EQUAL, 1, 0, arch), (RETURN, 0, 0, KILL), (LOAD, 0, 0, NUMBER),
    ]  # fmt: skip
    for numbers in ALLOWED.values():
        if numbers[at] >= 0:
            program += [(IF_EQUAL, 0, 1, numbers[at]), (RETURN, 0, 0, ALLOW)]
    for numbers, flags in OPENING:
        if numbers[at] >= 0:
            program += [
                (IF_EQUAL, 0, 4, numbers[at]), (LOAD, 0, 0, ARGUMENTS + 8 * flags), (IF_ANY_BIT, 0, 1, WRITING),
                (RETURN, 0, 0, REFUSE), (RETURN, 0, 0, ALLOW),
            ]  # fmt: skip
    return [*program, (RETURN, 0, 0, REFUSE)]


def shut(limits: dict[str, int]) -> None:
    """From here on allow only computing, within ``limits`` (of ``resource``). Raises OSError or KeyError if that is
    impossible."""
    for name, value in limits.items():
        resource.setrlimit(getattr(resource, name), (value, value))
    code = b"".join(struct.pack("HBBI", *one) for one in instructions(os.uname().machine))
    buffer = ctypes.create_string_buffer(code, len(code))
    program = struct.pack("HxxxxxxP", len(code) // 8, ctypes.addressof(buffer))
    for call in ((SET_NO_NEW_PRIVS, 1, None), (SET_DUMPABLE, 0, None), (SET_SECCOMP, MODE_FILTER, program)):
        _prctl(*call)


def _prctl(option: int, value: int, pointer: bytes | None) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(option, ctypes.c_ulong(value), pointer, ctypes.c_ulong(0), ctypes.c_ulong(0)):
        raise OSError(ctypes.get_errno(), "the kernel does not shut the sandbox")


def main() -> None:
    """Read the job from standard input and run its program; write the job's word if the program comes to its end.

    A program that ends the interpreter, even with status 0, never gets to write it.
    """
    job = json.loads(sys.stdin.buffer.read())
    says = os.dup(1)
    nothing = os.open(os.devnull, os.O_RDWR)
    for standard in (0, 1):
        os.dup2(nothing, standard)
    shut(job["limits"])
    exec(compile(job["program"], "program", "exec"), {"__name__": "program"})  # noqa: S102 - what the sandbox is for
    os.write(says, job["word"].encode())


if __name__ == "__main__":
    main()
