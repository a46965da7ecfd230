"""Where holes can be cut in a file of any language that has a grammar.

Lines with a comment, lines that are only text, and lines that a multi-line string or comment touches are left out:
prose is not code that a model should guess.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from tree_sitter import Node

from midfill.eval.holes import MIN_CHARS
from midfill.syntax.parsers import parser_for

Span = tuple[int, int]  # in code points of the text

MIN_BLOCK, MAX_BLOCK = 2, 10  # lines
MAX_DEPTH = 300  # levels of a tree that are walked: a file may be nested deeply on purpose
ARGUMENTS = frozenset({"argument_list", "arguments", "value_arguments"})
PAUSES = frozenset({"(", "[", "=", ":=", ".", "return", "if", "in", "=>", "await", "new"})
BLOCKS = frozenset(
    {"block", "statement_block", "compound_statement", "body_statement", "statements", "statement_list"}
)  # fmt: skip
_NAME = re.compile(r".*identifier|name|constant|word")
_IMPORT = re.compile(
    r"import_\w+|future_import_statement|preproc_include|\w*use_declaration|using_directive|package_\w+|"
    r"extern_crate_declaration"
)
_DEFINES = re.compile(
    r"(function|method|class|struct|enum|interface|trait|type|module|mod|const|static|object|record|union)\w*"
    r"(definition|declaration|item|spec|specifier|alias)|method|singleton_method|class|module|preproc_def|"
    r"lexical_declaration|variable_declarator"
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """A leaf of the tree that is code. ``kind`` is the grammar's name for it."""

    start: int
    end: int
    row: int
    kind: str
    text: str
    is_import: bool = False

    @property
    def is_name(self) -> bool:
        """Whether the token is a name."""
        return _NAME.fullmatch(self.kind) is not None and self.text.isidentifier()


@dataclass(slots=True)
class Code:
    """A file's tokens by row (only rows that are nothing but code), its blocks, its calls and what it defines."""

    text: str
    rows: dict[int, list[Leaf]] = field(default_factory=dict)
    blocks: list[Span] = field(default_factory=list)
    arguments: list[Span] = field(default_factory=list)
    defined: set[str] = field(default_factory=set)
    names: dict[str, int] = field(default_factory=dict)  # how often each name occurs outside import statements
    imported: set[str] = field(default_factory=set)

    @classmethod
    def read(cls, text: str, language: str) -> Code | None:
        """Parse ``text``; return None if there is no grammar."""
        parser = parser_for(language)
        if parser is None:
            return None
        return _TreeReader(cls(text)).read(parser.parse(text.encode("utf-8", "replace")).root_node)

    def end_of(self, row: int) -> int:
        """Return the position after the row's last token."""
        return self.rows[row][-1].end


class _TreeReader:
    """Walks a tree once."""

    def __init__(self, code: Code) -> None:
        self._code = code
        self._places = None if code.text.isascii() else _places(code.text)
        self._mixed: set[int] = set()

    def read(self, root: Node) -> Code:
        self._walk(root, 0, is_import=False)
        texts = {row for row, tokens in self._code.rows.items() if all("string" in token.kind for token in tokens)}
        for row in self._mixed | texts:
            self._code.rows.pop(row, None)
        return self._code

    def _walk(self, node: Node, depth: int, *, is_import: bool) -> None:
        kind = node.type
        if "comment" in kind or "string" in kind or "heredoc" in kind or node.child_count == 0 or depth > MAX_DEPTH:
            self._leaf(node, is_import=is_import)
            return
        is_import = is_import or _IMPORT.fullmatch(kind) is not None
        self._note(node, kind)
        for child in node.children:
            self._walk(child, depth + 1, is_import=is_import)

    def _leaf(self, node: Node, *, is_import: bool) -> None:
        first, last = node.start_point[0], node.end_point[0]
        if "comment" in node.type or first != last:
            self._mixed.update(range(first, last + 1))
            return
        start, end = self._span(node)
        text = self._code.text[start:end]
        if not text.strip() or "\n" in text:
            return
        token = Leaf(start, end, first, node.type, text, is_import)
        self._code.rows.setdefault(first, []).append(token)
        if token.is_name and is_import:
            self._code.imported.add(text)
        elif token.is_name:
            self._code.names[text] = self._code.names.get(text, 0) + 1

    def _note(self, node: Node, kind: str) -> None:
        if kind in ARGUMENTS and node.parent is not None and "class" not in node.parent.type:
            self._code.arguments.append(self._span(node))
        if kind in BLOCKS:
            inside = [child for child in node.children if child.is_named and "comment" not in child.type]
            if inside:
                self._code.blocks.append((self._span(inside[0])[0], self._span(inside[-1])[1]))
        if (name := _defined(node, kind)) is not None:
            start, end = self._span(name)
            self._code.defined.add(self._code.text[start:end])

    def _span(self, node: Node) -> Span:
        if self._places is None:
            return node.start_byte, node.end_byte
        return self._places[node.start_byte], self._places[node.end_byte]


def _places(text: str) -> list[int]:
    """Map each byte of the text in UTF-8 to its code point; one more entry marks the end."""
    places: list[int] = []
    for at, char in enumerate(text):
        places += [at] * len(char.encode("utf-8", "replace"))
    return [*places, len(text)]


def _defined(node: Node, kind: str) -> Node | None:
    """Return the name that a node defines for other files: of functions, classes and the like, and of module
    variables."""
    if kind == "assignment":
        target, parent = node.child_by_field_name("left"), node.parent
        is_outer = parent is not None and "module" in (parent.type, parent.parent.type if parent.parent else "")
        return target if is_outer and target is not None and target.type == "identifier" else None
    if kind == "function_definition" and (inner := node.child_by_field_name("declarator")) is not None:
        for _ in range(4):  # C: the name is inside the pointers and the parameter list
            inner = inner.child_by_field_name("declarator") or inner
        return inner if "identifier" in inner.type else None
    if not _DEFINES.fullmatch(kind):
        return None
    named = node.child_by_field_name("name")
    return named or next((child for child in node.children if child.type.endswith("identifier")), None)


def rest_of_line(code: Code) -> Iterator[Span]:
    """From the start of a word that is not the line's first to the end of the line."""
    for row, tokens in code.rows.items():
        for token in tokens[1:]:
            if token.text[0].isalnum() or token.text[0] in "_\"'$@":
                yield token.start, code.end_of(row)


def line(code: Code) -> Iterator[Span]:
    """A line without its indentation, if it has more than one token and a name, and is not an import."""
    for row, tokens in code.rows.items():
        if len(tokens) > 1 and any(token.is_name for token in tokens) and not tokens[0].is_import:
            yield tokens[0].start, code.end_of(row)


def block(code: Code) -> Iterator[Span]:
    """The statements of a block, without the indentation of the first."""
    firsts = {tokens[0].start: row for row, tokens in code.rows.items()}
    lasts = {tokens[-1].end: row for row, tokens in code.rows.items()}
    for start, end in sorted(set(code.blocks)):
        first, last = firsts.get(start), _last(lasts, code.text, end)
        if first is None or last is None or not MIN_BLOCK <= last - first + 1 <= MAX_BLOCK:
            continue
        if all(row in code.rows or _is_blank(code, start, row - first) for row in range(first, last + 1)):
            yield start, code.end_of(last)


def _last(lasts: dict[int, int], text: str, end: int) -> int | None:
    """Return the row that ends at ``end``; some grammars leave the last semicolon outside."""
    return lasts.get(end, lasts.get(end + 1) if text[end : end + 1] == ";" else None)


def _is_blank(code: Code, start: int, n_below: int) -> bool:
    lines = code.text[start:].split("\n", n_below + 1)
    return n_below < len(lines) and not lines[n_below].strip()


def call_arguments(code: Code) -> Iterator[Span]:
    """The text between the parentheses of a call on one line."""
    ends = {token.end for tokens in code.rows.values() for token in tokens}
    for start, end in code.arguments:
        text = code.text[start:end]
        if text[:1] == "(" and text[-1:] == ")" and "\n" not in text and end in ends:
            yield start + 1, end - 1


def mid_word(code: Code) -> Iterator[Span]:
    """From the middle of a name to the end of its line."""
    for row, tokens in code.rows.items():
        for token in tokens:
            if token.is_name and len(token.text) > MIN_CHARS and not token.is_import:
                yield token.start + len(token.text) // 2, code.end_of(row)


def pause(code: Code) -> Iterator[Span]:
    """From a point where users pause to think to the end of the line: after ``(``, ``[``, ``=``, a dot, ``return`` and
    the like."""
    for row, tokens in code.rows.items():
        for before, token in itertools.pairwise(tokens):
            if before.text in PAUSES and not token.is_import and (token.is_name or token.text[0] in "\"'"):
                yield token.start, code.end_of(row)


KINDS: dict[str, Callable[[Code], Iterator[Span]]] = {
    "rest-of-line": rest_of_line,
    "line": line,
    "block": block,
    "call-arguments": call_arguments,
    "mid-word": mid_word,
    "pause": pause,
}


def cross_file(code: Code, elsewhere: frozenset[str]) -> Iterator[tuple[Span, str]]:
    """From a name that other files define to the end of its line, if this file uses it nowhere else.

    An import statement may name it: then the name is known, but not what it stands for.
    """
    for row, tokens in code.rows.items():
        for token in tokens:
            if (
                token.is_name
                and not token.is_import
                and token.text in elsewhere
                and token.text not in code.defined
                and code.names.get(token.text) == 1
            ):
                yield (token.start, code.end_of(row)), token.text


def member(code: Code, elsewhere: frozenset[str]) -> Iterator[tuple[Span, str]]:
    """From after a dot to the end of the line, if other files define the member, this file uses it nowhere else, and
    the receiver is not an imported name."""
    for row, tokens in code.rows.items():
        for receiver, dot, token in zip(tokens, tokens[1:], tokens[2:], strict=False):
            if (
                dot.text in (".", "?.", "->", "::")
                and receiver.is_name
                and receiver.text not in code.imported
                and token.is_name
                and not token.is_import
                and token.text in elsewhere
                and token.text not in code.defined
                and code.names.get(token.text) == 1
            ):
                yield (token.start, code.end_of(row)), token.text
