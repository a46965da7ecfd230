"""The process's side of a session: its file descriptors, its writer thread, and how it exits."""

from __future__ import annotations

import contextlib
import io
import os
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

DROP_ABOVE = 1 << 20  # queued bytes from which notifications that a later one replaces are dropped
PAUSE_ABOVE = 8 << 20  # queued bytes from which nothing more is read
FLUSH_S = 0.5
PARENT_POLL_S = 1.0


def claim_stdio() -> tuple[int, int]:
    """Move the protocol's descriptors to private ones and return them: (to read, to write).

    After this, 1 is stderr and 0 is empty: print(), a progress bar or a child process cannot corrupt the protocol or
    consume its input.
    """
    for fd in (0, 1, 2):
        _ensure_open(fd)
    if sys.platform == "win32":
        import msvcrt

        for fd in (0, 1):
            msvcrt.setmode(fd, os.O_BINARY)
    reading, writing = os.dup(0), os.dup(1)  # not inherited by children
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.close(null)
    os.dup2(2, 1)
    if sys.stderr is None:
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), errors="backslashreplace", write_through=True)
    if sys.stdout is None:
        sys.stdout = sys.stderr
    return reading, writing


def _ensure_open(fd: int) -> None:
    """Open missing standard descriptors: otherwise the next opened file would take their place."""
    try:
        os.fstat(fd)
    except OSError:
        null = os.open(os.devnull, os.O_RDWR)
        if null != fd:
            os.dup2(null, fd)
            os.close(null)


class Outbox:
    """Frames for the client, written by their own thread, so that a slow client stops nothing else."""

    def __init__(self, fd: int, on_broken: Callable[[], None]) -> None:
        self._fd = fd
        self._on_broken = on_broken
        self._frames: deque[bytes] = deque()
        self._changed = threading.Condition()
        self._n_queued = 0
        self._broken = False
        threading.Thread(target=self._run, name="midfill-write", daemon=True).start()

    @property
    def n_queued(self) -> int:
        """Number of bytes that the client has not read yet."""
        return self._n_queued

    def send(self, frame: bytes, *, droppable: bool = False) -> None:
        """Queue a frame. A frame that a later one replaces is dropped if the client is slow."""
        with self._changed:
            if self._broken or (droppable and self._n_queued > DROP_ABOVE):
                return
            self._frames.append(frame)
            self._n_queued += len(frame)
            self._changed.notify_all()

    def flush(self, timeout_s: float) -> None:
        """Wait until everything is written, but not for long."""
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while self._n_queued and not self._broken and (left := deadline - time.monotonic()) > 0:
                self._changed.wait(left)

    def wait_below(self, n_bytes: int, timeout_s: float) -> bool:
        """Wait until fewer bytes are queued; return False if that takes too long."""
        with self._changed:
            return self._changed.wait_for(lambda: self._n_queued <= n_bytes or self._broken, timeout_s)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._frames))
                frame = self._frames.popleft()
            try:
                _write_all(self._fd, frame)
            except OSError:
                with self._changed:
                    self._broken = True
                    self._frames.clear()
                    self._n_queued = 0
                    self._changed.notify_all()
                self._on_broken()
                return
            with self._changed:
                self._n_queued -= len(frame)
                self._changed.notify_all()


def _write_all(fd: int, frame: bytes) -> None:
    view = memoryview(frame)
    while view:
        view = view[os.write(fd, view[: 1 << 16]) :]


class Leaving:
    """The only way to exit. Threads that are stuck cannot keep the process alive."""

    def __init__(self, flush: Callable[[float], None]) -> None:
        self._flush = flush
        self._lock = threading.Lock()

    def leave(self, code: int) -> None:
        """End the process with ``code``, after a bounded flush. Any thread may call it; the first call wins."""
        if not self._lock.acquire(blocking=False):
            return
        try:
            threading.Thread(target=self._end, args=(code,), name="midfill-leave", daemon=True).start()
        except RuntimeError:  # no more threads
            os._exit(code)

    def _end(self, code: int) -> None:
        with contextlib.suppress(Exception):
            self._flush(FLUSH_S)
        os._exit(code)


def watch_parent(pid: int, on_gone: Callable[[], None]) -> None:
    """Call ``on_gone`` when the editor's process has ended. Not on Windows, where the end of its pipe says so."""
    if sys.platform == "win32" or pid <= 0:
        return

    def poll() -> None:
        while _alive(pid):
            time.sleep(PARENT_POLL_S)
        on_gone()

    threading.Thread(target=poll, name="midfill-parent", daemon=True).start()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:
        return True  # the process of another user, but alive
    try:
        stat = Path(f"/proc/{pid}/stat").read_bytes()
    except OSError:
        return True
    return stat.rpartition(b")")[2].split()[:1] not in ([b"Z"], [b"X"])
