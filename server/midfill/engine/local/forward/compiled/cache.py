"""Where the compiled loops are kept: compiling them takes some twenty seconds, reading them less than one.

numba only checks whether a function's file is younger than its machine code, not whether another file that went into it
has changed. So the folder's name is a digest of all of them; numba itself distinguishes CPUs.

numba's files are pickles, which run the code of their author: they are only read where no other user can write.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import time
from pathlib import Path

import numba

from midfill import paths
from midfill.types import MidfillError

OLD_S = 30 * 86400.0  # since a version was last started


def choose() -> None:
    """Tell numba where to keep what is compiled from now on. Raises MidfillError if nothing can be kept."""
    every = _folder()
    digest = hashlib.sha256(numba.__version__.encode())
    for file in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(file.read_bytes())
    mine = every / digest.hexdigest()[:16]
    if _was_open(mine):
        raise MidfillError(f"{mine} was open to other users, who may have put code into it", f"run: rm -r {mine}")
    paths.private_dir(mine)
    os.utime(mine)
    for other in every.glob("*"):
        if time.time() - other.stat().st_mtime > OLD_S:
            shutil.rmtree(other, ignore_errors=True)
    numba.config.CACHE_DIR = str(mine)


def _folder() -> Path:
    """Return the folder below the cache; if other users can write there, one below the runtime folder, which is
    lost when the machine restarts."""
    try:
        every = paths.cache_dir() / "kernels"
        if not _was_open(every.parent) and not _was_open(every):
            return paths.private_dir(every)
    except (MidfillError, OSError):
        pass
    return paths.private_dir(paths.runtime_dir() / "kernels")


def _was_open(folder: Path) -> bool:
    """Whether others may have left files in ``folder``: asked before ``private_dir`` closes it, as the files stay."""
    return folder.exists() and not paths.only_we_write(folder)
