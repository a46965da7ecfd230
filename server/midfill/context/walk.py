"""The source files of a workspace folder, found and read within limits.

The tree is hostile input. No link is followed, only plain files are opened, and an opened file is where it claims to
be: its real path is in the folder. Denied names (``secrets``) and files that git ignores are never opened.
"""

from __future__ import annotations

import os
import stat
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from midfill.context.ignore import Ignore
from midfill.context.project import is_too_wide
from midfill.context.secrets import is_denied
from midfill.syntax import languages
from midfill.types import one_line

MAX_ENTRIES = 60_000  # names of any kind seen in one walk
MAX_FILES = 3000  # files returned
MAX_FOLDER = 5000  # entries of one folder
MAX_DEPTH = 24
MAX_BYTES = 200_000  # of one file
MAX_NAME = 100  # characters of one name
MAX_PATH = 400
MAX_LINE = 2000  # a longer line was not written by hand


@dataclass(frozen=True, slots=True)
class Found:
    """A file that may be read."""

    key: str  # its real path
    path: str  # relative to the folder, "/" separated, printable
    stamp: tuple[int, int]  # changes with its content: time in ns, size


class Folder:
    """One folder of the workspace."""

    def __init__(self, path: Path, language_of: Callable[[str], str] = languages.indexed) -> None:
        """``path`` may be a link itself: the user opened it. Only files that ``language_of`` knows by their name are
        found. Raises OSError."""
        self._language_of = language_of
        self.root = path.resolve(strict=True)
        self.ignore = Ignore(self.root)

    def forget_rules(self) -> None:
        """Read ``.gitignore`` files again when they are needed next."""
        self.ignore = Ignore(self.root)

    @property
    def is_too_wide(self) -> bool:
        """Whether it is too wide to be a project."""
        return is_too_wide(self.root)

    def relative(self, key: str) -> str | None:
        """Return ``key`` (an absolute path) relative to the folder; None if it is outside."""
        try:
            return Path(key).relative_to(self.root).as_posix()
        except ValueError:
            return None

    def admits(self, key: str) -> bool:
        """Whether the file may be shown to the model: by name, place and git. Reads ``.gitignore`` files."""
        path = self.relative(key)
        return path is not None and not is_denied(path) and len(path) <= MAX_PATH and not self.ignore.is_ignored(path)

    def walk(self) -> Iterator[Found | None]:
        """Yield the files to read, breadth first; None now and then, when time passed without one."""
        n_seen = n_files = 0
        waiting = deque([("", 0)])
        while waiting:
            folder, depth = waiting.popleft()
            for entry in self._entries(folder):
                n_seen += 1
                if n_seen >= MAX_ENTRIES or n_files >= MAX_FILES:
                    return
                if n_seen % 64 == 0:
                    yield None
                path = f"{folder}/{entry.name}" if folder else entry.name
                if len(path) > MAX_PATH or len(entry.name) > MAX_NAME or is_denied(path):
                    continue
                if entry.is_dir(follow_symlinks=False):
                    if depth < MAX_DEPTH and not self.ignore.is_ignored_here(path, is_folder=True):
                        waiting.append((path, depth + 1))
                elif (found := self._found(entry, path)) is not None:
                    n_files += 1
                    yield found

    def _entries(self, folder: str) -> list[os.DirEntry[str]]:
        where = self.root / folder
        if not self._is_inside(str(where)):
            return []
        entries: list[os.DirEntry[str]] = []
        try:
            with os.scandir(where) as found:
                for entry in found:
                    entries.append(entry)
                    if len(entries) >= MAX_FOLDER:
                        break
        except OSError:
            return []
        return sorted(entries, key=lambda entry: entry.name)

    def _found(self, entry: os.DirEntry[str], path: str) -> Found | None:
        if not self._language_of(entry.name) or not entry.is_file(follow_symlinks=False):
            return None
        if self.ignore.is_ignored_here(path):
            return None
        try:
            info = entry.stat(follow_symlinks=False)
        except OSError:
            return None
        if info.st_size > MAX_BYTES or not stat.S_ISREG(info.st_mode):
            return None
        return Found(str(self.root / path), printable(path), (info.st_mtime_ns, info.st_size))

    def found(self, key: str) -> Found | None:
        """Return a file of the folder by its real path; None if it may not be read or is gone."""
        path = self.relative(key)
        if path is None or not self._language_of(path) or not self.admits(key):
            return None
        try:
            info = os.stat(key, follow_symlinks=False)  # noqa: PTH116
        except (OSError, ValueError):
            return None
        return Found(key, printable(path), (info.st_mtime_ns, info.st_size))

    def _is_inside(self, path: str) -> bool:
        real = os.path.realpath(path)
        return real == str(self.root) or real.startswith(str(self.root).rstrip(os.sep) + os.sep)

    def read(self, found: Found) -> str | None:
        """Return the text of a file, with ``\\n`` line ends; None if it is not text, is generated, or is gone."""
        if not self._is_inside(found.key):
            return None
        flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
        try:
            handle = os.open(found.key, flags)
        except OSError:
            return None
        with os.fdopen(handle, "rb") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            try:
                data = stream.read(MAX_BYTES + 1)
            except OSError:
                return None
        return readable(data)


def readable(data: bytes) -> str | None:
    """Return ``data`` as the text of a source file that a person wrote, or None."""
    if len(data) > MAX_BYTES or b"\0" in data:
        return None
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return None
    text = text.replace("\r\n", "\n").replace("\r", "\n") if "\r" in text else text
    return text if is_handwritten(text) else None


def is_handwritten(text: str) -> bool:
    """Whether no line is longer than people write them."""
    start = 0
    while (end := text.find("\n", start)) >= 0:
        if end - start > MAX_LINE:
            return False
        start = end + 1
    return len(text) - start <= MAX_LINE


def printable(path: str) -> str:
    """Return ``path`` for a prompt: one line of whole characters."""
    return one_line(path.encode("utf-8", "replace").decode("utf-8"))
