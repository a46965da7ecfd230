"""Whether a document is still sound after a suggestion is accepted: by tree-sitter, and for Python by its own
parser."""

from __future__ import annotations

import ast
import warnings
from dataclasses import dataclass

from tree_sitter import Node

from midfill.syntax import languages
from midfill.syntax.parsers import parser_for

MAX_CHARS = 60_000  # of a document; grammars are not run on longer ones
MAX_NODES = 200_000


@dataclass(frozen=True, slots=True)
class Errors:
    """How many places in a document the grammar finds errors in: with the hole, with the answer, with the original
    text."""

    before: int
    completed: int
    true: int

    @property
    def is_broken(self) -> bool:
        """Whether accepting made an error that neither the hole nor the original file had."""
        return self.completed > max(self.before, self.true)

    @property
    def is_unsound(self) -> bool:
        """Whether there are more errors than in the original file, without forgiving the hole's own."""
        return self.completed > self.true


def errors_of(language: str, prefix: str, text: str, middle: str, suffix: str) -> Errors | None:
    """Return the errors of a hole's three documents; None without a grammar, in prose, and if a document is too
    long."""
    if languages.of(language).prose or len(prefix) + len(suffix) > MAX_CHARS:
        return None
    counts = [count(language, prefix + between + suffix) for between in ("", text, middle)]
    known = [one for one in counts if one is not None]
    return Errors(*known) if len(known) == len(counts) else None


def count(language: str, text: str) -> int | None:
    """Return how many places of ``text`` the grammar cannot read; None if there is no grammar."""
    parser = parser_for(language)
    if parser is None:
        return None
    root = parser.parse(text.encode("utf-8", "replace")).root_node
    if root.has_error:
        return max(1, _count(root))
    return int(language == "python" and not _compiles(text))


def _compiles(text: str) -> bool:
    """Whether Python's own parser accepts the text: the grammar forgives wrong indentation."""
    try:
        with warnings.catch_warnings(action="ignore"):
            ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    return True


def _count(root: Node) -> int:
    """Count the outermost errors and the tokens that the grammar had to invent; without recursion, since code may be
    deep."""
    found, stack, n_seen = 0, [root], 0
    while stack and n_seen < MAX_NODES:
        node, n_seen = stack.pop(), n_seen + 1
        if node.is_error or node.is_missing:
            found += 1
        elif node.has_error:
            stack += node.children
    return found
