"""Kernels that might end the process are tried under a mark: a fault on a GPU raises no error that could be caught.

The mark is a file that exists while they are tried. An engine that finds it, left by engines that
died, runs without these kernels.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
from collections.abc import Iterator
from pathlib import Path

from midfill import paths
from midfill.types import MidfillError

log = logging.getLogger(__name__)
MAX_TRIES = 2  # the first engine may have ended just then for another reason


@contextlib.contextmanager
def guarded(what: str) -> Iterator[bool]:
    """Yield whether to try ``what``, which names kernels, device and versions: not if
    MAX_TRIES engines ended while trying."""
    file = _mark(what)
    n_before = _tries(file)
    if file is None or n_before >= MAX_TRIES:
        if file is not None:
            log.warning("%s: not tried again, since %d engines ended while they tried (%s)", what, n_before, file)
        yield file is None
        return
    with contextlib.suppress(OSError):
        file.write_text(str(n_before + 1), encoding="utf-8")
    try:
        yield True
    finally:  # a Python error is not the fault that ends a process
        with contextlib.suppress(OSError):
            file.unlink()


def _mark(what: str) -> Path | None:
    """Return the file of the mark; None if no file can be kept."""
    try:
        folder = paths.private_dir(paths.cache_dir() / "kernels")
    except (MidfillError, OSError):
        return None
    return folder / f"guard-{hashlib.sha256(what.encode()).hexdigest()[:16]}"


def _tries(file: Path | None) -> int:
    try:
        return int(file.read_text(encoding="utf-8")) if file is not None else 0
    except (OSError, ValueError):
        return 0
