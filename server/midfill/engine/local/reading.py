"""A file of weights, whole, in private memory and hashed; begun before torch is there to use it.

Importing torch and transformers takes about as long as reading half a gigabyte and hashing it, and the two need
different things. So whoever starts an engine says early which file it will want (``ahead``), and ``read_whole`` then
waits for that reading instead of doing its own. Standard library only.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from midfill.types import MidfillError

PIECE = 16 << 20


@dataclass(slots=True)
class _Reading:
    """One file as it is being read. ``data`` and ``sha256``, or ``error``, once it is over."""

    file: Path
    stamp: tuple[int, int, int]
    condition: threading.Condition = field(default_factory=threading.Condition)
    n_read: int = 0
    over: bool = False
    data: mmap.mmap | bytearray | None = None
    sha256: str = ""
    error: OSError | None = None

    def run(self) -> None:
        """Read it. For a thread of its own."""
        try:
            self.data, self.sha256 = _read(self.file, self._on_bytes, hashed=True)
        except OSError as error:
            self.error = error
        with self.condition:
            self.over = True
            self.condition.notify_all()

    def _on_bytes(self, n: int) -> None:
        with self.condition:
            self.n_read += n
            self.condition.notify_all()

    def wait(self, on_bytes: Callable[[int], None]) -> None:
        """Until it is over."""
        told = 0
        while True:
            with self.condition:
                while not self.over and self.n_read == told:
                    self.condition.wait()
                n, over = self.n_read - told, self.over
            told += n
            if n:
                on_bytes(n)
            if over:
                return


_ahead: dict[Path, _Reading] = {}


def ahead(file: Path) -> None:
    """Begin to read ``file``, for the ``read_whole`` that comes. Whatever is wrong with it is told then."""
    with contextlib.suppress(OSError):
        reading = _Reading(file, _stamp(file))
        _ahead[file] = reading
        threading.Thread(target=reading.run, name="midfill-reading", daemon=True).start()


def read_whole(
    file: Path, *, sha256: str | None = None, on_bytes: Callable[[int], None] = lambda n: None
) -> mmap.mmap | bytearray:
    """The bytes of ``file``. ``on_bytes`` is told how many each read brought.

    Raises MidfillError, naming the file, where it cannot be read or has another sha256.
    """
    reading = _ahead.pop(file, None)
    _ahead.clear()  # what else was begun is not wanted any more
    try:
        if reading is not None and reading.stamp == _stamp(file):
            reading.wait(on_bytes)
            if reading.error is not None:
                raise reading.error
            assert reading.data is not None
            data, found = reading.data, reading.sha256
        else:
            data, found = _read(file, on_bytes, hashed=sha256 is not None)
    except OSError as error:
        raise MidfillError(f"cannot read {file}: {error.strerror}", "prepare the model again") from error
    if sha256 is not None and found != sha256:
        raise MidfillError(
            f"{file} is damaged: its sha256 is not the recorded one", "run: midfill model prepare --force"
        )
    return data


def _stamp(file: Path) -> tuple[int, int, int]:
    info = file.stat()
    return info.st_mtime_ns, info.st_size, info.st_ino


def _read(file: Path, on_bytes: Callable[[int], None], *, hashed: bool) -> tuple[mmap.mmap | bytearray, str]:
    size = file.stat().st_size
    data = _memory(size)
    digest = hashlib.sha256()
    at = 0
    with memoryview(data) as view, file.open("rb", buffering=0) as stream:
        while at < size:
            with view[at : at + PIECE] as piece:
                n = stream.readinto(piece)
                if not n:
                    break  # shorter than it was: its header, or its sha256, will tell
                if hashed:
                    digest.update(piece[:n])
            at += n
            on_bytes(n)
    return data, digest.hexdigest()


def _memory(size: int) -> mmap.mmap | bytearray:
    """``size`` bytes of our own, in large pages where there are any: small ones take a second to make."""
    if not size or not hasattr(mmap, "MAP_PRIVATE"):
        return bytearray(size)
    data = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with contextlib.suppress(AttributeError, OSError, ValueError):
        data.madvise(mmap.MADV_HUGEPAGE)
    return data
