"""Lines that the next language server or command shows once: what happened while the user was away."""

from __future__ import annotations

import contextlib
import os

from midfill import paths
from midfill.types import MidfillError, one_line

FILE = "news.txt"
MAX_LINES, MAX_BYTES = 10, 16 << 10  # only the last lines are kept


def leave(line: str) -> None:
    """Show ``line`` at the next start. If it cannot be written, it is lost."""
    with contextlib.suppress(OSError, MidfillError):
        file = paths.private_dir(paths.state_dir()) / FILE
        with os.fdopen(os.open(file, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600), "w", encoding="utf-8") as out:
            out.write(one_line(line) + "\n")


def take() -> list[str]:
    """Return and remove the waiting lines, the oldest first. The caller shows them."""
    with contextlib.suppress(OSError, ValueError, MidfillError):
        file = paths.state_dir() / FILE
        mine = file.with_suffix(f".{os.getpid()}.tmp")
        file.rename(mine)  # only one of several processes that start at once gets it
        try:
            with mine.open("rb") as stream:
                stream.seek(max(0, mine.stat().st_size - MAX_BYTES))
                lines = stream.read(MAX_BYTES).decode("utf-8", "replace").splitlines()
        finally:
            mine.unlink()
        return [one_line(line) for line in lines[-MAX_LINES:] if line.strip()]
    return []
