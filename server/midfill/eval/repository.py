"""Holes from any repository: cut in a copy of it, on disk too, so that no reader of the copy sees the cut text.

The copy holds only source files. A file that occurs twice is copied once, and a hole is dropped if its lines are also
in another file.
"""

from __future__ import annotations

import builtins
import contextlib
import hashlib
import os
import pathlib
import random
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from midfill.eval.cutting import KINDS, Code, Span, cross_file, member
from midfill.eval.holes import Hole, is_sound, split_of
from midfill.syntax import languages
from midfill.types import MidfillError, Snapshot

CROSS_FILE = "cross-file"
MEMBER = "member"
ALL_KINDS = (*KINDS, CROSS_FILE, MEMBER)
MAX_FILES, MAX_FILE_BYTES, MAX_FOLDERS = 4000, 300_000, 20_000
MIN_BEFORE, MIN_AFTER = 200, 100  # characters around a hole: less text gives too little to work with
MIN_NAME = 5
SKIPPED = frozenset({"node_modules", "__pycache__", "build", "dist", "target", "vendor", "venv", "site-packages"})
COPIED_ANYWAY = frozenset({".gitignore"})
# Names that every project has do not need another file.
_COMMON = frozenset(
    name for kind in (str, bytes, list, dict, set, int, float, object, type, BaseException, pathlib.Path)
    for name in dir(kind)
) | frozenset(dir(builtins))  # fmt: skip


@dataclass(slots=True)
class RepositoryCopy:
    """The copy, and its files' texts by path (``/`` separated) with ``\\n`` line ends."""

    folder: Path
    texts: dict[str, str] = field(default_factory=dict)
    _cut: str = ""  # the file that has a hole now

    def see(self, hole: Hole) -> Snapshot:
        """Cut ``hole`` on disk after mending the previous one, and return the editor's view of it."""
        if self._cut and self._cut != hole.path:
            self._write(self._cut, self.texts[self._cut])
        self._cut = hole.path
        self._write(hole.path, hole.prefix + hole.suffix)
        return hole.snapshot(root=self.folder.as_uri())

    def _write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text, encoding="utf-8", newline="")


@contextlib.contextmanager
def copied(root: Path) -> Iterator[RepositoryCopy]:
    """Yield a copy of the source files under ``root``, removed at the end. Raises MidfillError."""
    if not root.is_dir():
        raise MidfillError(f"{root} is not a folder", "name the folder of a repository")
    texts = read(root)
    if not texts:
        raise MidfillError(f"{root} has no source files in a known language", "name the folder of a repository")
    with tempfile.TemporaryDirectory(prefix="midfill-eval-") as name:
        folder = Path(name).resolve() / "repository"
        for path, text in texts.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(text, encoding="utf-8", newline="")
        yield RepositoryCopy(folder, texts)


def read(root: Path) -> dict[str, str]:
    """Return the source files under ``root`` by path: each text once, without following links; hidden and generated
    folders are left out."""
    texts: dict[str, str] = {}
    seen: set[bytes] = set()
    for path in sorted(_files(root))[:MAX_FILES]:
        text = read_text(root / path)
        digest = hashlib.sha256(text.encode()).digest() if text else b""
        if text and digest not in seen:
            seen.add(digest)
            texts[path] = text
    return texts


def _files(root: Path) -> Iterator[str]:
    for n_folders, (folder, folders, names) in enumerate(os.walk(root)):
        if n_folders >= MAX_FOLDERS:
            return
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name not in SKIPPED)
        for name in names:
            if languages.of(languages.of_path(name)).grammar or name in COPIED_ANYWAY:
                yield Path(folder, name).relative_to(root).as_posix()


def read_text(file: Path) -> str:
    """Return the file's text; "" if it is not a plain, small, readable text file."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        info = file.lstat()
        if stat.S_ISREG(info.st_mode) and info.st_size <= MAX_FILE_BYTES:
            return file.read_bytes().decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    return ""


class Cutter:
    """Draws holes from a workspace's files, every kind in turn."""

    def __init__(
        self, texts: dict[str, str], split: str = "all", around: tuple[int, int] = (MIN_BEFORE, MIN_AFTER)
    ) -> None:
        """``around``: the least number of characters that the file has before and after a hole."""
        self._texts, self._around = texts, around
        self._code = {
            path: code for path, text in texts.items() if (code := Code.read(text, languages.of_path(path))) is not None
        }
        self._paths = [path for path in self._code if split in ("all", split_of(path))]
        self._definers: dict[str, set[str]] = {}
        for path, code in self._code.items():
            for name in code.defined:
                self._definers.setdefault(name, set()).add(path)

    def cut(self, limit: int, kinds: Sequence[str] = ALL_KINDS, seed: int = 1) -> list[Hole]:
        """Return at most ``limit`` holes that do not overlap; the same ones each time."""
        rng = random.Random(seed)  # noqa: S311 - the same holes each time
        holes: list[Hole] = []
        spans = {kind: self._spans(kind, rng) for kind in kinds}
        taken: dict[str, list[Span]] = {}
        while spans and len(holes) < limit:
            for kind in list(spans):
                hole = self._next(kind, spans[kind], taken)
                if hole is None:
                    del spans[kind]
                elif len(holes) < limit:
                    holes.append(hole)
        return holes

    def _spans(self, kind: str, rng: random.Random) -> list[tuple[str, Span, str]]:
        """Return (path, span, needed name) in the order in which they are tried: files in turn, so that none
        dominates."""
        rounds: list[tuple[int, float, tuple[str, Span, str]]] = []
        for path in self._paths:
            found = self._of_file(kind, path)
            rng.shuffle(found)
            rounds += [(turn, rng.random(), (path, span, name)) for turn, (span, name) in enumerate(found[:50])]
        rounds.sort(key=lambda one: one[:2], reverse=True)
        return [one for _, _, one in rounds]

    def _of_file(self, kind: str, path: str) -> list[tuple[Span, str]]:
        code = self._code[path]
        if kind == CROSS_FILE:
            return list(cross_file(code, self._elsewhere(path)))
        if kind == MEMBER:
            return list(member(code, self._elsewhere(path)))
        return [(span, "") for span in KINDS[kind](code)]

    def _elsewhere(self, path: str) -> frozenset[str]:
        """Return the names that exactly one file defines, and that this file is not ``path``."""
        return frozenset(
            name
            for name, paths in self._definers.items()
            if len(paths) == 1 and path not in paths and len(name) >= MIN_NAME and name not in _COMMON
        )

    def _next(self, kind: str, spans: list[tuple[str, Span, str]], taken: dict[str, list[Span]]) -> Hole | None:
        while spans:
            path, (start, end), name = spans.pop()
            others = taken.setdefault(path, [])
            if any(start < high and low < end for low, high in others) or not self._is_sound(path, start, end):
                continue
            others.append((start, end))
            text, code = self._texts[path], self._code[path]
            return Hole(
                path, kind, text[:start], text[start:end], text[end:], path, f"{path}:{start}-{end}:{kind}",
                languages.of_path(path), name, ("imported" if name in code.imported else "unseen") if name else "",
            )  # fmt: skip
        return None

    def _is_sound(self, path: str, start: int, end: int) -> bool:
        """Whether there is enough text around the hole, and no other file contains its lines."""
        text = self._texts[path]
        if not is_sound(text, start, end, self._around):
            return False
        lines = _with_neighbours(text, start, end)
        return not any(lines in other for name, other in self._texts.items() if name != path)


def _with_neighbours(text: str, start: int, end: int) -> str:
    """Return the hole's lines with the ones above and below."""
    first = text.rfind("\n", 0, max(0, text.rfind("\n", 0, start))) + 1
    last = text.find("\n", text.find("\n", end) + 1) if "\n" in text[end:] else len(text)
    return text[first : last if last >= 0 else len(text)]
