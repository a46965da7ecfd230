"""What git knows of a repository: which files it tracks, and which of them the newest commits changed.

Only plumbing that reads. The repository is hostile input, and its own settings must not start programs: fsmonitor,
which ``ls-files`` would start, is off; so is every way to fetch an object that a partial clone lacks.
"""

from __future__ import annotations

import os
import subprocess
import tempfile
import threading
from pathlib import Path

TIMEOUT_S = 120.0
MAX_LISTED = 256 << 20  # bytes of the names of all tracked files
MAX_COMMITS = 500  # the newest ones
MAX_ID = 65  # bytes of a commit's name and its line end
MAX_CHANGED = 16 << 20  # bytes of the names that they changed; what comes after that counts as old
HISTORY_S = 20.0


def tracked(root: Path) -> list[str] | None:
    """Return the files that git tracks in ``root``; None if it is no repository (or another user's), or git is
    missing."""
    found = _read(root, ["ls-files", "-z", "--cached"], b"", MAX_LISTED, TIMEOUT_S)
    return None if found is None else os.fsdecode(found).split("\0")[:-1]  # the last one is empty, or cut


def commits_ago(root: Path) -> dict[str, int]:
    """Return how many commits ago each file in ``root`` was changed last: 0 by the newest commit.

    Files that none of the last MAX_COMMITS changed are left out, and so are those that the first commit of a history
    (or of a shallow clone) added. Empty if git does not tell. The order of commits counts, not their clocks.
    """
    commits = _read(root, ["rev-list", f"--max-count={MAX_COMMITS}", "HEAD"], b"", MAX_ID * MAX_COMMITS, HISTORY_S)
    if not commits:
        return {}
    changed = _read(
        root,
        ["diff-tree", "--stdin", "-r", "-z", "--name-only", "--relative", "--no-renames", "--no-ext-diff"],
        commits, MAX_CHANGED, HISTORY_S,
    )  # fmt: skip
    order = {commit: ago for ago, commit in enumerate(commits.decode("ascii", "replace").split())}
    found: dict[str, int] = {}
    ago = 0
    *words, _ = os.fsdecode(changed or b"").split("\0")  # the last one is empty, or cut
    for word in words:
        if word in order:  # the commit whose files follow
            ago = order[word]
        else:
            found.setdefault(word, ago)
    return found


def _read(root: Path, words: list[str], told: bytes, most: int, timeout_s: float) -> bytes | None:
    """Return the first ``most`` bytes that git says within ``timeout_s``; None if it fails before that."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {"GIT_OPTIONAL_LOCKS": "0", "GIT_ALLOW_PROTOCOL": "none", "GIT_NO_LAZY_FETCH": "1"}
    command = ["git", "-c", "core.fsmonitor=false", "-C", str(root), *words]
    try:
        with tempfile.TemporaryFile() as given:  # a pipe could fill up while nobody reads what git writes
            given.write(told)
            given.seek(0)
            process = subprocess.Popen(  # noqa: S603 - fixed words and a folder
                command, stdin=given, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment
            )
    except OSError:
        return None
    assert process.stdout is not None
    timer = threading.Timer(timeout_s, process.kill)
    timer.start()
    try:
        with process.stdout:
            found = process.stdout.read(most)
        is_cut = len(found) == most
        if is_cut:
            process.kill()
        return found if process.wait() == 0 or is_cut else None
    finally:
        timer.cancel()
        process.kill()
        process.wait()
