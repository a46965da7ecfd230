"""Prompts during which an engine died. Neither the next engine nor any window evaluates them again for a while.

An engine writes digests of the prompts it works on to a file that outlives it; the next one reads there which its
predecessor did not finish. Standard library only.
"""

from __future__ import annotations

import array
import contextlib
import hashlib
import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from midfill.engine.base import EngineError

MAX_SUSPECTS = 64
SUSPECT_S = 3600.0  # a prompt is left alone for this long
N_ROWS = 64  # prompts worked on at once; an engine has fewer slots
_HEX = 32
_ROW = _HEX + 1
_EMPTY = b"." * _HEX + b"\n"


def digest(prompt: Sequence[int]) -> str:
    """Return a name of ``prompt`` from which it cannot be read."""
    return hashlib.sha256(array.array("q", prompt).tobytes()).hexdigest()[:_HEX]


def refusal() -> EngineError:
    """Return the error that answers such a prompt instead of another try."""
    return EngineError(
        "the engine crashed on this prompt, so midfill does not send it again",
        "keep typing: any other text is answered, and this one again after an hour",
    )


class Suspects:
    """The list in ``file``. While the file does not change, reading the list costs one call to the file system."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._seen: tuple[int, int, int] | None = None
        self._at: dict[str, float] = {}  # digest -> when, on the machine's monotonic clock

    def __contains__(self, prompt: Sequence[int]) -> bool:
        """Whether an engine died of ``prompt`` within the last hour."""
        self._refresh()
        if not self._at:
            return False
        at = self._at.get(digest(prompt))
        return at is not None and 0 <= time.monotonic() - at < SUSPECT_S  # after a restart the clock begins at 0 again

    def _refresh(self) -> None:
        try:
            info = self._file.stat()
        except OSError:
            self._seen, self._at = None, {}
            return
        seen = (info.st_ino, info.st_size, info.st_mtime_ns)
        if seen != self._seen:
            self._seen, self._at = seen, _read(self._file)

    def add(self, digests: Sequence[str]) -> None:
        """Add these with the current time, and forget the oldest. If the file cannot be
        written, they are not remembered."""
        now = time.monotonic()
        kept = {name: at for name, at in _read(self._file).items() if 0 <= now - at < SUSPECT_S}
        kept |= dict.fromkeys(digests, now)
        newest = dict(sorted(kept.items(), key=lambda item: item[1])[-MAX_SUSPECTS:])
        temporary = self._file.with_suffix(f".{os.getpid()}.tmp")
        with contextlib.suppress(OSError):
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as out:
                json.dump(newest, out)
            temporary.replace(self._file)


def _read(file: Path) -> dict[str, float]:
    try:
        content = json.loads(file.read_text(encoding="ascii")[: MAX_SUSPECTS * 200])
        pairs = content.items()
    except (OSError, ValueError, AttributeError, RecursionError):
        return {}
    return {str(name): float(at) for name, at in pairs if isinstance(at, int | float)}


class WorkLog:
    """The prompts the engine works on now, one row for each request, in ``file``. Only its worker thread
    calls ``begin`` and ``end``.

    A row is written in place, without waiting for the disk: it only has to outlive the process.
    """

    def __init__(self, file: Path) -> None:
        self._rows: dict[int, int] = {}  # key -> row
        self._free = list(range(N_ROWS))
        self._file = file
        self._descriptor: int | None = None
        with contextlib.suppress(OSError):
            self._descriptor = os.open(file, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(self._descriptor, _EMPTY * N_ROWS)

    def begin(self, key: int, prompt: Sequence[int]) -> None:
        """Record that work on ``prompt`` begins; ``key`` is its name until ``end``."""
        if self._free and key not in self._rows:
            self._rows[key] = self._free.pop()
            self._write(self._rows[key], digest(prompt).encode() + b"\n")

    def end(self, key: int) -> None:
        """Record that it is over, with or without success. An unknown key is not an error."""
        if (row := self._rows.pop(key, None)) is not None:
            self._write(row, _EMPTY)
            self._free.append(row)

    def close(self) -> None:
        """Delete the file, as the engine leaves of its own accord: nothing of its work is suspect."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None
        with contextlib.suppress(OSError):
            self._file.unlink()

    def _write(self, row: int, content: bytes) -> None:
        if self._descriptor is not None:
            with contextlib.suppress(OSError):
                os.pwrite(self._descriptor, content, row * _ROW) if hasattr(os, "pwrite") else self._seek(row, content)

    def _seek(self, row: int, content: bytes) -> None:
        assert self._descriptor is not None
        os.lseek(self._descriptor, row * _ROW, os.SEEK_SET)
        os.write(self._descriptor, content)


def unfinished(file: Path) -> list[str]:
    """Return the digests of the prompts that the engine that wrote ``file`` worked on when it died."""
    try:
        lines = file.read_bytes()[: N_ROWS * _ROW].decode("ascii", "replace").splitlines()
    except OSError:
        return []
    return sorted({line for line in lines if len(line) == _HEX and all(char in "0123456789abcdef" for char in line)})
