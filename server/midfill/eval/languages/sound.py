"""Whether a document is still sound when a suggestion is accepted: by tree-sitter, and of Python by its own parser."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from tree_sitter import Node

from midfill.syntax import languages
from midfill.syntax.parsers import parser_for

MAX_CHARS = 60_000  # of a document; a grammar is never let loose on more
MAX_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Errors:
    """Places in a document where the grammar finds errors: with the hole, with the answer, with what stood there."""

    before: int
    completed: int
    true: int

    @property
    def is_broken(self) -> bool:
        """Whether accepting made an error that neither the hole nor the file as it was had."""
        return self.completed > max(self.before, self.true)

    @property
    def is_unsound(self) -> bool:
        """Whether there are more errors than in the file as it was, the hole's own not forgiven."""
        return self.completed > self.true


def errors_of(language: str, prefix: str, text: str, middle: str, suffix: str) -> Errors | None:
    """The errors of a hole's three documents; None without a grammar, in prose, and where a document is too long."""
    if languages.of(language).prose or len(prefix) + len(suffix) > MAX_CHARS:
        return None
    counts = [count(language, prefix + between + suffix) for between in ("", text, middle)]
    known = [one for one in counts if one is not None]
    return Errors(*known) if len(known) == len(counts) else None


def count(language: str, text: str) -> int | None:
    """How many places of ``text`` the grammar cannot read; None where there is no grammar."""
    parser = parser_for(language)
    if parser is None:
        return None
    root = parser.parse(text.encode("utf-8", "replace")).root_node
    if root.has_error:
        return max(1, _count(root))
    return int(language == "python" and not _compiles(text))


def _compiles(text: str) -> bool:
    """Python's own word: the grammar forgives wrong indentation."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _count(root: Node) -> int:
    """Outermost errors and what the grammar had to invent; without recursion, since code may be deep."""
    found, stack, n_seen = 0, [root], 0
    while stack and n_seen < MAX_NODES:
        node, n_seen = stack.pop(), n_seen + 1
        if node.is_error or node.is_missing:
            found += 1
        elif node.has_error:
            stack += node.children
    return found
