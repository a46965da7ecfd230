"""The sha256 of the weights, computed while torch is imported: a start does two things that take a second at once.

Without torch, so that it can begin before it.
"""

from __future__ import annotations

import hashlib
import os
import threading
from pathlib import Path

from midfill.engine.local.store import models
from midfill.engine.local.store.manifest import INT8
from midfill.types import MidfillError

# One call that reads or hashes this much does not hold Python's lock, which the import of torch wants all the time.
BLOCK = 32 << 20

_begun: dict[Path, Hashing] = {}


class Hashing:
    """A file that is being hashed."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._identity: tuple[int, ...] = ()
        self._digest = ""
        self._thread = threading.Thread(target=self._hash, name="midfill-hash", daemon=True)
        self._thread.start()

    def of(self, opened: int) -> str | None:
        """The sha256 of the file behind the descriptor ``opened``; None where another one was hashed, or none."""
        self._thread.join()
        return self._digest if self._digest and self._identity == _identity(os.fstat(opened)) else None

    def _hash(self) -> None:
        digest, block = hashlib.sha256(), memoryview(bytearray(BLOCK))
        try:
            with self._file.open("rb", buffering=0) as stream:
                before = _identity(os.fstat(stream.fileno()))
                while n := stream.readinto(block):
                    digest.update(block[:n])
                after = _identity(os.fstat(stream.fileno()))
        except (OSError, MemoryError):  # whoever loads it will say so
            return
        if before == after:
            self._identity, self._digest = before, digest.hexdigest()


def _identity(info: os.stat_result) -> tuple[int, ...]:
    return info.st_dev, info.st_ino, info.st_size, info.st_mtime_ns


def begin(spec: str) -> None:
    """Hash the int8 weights that the setting ``model`` means, if they are prepared."""
    try:
        source = models.resolve(spec)
        folder = models.find_prepared(source) if source.kind in ("embedded", "gguf") else None
    except (MidfillError, OSError):  # whoever loads it will say so
        return
    if folder is not None and (file := folder / INT8).is_file():
        _begun[file] = Hashing(file)


def take(file: Path) -> Hashing | None:
    """The hashing of ``file``, once: what is read later is hashed as it is read."""
    return _begun.pop(file, None)
