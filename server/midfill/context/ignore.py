"""What git ignores in a folder: its ``.gitignore`` files, ``.git/info/exclude``, and folders of generated files.

It reads the disk, so only the indexer's thread uses it.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from pathlib import Path

from pathspec import GitIgnoreSpec

MAX_BYTES = 1 << 16  # of one .gitignore
MAX_LINES = 2000
MAX_LINE = 500  # a longer line is not a pattern that a person wrote
MAX_STARS = 4  # of one pattern, without "**": matching takes the length of a name to this power
MAX_SPECS = 5000  # folders whose rules are kept
MAX_PARENTS = 16

# Made by tools, or copied from other projects: useless as examples, and large.
UNREAD_FOLDERS = frozenset({
    "node_modules", "bower_components", "site-packages", "__pycache__", "venv", "virtualenv", "dist", "build", "target",
    "out", "bin", "obj", "coverage", "htmlcov", "vendor", "third_party", "pods", "deriveddata", "cmakefiles",
    "bazel-out",
})  # fmt: skip


class Ignore:
    """The rules of one workspace folder (a real path), read when they are needed and kept."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._specs: dict[str, GitIgnoreSpec | None] = {}
        self._above = _rules_above(root)

    def is_ignored(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether git or convention ignores ``path`` (relative, "/" separated), by itself or by a folder above it."""
        parts = path.split("/")
        if any(_is_unread(part) for part in (parts if is_folder else parts[:-1])):
            return True
        return any(self._matches(parts[:n], n < len(parts) or is_folder) for n in range(1, len(parts) + 1))

    def is_ignored_here(self, path: str, *, is_folder: bool = False) -> bool:
        """Whether it ignores a path whose folder is known not to be ignored."""
        parts = path.split("/")
        return (is_folder and _is_unread(parts[-1])) or self._matches(parts, is_folder)

    def _matches(self, parts: list[str], is_folder: bool) -> bool:
        """Whether the rules match; the nearest rule about the path decides."""
        end = "/" if is_folder else ""
        for n in range(len(parts) - 1, -1, -1):
            spec = self._spec("/".join(parts[:n]))
            said = spec.check_file("/".join(parts[n:]) + end).include if spec is not None else None
            if said is not None:
                return said
        for prefix, spec in self._above:
            said = spec.check_file("/".join([*prefix, *parts]) + end).include
            if said is not None:
                return said
        return False

    def _spec(self, folder: str) -> GitIgnoreSpec | None:
        if folder not in self._specs and len(self._specs) < MAX_SPECS:
            self._specs[folder] = _read(self._root / folder / ".gitignore")
        return self._specs.get(folder)


def _is_unread(folder: str) -> bool:
    return folder.lower() in UNREAD_FOLDERS or (folder.startswith(".") and folder not in (".", ".."))


def _rules_above(root: Path) -> list[tuple[list[str], GitIgnoreSpec]]:
    """Return the rules of the folders above, up to the repository that contains ``root``; the nearest first.

    Each comes with the way from it down to ``root``. Nothing but rules is read there.
    """
    found: list[tuple[list[str], GitIgnoreSpec]] = []
    way: list[str] = []
    at = root
    for _ in range(MAX_PARENTS):
        if (at / ".git").exists():
            if (spec := _read(at / ".git" / "info" / "exclude")) is not None:
                found.append((way, spec))
            return found
        if at.parent == at:
            break
        way = [at.name, *way]
        at = at.parent
        if (spec := _read(at / ".gitignore")) is not None:
            found.append((way, spec))
    return []  # without a repository, rules that happen to be above have no meaning


def _read(file: Path) -> GitIgnoreSpec | None:
    try:
        handle = os.open(file, os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0))
    except OSError:
        return None
    with os.fdopen(handle, "rb") as stream:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        lines = stream.read(MAX_BYTES).decode("utf-8", "replace").splitlines()[:MAX_LINES]
    return _spec_of([line for line in lines if line.strip() and not line.startswith("#")])


def _spec_of(lines: list[str]) -> GitIgnoreSpec:
    """Return the rules of ``lines``; a rule that git would not understand matches nothing.

    A rule that was written to be slow makes everything ignored: better nothing than too much.
    """
    kept: list[str] = []
    for line in lines:
        if len(line) > MAX_LINE or _n_stars(line) > MAX_STARS:
            return GitIgnoreSpec.from_lines(["*"])
        with contextlib.suppress(ValueError, re.error):
            GitIgnoreSpec.from_lines([line])
            kept.append(line)
    return GitIgnoreSpec.from_lines(kept)


def _n_stars(line: str) -> int:
    """Return how many parts of a pattern may match in many ways: stars in names, or folders of any depth."""
    parts = line.strip().split("/")
    return max(parts.count("**"), sum(part.count("*") for part in parts if part not in ("*", "**")))
