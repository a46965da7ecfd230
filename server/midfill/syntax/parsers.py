"""Grammars: from an LSP language id, or a file's name, to a tree-sitter parser.

The grammars are those of tree-sitter-language-pack: compiled, inside its wheel, so nothing is fetched or built here.
Loading one reads a shared library from disk. Whoever needs a parser on the keystroke path asks for it once before,
when a document of the language is opened; after that ``parser_for`` answers from memory.
"""

from __future__ import annotations

import functools
import logging
import threading
from pathlib import PurePosixPath
from typing import Any, cast

from tree_sitter import Language, Parser

log = logging.getLogger(__name__)

# LSP language ids to grammars of the pack.
GRAMMARS = {
    "python": "python",
    "javascript": "javascript",  # knows JSX
    "javascriptreact": "javascript",
    "typescript": "typescript",
    "typescriptreact": "tsx",
    "java": "java",
    "go": "go",
    "rust": "rust",
    "c": "c",
    "cpp": "cpp",
    "csharp": "csharp",
    "ruby": "ruby",
    "php": "php",
    "kotlin": "kotlin",
    "lua": "lua",
    "shellscript": "bash",
}

# File name endings to LSP language ids.
EXTENSIONS = {
    ".py": "python", ".pyi": "python", ".pyw": "python",
    ".js": "javascript", ".mjs": "javascript", ".cjs": "javascript", ".jsx": "javascriptreact",
    ".ts": "typescript", ".mts": "typescript", ".cts": "typescript", ".tsx": "typescriptreact",
    ".java": "java", ".go": "go", ".rs": "rust",
    ".c": "c", ".h": "c", ".cc": "cpp", ".cpp": "cpp", ".cxx": "cpp", ".hh": "cpp", ".hpp": "cpp", ".hxx": "cpp",
    ".cs": "csharp", ".rb": "ruby", ".php": "php", ".kt": "kotlin", ".kts": "kotlin",
    ".lua": "lua", ".sh": "shellscript", ".bash": "shellscript",
}  # fmt: skip

_lock = threading.Lock()
_of_thread = threading.local()


def language_of(path: str) -> str:
    """The LSP language id that the name of a file means; "" where it is not known."""
    return EXTENSIONS.get(PurePosixPath(path).suffix.lower(), "")


def parser_for(language_id: str) -> Parser | None:
    """The parser for an LSP language id; None where there is no grammar. The same one each time within a thread.

    A parser keeps state while it works, so every thread has its own; the grammars are shared.
    """
    parsers: dict[str, Parser] = _of_thread.__dict__.setdefault("parsers", {})
    if (parser := parsers.get(language_id)) is not None:
        return parser
    language = language_for(language_id)
    if language is None:
        return None
    return parsers.setdefault(language_id, Parser(language))


def language_for(language_id: str) -> Language | None:
    """The grammar for an LSP language id, for queries; None where there is none."""
    name = GRAMMARS.get(language_id)
    if name is None:
        return None
    with _lock:
        return _load(name)


@functools.cache
def _load(grammar: str) -> Language | None:
    try:
        from tree_sitter_language_pack import get_language

        return get_language(cast("Any", grammar))
    except (ImportError, LookupError, OSError, ValueError) as error:
        log.warning("no grammar %s: %s", grammar, error)
        return None
