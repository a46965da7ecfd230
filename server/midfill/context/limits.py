"""Limits of a process that works on hostile input: memory, processor time, and the end of its parent.

Limits that a system does not have are left out: macOS does not limit a process's data, Windows limits nothing. There,
the process that waits for the answer watches the clock and the resident memory (``resident``).
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import sys
import threading
import time

MAX_MEMORY = 192 << 20  # bytes of data; code that people write takes up to 25 MB of it, including 200 kB of text
MAX_CPU_S = 2.0  # of one text
PARENT_S = 1.0  # between two checks whether the parent is still there
NICE = 10
_PR_SET_PDEATHSIG = 1


def take_least() -> None:
    """Give way to everything that the user does: the editor, the engine, a build."""
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)


def limit_memory(n_bytes: int) -> None:
    """Let no allocation take the process past ``n_bytes`` of data; write no core file if one does."""
    with contextlib.suppress(ImportError, OSError, ValueError, AttributeError):
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_DATA, (n_bytes, n_bytes))


def limit_time(seconds: float) -> None:
    """End the process once it has used this much more processor time; 0 removes the limit.

    The kernel does it, since Python code cannot run during a grammar's loop.
    """
    with contextlib.suppress(OSError, AttributeError):
        signal.setitimer(signal.ITIMER_PROF, seconds)


def end_with_parent(parent: int) -> None:
    """End the process when its ``parent`` is gone, however that ended."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.name == "posix":
        threading.Thread(target=_watch, args=(parent,), name="midfill-parent", daemon=True).start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(PARENT_S)
    os._exit(0)


def resident(pid: int) -> int | None:
    """Return the resident memory of another process in bytes; None if the system does not report it."""
    try:
        if sys.platform == "linux":
            with open(f"/proc/{pid}/statm", "rb") as stream:  # noqa: PTH123 - twenty times a second
                return int(stream.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        if sys.platform == "darwin":
            return _resident_on_macos(pid)
        if sys.platform == "win32":
            return _resident_on_windows(pid)
    except (OSError, ValueError, IndexError, AttributeError):
        return None
    return None


def _resident_on_macos(pid: int) -> int | None:
    """``proc_pidinfo`` with PROC_PIDTASKINFO: virtual size, resident size, and more, 96 bytes in all."""
    info = (ctypes.c_uint64 * 12)()
    size = ctypes.sizeof(info)
    n_written = ctypes.CDLL("/usr/lib/libproc.dylib").proc_pidinfo(pid, 4, ctypes.c_uint64(0), info, size)
    return int(info[1]) if n_written == size else None


def _resident_on_windows(pid: int) -> int | None:
    """``GetProcessMemoryInfo``: two counters of 32 bits, then sizes; the second size is the working set."""
    if sys.platform != "win32":
        return None
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.OpenProcess.restype = ctypes.c_void_p
    handle = kernel.OpenProcess(0x1000 | 0x0010, False, pid)  # query limited information, read memory
    if not handle:
        return None
    counters = (ctypes.c_size_t * 10)()
    try:
        asked = kernel.K32GetProcessMemoryInfo(ctypes.c_void_p(handle), counters, ctypes.sizeof(counters))
        return int(counters[2]) if asked else None
    finally:
        kernel.CloseHandle(ctypes.c_void_p(handle))
