"""Decides whether a suggestion is in another language than its file.

There are two kinds of evidence. A line may give it away (``telltales``). Or the file's own grammar finds errors in
lines that another grammar reads without any; only strict grammars are asked, and only about enough text, since a few
tokens are valid in many languages.
"""

from __future__ import annotations

import re

from tree_sitter import Node

from midfill.syntax import languages
from midfill.syntax.parsers import parser_for
from midfill.syntax.telltales import is_comment, told

MAX_CHARS = 4000
MIN_TOKENS = 8  # in the lines that a grammar is asked about
# Grammars that refuse most text that is not in their language.
STRICT = ("python", "javascript", "typescript", "java", "go", "rust", "c", "cpp", "csharp", "lua", "kotlin", "swift")
# Languages that read the same files or contain each other: errors cannot tell them apart.
_FAMILIES = (
    {"javascript", "javascriptreact", "typescript", "typescriptreact"},
    {"c", "cpp", "objective-c", "objective-cpp"},
)
_FENCE = re.compile(r"^\s*(```|~~~)", re.MULTILINE)
_TOKEN = re.compile(r"\w+|[^\w\s]")
_QUOTED = ("comment", "string", "heredoc")


def _bytes(text: str) -> bytes:
    """Return the text with a line end: some grammars want one after the last statement."""
    return f"{text}\n".encode("utf-8", "replace")


def wrong_language(language: str, prefix: str, text: str) -> str:
    """Return the other language that ``text`` is written in, at the end of ``prefix``; "" if it may be
    ``language``'s."""
    if not text.strip() or _is_prose_at(language, prefix):
        return ""
    head = prefix[prefix.rfind("\n") + 1 :]
    said = head + text[:MAX_CHARS]
    quoted = _quoted_rows(language, said)
    for n, line in enumerate(said.split("\n")):
        if n in quoted or is_comment(line, language):
            continue
        if other := told(line, language, 0 if n else len(head)):
            return other
    return _by_grammar(language, said)


def _quoted_rows(language: str, text: str) -> set[int]:
    """Return the rows inside a string, a comment or a fence of several lines: they may be in any language."""
    if languages.of(language).prose:
        return _fenced_rows(text)
    parser = parser_for(language)
    if parser is None:
        return set()
    rows: set[int] = set()
    stack = [parser.parse(_bytes(text)).root_node]
    while stack:
        node = stack.pop()
        first, last = node.start_point[0], node.end_point[0]
        if first == last:
            continue
        if any(kind in node.type for kind in _QUOTED):
            rows.update(range(first + 1, last + 1))
        else:
            stack += node.children
    return rows


def _fenced_rows(text: str) -> set[int]:
    rows: set[int] = set()
    is_open = False
    for n, line in enumerate(text.split("\n")):
        is_fence = _FENCE.match(line) is not None
        if is_open and not is_fence:
            rows.add(n)
        is_open ^= is_fence
    return rows


def _is_prose_at(language: str, prefix: str) -> bool:
    """Whether the cursor is in a comment, a string, or a fenced block of prose, which may be in any language."""
    if languages.of(language).prose:
        return len(_FENCE.findall(prefix)) % 2 == 1
    parser = parser_for(language)
    if parser is None or not prefix.strip():
        return False
    head = prefix[-MAX_CHARS:] if len(prefix) > MAX_CHARS * 4 else prefix
    encoded = head.encode("utf-8", "replace")
    root = parser.parse(encoded).root_node
    node: Node | None = root.descendant_for_byte_range(max(0, len(encoded) - 1), len(encoded))
    if node is None or head.endswith("\n") or node.end_byte < len(encoded):
        return False
    kinds = []
    while node is not None:
        kinds.append(node.type)
        node = node.parent
    return any("comment" in kind for kind in kinds[:3]) or any("heredoc" in kind for kind in kinds[:3])


def _by_grammar(language: str, lines: str) -> str:
    if language not in STRICT or len(_TOKEN.findall(lines)) < MIN_TOKENS or "\n" not in lines.strip():
        return ""
    if not _has_error(language, lines):
        return ""
    for other in STRICT:
        is_kin = any(language in family and other in family for family in _FAMILIES)
        if other != language and not is_kin and _is_telling(other, lines):
            return other
    return ""


def _is_telling(language: str, text: str) -> bool:
    """Whether the grammar reads the text without an error, and as something that only few languages share."""
    parser = parser_for(language)
    if parser is None or (root := parser.parse(_bytes(text)).root_node).has_error:
        return False
    kinds = [child.type for child in root.named_children]
    return any(re.search(r"declar|definition|_item|import|for_|while_", kind) for kind in kinds)


def _has_error(language: str, text: str) -> bool:
    parser = parser_for(language)
    return parser is None or parser.parse(_bytes(text)).root_node.has_error
