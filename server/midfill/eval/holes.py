"""A hole: text taken out of a file, and what the server sees of that file."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from midfill.types import Snapshot

MIN_CHARS = 4  # of a hole: a shorter one is too easy to guess
MAX_HOLE = 600  # characters: a minified line does not make a hole

Split = Literal["dev", "test"]


@dataclass(frozen=True, slots=True)
class Hole:
    """``prefix + middle + suffix`` is the file's text.

    ``source`` is the file, module or task that the hole comes from; holes of one source are not independent. ``name``:
    what the answer has to mention, defined in another file; ``note`` says whether this file imports it.
    """

    source: str
    kind: str
    prefix: str
    middle: str
    suffix: str
    path: str = "main.py"  # in its workspace
    id: str = ""
    language: str = "python"
    name: str = ""
    note: str = ""

    @property
    def first_line(self) -> str:
        """The line that an answer's first line is compared with."""
        return first_line(self.middle)

    @property
    def ends_with_line(self) -> bool:
        """Whether the hole is whole lines, up to the end of the last one."""
        return self.prefix.endswith("\n") and self.suffix.startswith("\n")

    def is_answered_by(self, middle: str) -> bool:
        """Return whether ``middle`` is right: first-line exact match. If text follows on the line, an answer may
        continue with that text."""
        said, wanted = first_line(middle), self.first_line
        following = "" if "\n" in self.middle else self.suffix.split("\n", 1)[0].strip()
        return said == wanted or (bool(following) and said.startswith(wanted + following[0]))

    def snapshot(self, n_untyped: int = 0, root: str = "file:///bench") -> Snapshot:
        """Return the view with the cursor at the hole, or this many characters before it, which are not typed yet."""
        prefix = self.prefix[: len(self.prefix) - n_untyped]
        return Snapshot(f"{root}/{self.path}", 0, self.language, prefix + self.suffix, len(prefix), path=self.path)


def first_line(middle: str) -> str:
    """Return the first line of a middle, without trailing spaces."""
    return middle.split("\n", 1)[0].rstrip()


def is_leak_free(prefix: str, middle: str, suffix: str) -> bool:
    """Whether the text next to the hole does not repeat what the hole contains."""
    bare = middle.strip()
    if len(bare) < MIN_CHARS:
        return False
    return not suffix.lstrip().startswith(bare) and not prefix.rstrip().endswith(bare)


def is_sound(text: str, start: int, end: int, around: tuple[int, int]) -> bool:
    """Whether ``text[start:end]`` is at most MAX_HOLE long, has that much text ``around`` it, and is not repeated next
    to it."""
    before, after = around
    if start < before or len(text) - end < after or end - start > MAX_HOLE:
        return False
    return is_leak_free(text[:start], text[start:end], text[end:])


def split_of(source: str) -> Split:
    """Put half of all sources into the development split and the others into the test split; by a hash, so that it
    never changes."""
    return "dev" if hashlib.sha256(source.encode()).digest()[0] % 2 == 0 else "test"


def chosen(holes: Sequence[Hole], *, split: str = "all", limit: int | None = None, seed: int = 1) -> list[Hole]:
    """Return ``limit`` holes of the split, drawn by ``seed``; a smaller limit gives the beginning of a larger one's
    list."""
    found = [hole for hole in holes if split in ("all", split_of(hole.source))]
    random.Random(seed).shuffle(found)  # noqa: S311 - the same holes each time
    return found[:limit]
