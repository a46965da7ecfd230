"""Grammars: from an LSP language id to a tree-sitter parser.

The grammars are those of tree-sitter-language-pack: compiled, inside its wheel, so nothing is downloaded or built here.
Loading one reads a shared library from disk. Code on the keystroke path that needs a parser requests it once before,
when a document of the language is opened; after that ``parser_for`` answers from memory.
"""

from __future__ import annotations

import functools
import logging
import threading
from typing import Any, cast

from tree_sitter import Language, Parser

from midfill.syntax import languages

log = logging.getLogger(__name__)

_lock = threading.Lock()
_of_thread = threading.local()


def parser_for(language_id: str) -> Parser | None:
    """Return the parser for an LSP language id; None if there is no grammar. Each thread always gets the same one.

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
    """Return the grammar for an LSP language id, for queries; None if there is none."""
    name = languages.of(language_id).grammar
    if not name:
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
