"""The parent of an engine that a front end starts: keeps its log bounded, and writes down how it ended.

Run as a script, with the standard library only, so that it is small and starts at once. What the engine and its native
code write to standard output and error comes through a pipe into a ring of two files; a process of its own reads it,
since a thread of the engine could not while native code holds Python's lock. When the engine has stopped, its exit
status and its last line are in the runtime folder, where every window finds them.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import sys

RING_BYTES = 2_500_000  # bytes of each of the two files
CHUNK = 1 << 16
TAIL = 4096
LAST_CHARS = 200


class Ring:
    """``path`` and ``path.1``, together at most 5 MB. Several engines may write to it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._descriptor = -1
        with contextlib.suppress(OSError):
            self._open()

    def write(self, data: bytes) -> None:
        """Add ``data``; whatever the disk refuses is lost."""
        with contextlib.suppress(OSError):
            if not self._is_current():
                self._open()
            if os.fstat(self._descriptor).st_size + len(data) > RING_BYTES:
                os.replace(self._path, self._path + ".1")  # noqa: PTH105 - nothing is imported that is not needed
                self._open()
            os.write(self._descriptor, data)

    def _is_current(self) -> bool:
        """Whether the open file still has that name: another engine's keeper may have renamed it."""
        if self._descriptor < 0:
            return False
        try:
            mine, named = os.fstat(self._descriptor), os.stat(self._path)  # noqa: PTH116
        except OSError:
            return False
        return (mine.st_ino, mine.st_dev) == (named.st_ino, named.st_dev)

    def _open(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
        self._descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)


def main() -> int:
    """Run ``keeper.py LOG END COMMAND``: the command is JSON, and LOG may be empty. Returns the engine's
    exit status."""
    log, end, command = sys.argv[1], sys.argv[2], json.loads(sys.argv[3])
    reading, writing = os.pipe()
    waking, waker = os.pipe()
    os.set_blocking(waker, False)
    signal.set_wakeup_fd(waker)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    pid = os.fork()
    if pid == 0:
        _become(command, writing)
    os.close(writing)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # this process ends when the engine does
    tail = _copy(pid, reading, waking, Ring(log) if log else None)
    code = _ended[pid]
    if code != 0 and _recorded(end) != pid:
        _write(end, {"pid": pid, "keeper": os.getpid(), "code": code, **last_words(tail)})
    return code if code >= 0 else 128 - code


def _become(command: list[str], writing: int) -> None:
    """Turn this process into the engine."""
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.dup2(writing, 1)
        os.dup2(writing, 2)
        os.execv(command[0], command)  # noqa: S606 - our own interpreter
    finally:
        os._exit(127)


_ended: dict[int, int] = {}


def _copy(pid: int, reading: int, waking: int, ring: Ring | None) -> bytes:
    """Copy the output into the ring until the engine has stopped, even if a child of it still holds the pipe.

    Returns the last bytes.
    """
    tail, is_open = b"", True
    while not _is_over(pid):
        ready, _, _ = select.select([waking, *([reading] if is_open else [])], [], [])
        if waking in ready:
            os.read(waking, 512)
        if reading in ready:
            data = os.read(reading, CHUNK)
            is_open = bool(data)
            tail = _keep(tail, data, ring)
    while is_open and select.select([reading], [], [], 0)[0] and (data := os.read(reading, CHUNK)):
        tail = _keep(tail, data, ring)
    return tail


def _keep(tail: bytes, data: bytes, ring: Ring | None) -> bytes:
    if ring is not None and data:
        ring.write(data)
    return (tail + data)[-TAIL:]


def _is_over(pid: int) -> bool:
    if pid not in _ended:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            _ended[pid] = os.waitstatus_to_exitcode(status)
    return pid in _ended


def _recorded(end: str) -> int:
    """Return the process whose end is recorded already: a language server that kills a stuck engine records why."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError), open(end, "rb") as stream:  # noqa: PTH123
        return int(json.loads(stream.read(TAIL))["pid"])
    return 0


def last_words(tail: bytes) -> dict[str, str]:
    """Return the engine's last words: its own message and remedy if there are any, else the last line."""
    lines = [line.strip() for line in tail.decode("utf-8", "replace").splitlines() if line.strip()]
    own = [number for number, line in enumerate(lines) if line.startswith("midfill: ")]
    if not own:
        return {"last": _printable("".join(lines[-1:])), "remedy": ""}
    after = "".join(lines[own[-1] + 1 : own[-1] + 2])
    remedy = after.removeprefix("->").strip() if after.startswith("->") else ""
    return {"last": _printable(lines[own[-1]].removeprefix("midfill: ")), "remedy": _printable(remedy)}


def _printable(text: str) -> str:
    return "".join(char if char.isprintable() else "?" for char in text[:LAST_CHARS])


def _write(path: str, content: dict[str, object]) -> None:
    """Write the file completely or not at all, readable by the user alone."""
    temporary = f"{path}.{os.getpid()}.tmp"
    with contextlib.suppress(OSError):
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(descriptor, json.dumps(content).encode())
        os.close(descriptor)
        os.replace(temporary, path)  # noqa: PTH105


if __name__ == "__main__":
    sys.exit(main())
