"""Where the compiled loops are kept: compiling them takes some twenty seconds, reading them a few milliseconds.

numba asks only whether the file of a function is younger than its machine code, not whether another file changed that
went into it. So the folder's name is a digest of all of them; numba itself tells one CPU from another.
"""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

import numba

from midfill import paths


def choose() -> None:
    """Tell numba where to keep what is compiled from now on. Raises MidfillError where nothing can be kept."""
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    every = paths.private_dir(paths.cache_dir()) / "kernels"
    mine = every / digest.hexdigest()[:16]
    if not mine.is_dir():
        for older in every.glob("*"):
            shutil.rmtree(older, ignore_errors=True)
        paths.private_dir(every)
        paths.private_dir(mine)
    numba.config.CACHE_DIR = str(mine)
