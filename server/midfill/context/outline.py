"""The definitions of a file: names, signatures and nesting, read with tree-sitter.

A signature is the definition without its body, as in a stub file: the model writes a call from the signature, which
costs a tenth of the tokens. The file is hostile input: its size, the number of visited nodes, the depth and the length
of every signature are bounded. What the grammar itself does is not: the language server lets another process do this
(``parser``).
"""

from __future__ import annotations

import re

from tree_sitter import Node

from midfill.context import signatures
from midfill.context.definition import Definition
from midfill.context.index import SourceFile
from midfill.context.kinds import KINDS, SCRIPTS, Kind, Kinds
from midfill.syntax.parsers import parser_for

MAX_DEFINITIONS = 2000
MAX_NODES = 40_000
MAX_DEPTH = 12  # of holders and classes inside each other
MAX_HEAD = 1500  # bytes of a definition before its body
MAX_RECORD = 1500
MAX_VALUE = 300
MAX_CONSTRUCTOR = 8000
MAX_ATTRIBUTES = 40
MAX_DOC = 90  # characters
MAX_CHARS = 400_000  # of all signatures together: one process passes them to another


def outline(text: str, language: str) -> tuple[Definition, ...]:
    """Return the definitions of ``text`` in their order; () for a language without a grammar."""
    kinds, parser = KINDS.get(language), parser_for(language)
    if kinds is None or parser is None:
        return ()
    source = text.encode("utf-8", "replace")
    walk = _Walk(kinds, source, language)
    walk.visit(parser.parse(source).root_node, -1, 0)
    return tuple(walk.found)


def source_file(key: str, path: str, language: str, text: str, stamp: tuple[int, int] = (0, 0)) -> SourceFile:
    """Return ``text`` with its definitions, read at once in this process."""
    return SourceFile(key, path, language, text, outline(text, language), stamp)


class _Walk:
    """One pass over a tree, from the outside in; function bodies are not entered."""

    def __init__(self, kinds: Kinds, source: bytes, language: str) -> None:
        self.kinds, self.source, self.language = kinds, source, language
        self.found: list[Definition] = []
        self._n_left = MAX_NODES
        self._n_chars_left = MAX_CHARS

    def visit(self, node: Node, parent: int, depth: int) -> None:
        """Take the definitions among the children of ``node``."""
        for child in node.named_children:
            self._n_left -= 1
            if self._n_left < 0 or self._n_chars_left < 0 or len(self.found) >= MAX_DEFINITIONS or depth > MAX_DEPTH:
                return
            kind = self.kinds.nodes.get(child.type)
            if kind is not None:
                self._take(child, kind, parent, depth)
            elif child.type in self.kinds.holders:
                self.visit(child, parent, depth + 1)

    def _take(self, node: Node, kind: Kind, parent: int, depth: int) -> None:
        owner = self.found[parent].name if parent >= 0 else ""
        body = _body(node)
        if node.type in ("variable_declarator", "assignment_expression", "assignment"):
            kind, body = self._assigned(node, kind, parent)
        elif node.type in ("declaration", "field_declaration", "declaration_list"):
            if node.type == "declaration" and not _has(node, "function_declarator"):
                return  # a variable of C
            kind = "function" if _has(node, "function_declarator") else "field"
        name, scope = self._name(node, kind)
        if kind == "constant" and "require(" in self._text(node, MAX_VALUE):
            return  # an import
        if not name:
            if kind == "field" and body is not None:
                self.visit(body, parent, depth + 1)
            return
        owner = owner or scope or self._receiver(node)
        shown = self._signature(node, kind, body)
        if kind == "function" and self._is_property(node):
            kind, shown = "field", name + shown.partition(")")[2].replace(" ->", ":")
        doc = self._doc(node, body)
        level = self.found[parent].depth + 1 if parent >= 0 else 0
        at = len(self.found)
        self._n_chars_left -= len(shown) + len(doc)
        lines = node.start_point.row, node.end_point.row
        self.found.append(Definition(name, kind, shown, *lines, parent, owner, doc, level))
        if kind in ("class", "impl") and body is not None:
            self.visit(body, at, depth + 1)
        elif name in ("__init__", "constructor", "initialize") and body is not None:
            self._attributes(body, parent, owner, level)

    def _assigned(self, node: Node, kind: Kind, parent: int) -> tuple[Kind, Node | None]:
        """Return what an assignment defines: a function if its value is one, else a constant or a field."""
        value = node.child_by_field_name("value") or node.child_by_field_name("right")
        if value is not None and value.type in ("arrow_function", "function_expression", "generator_function"):
            return "function", value.child_by_field_name("body")
        if self.language in SCRIPTS and value is not None and parent < 0 and (body := _object(value)) is not None:
            return "class", body
        return ("field" if parent >= 0 else "constant"), None

    def _name(self, node: Node, kind: Kind) -> tuple[str, str]:
        """Return the name, and the class that a qualified name mentions; "" if it is of no use here."""
        at = node.child_by_field_name("name") or node.child_by_field_name("left")
        if kind == "impl":
            at = node.child_by_field_name("type")
        if at is None:
            at = _declared(node)
        if at is None:
            at = next((child for child in node.named_children if child.type in _NAMES), None)
        if at is None:
            return "", ""
        text = self._text(at, 200)
        if at.type == "member_expression":  # exports.name, Name.prototype.member
            parts = [part for part in text.split(".") if part not in ("module", "exports", "prototype")]
            return (parts[-1], "") if parts and len(parts) <= 2 and _is_name(parts[-1]) else ("", "")
        if "::" in text:
            scope, _, text = text.rpartition("::")
            return (text, scope.rpartition("::")[2]) if _is_name(text.lstrip("~")) else ("", "")
        text = text.split("<", 1)[0].lstrip("$#")
        return (text, "") if _is_name(text) else ("", "")

    def _receiver(self, node: Node) -> str:
        receiver = node.child_by_field_name("receiver") if self.language == "go" else None
        if receiver is None:
            return ""
        names = re.findall(r"\w+", self._text(receiver, 100).split("[", 1)[0])
        return names[-1] if names else ""

    def _signature(self, node: Node, kind: Kind, body: Node | None) -> str:
        outer = node
        while outer.parent is not None and outer.parent.type in _WRAPPERS:
            outer = outer.parent
        if outer.type == "decorated_definition":
            outer = node  # a decorator is rarely worth its tokens
        if kind == "record":
            keyword = "type " if node.type in ("type_spec", "type_alias") else ""  # in Go it is outside of the node
            return keyword + signatures.record(self._text(outer, MAX_RECORD), outer.start_point.column)
        if kind in ("constant", "field"):
            return signatures.value(self._text(outer, MAX_VALUE))
        end = body.start_byte if body is not None else node.end_byte
        text = self.source[outer.start_byte : min(end, outer.start_byte + MAX_HEAD)].decode("utf-8", "replace")
        return signatures.call(text)

    def _doc(self, node: Node, body: Node | None) -> str:
        """Return the first line of a Python docstring, or of a comment that ends right above."""
        if self.language == "python":
            first = body.named_children[0] if body is not None and body.named_child_count else None
            if first is not None and first.type == "expression_statement" and first.named_child_count:
                first = first.named_children[0]
            text = self._text(first, 400) if first is not None and first.type == "string" else ""
            text = text.lstrip("rRbBuUfF").strip("\"'").strip()
        else:
            before = node.prev_named_sibling
            if before is None or "comment" not in before.type or before.end_point.row + 1 < node.start_point.row:
                return ""
            text = re.sub(r"^[ \t]*(?:/\*\*?|\*/|\*|//[/!]?|#)[ \t]?", "", self._text(before, 400), flags=re.M)
        return text.strip().split("\n", 1)[0].removesuffix("*/").strip()[:MAX_DOC]

    def _attributes(self, body: Node, parent: int, owner: str, level: int) -> None:
        """Add the fields that a constructor makes: ``self.name = value``; those that the class declares are already
        known."""
        seen = {one.name for one in self.found if one.owner == owner}
        line = body.start_point.row
        for match in _ATTRIBUTE.finditer(self._text(body, MAX_CONSTRUCTOR)):
            name = match["name"]
            if name in seen or len(seen) >= MAX_ATTRIBUTES or len(self.found) >= MAX_DEFINITIONS:
                continue
            seen.add(name)
            shown = signatures.value(match[0].strip())
            self.found.append(Definition(name, "field", shown, line, line, parent, owner, "", level))

    def _is_property(self, node: Node) -> bool:
        """Whether a Python method is read like a field."""
        outer = node.parent
        if outer is None or outer.type != "decorated_definition":
            return False
        return any("property" in self._text(child, 60) for child in outer.named_children if child.type == "decorator")

    def _text(self, node: Node, limit: int) -> str:
        return self.source[node.start_byte : min(node.end_byte, node.start_byte + limit)].decode("utf-8", "replace")


_ATTRIBUTE = re.compile(
    r"(?:self\.|this\.|@)(?P<name>[A-Za-z]\w*)(?:[ \t]*:[ \t]*[^=\n]{1,60})?[ \t]*=(?!=)[ \t]*[^\n]{1,120}"
)
_NAMES = frozenset({"simple_identifier", "type_identifier", "identifier", "property_identifier", "constant", "name"})
_BODIES = frozenset({
    "block", "class_body", "enum_class_body", "function_body", "body_statement", "declaration_list", "statement_block",
    "field_declaration_list", "compound_statement", "enum_body", "interface_body",
})  # fmt: skip
# Nodes around a definition that are part of it: its signature begins with their words.
_WRAPPERS = frozenset({"export_statement", "lexical_declaration", "variable_declaration", "template_declaration",
                       "decorated_definition"})  # fmt: skip
_DECLARATORS = frozenset({"declarator", "variable_declaration", "property_element", "const_element",
                          "variable_declarator"})  # fmt: skip


def _body(node: Node) -> Node | None:
    body = node.child_by_field_name("body")
    if body is not None:
        return body
    return next((child for child in node.named_children if child.type in _BODIES), None)


def _object(value: Node) -> Node | None:
    """Return the object that a value is, or that it is made from: ``freeze({...})``."""
    if value.type == "call_expression" and (given := value.child_by_field_name("arguments")) is not None:
        value = given.named_children[0] if given.named_child_count == 1 else value
    methods = ("method_definition", "pair", "shorthand_property_identifier")
    return value if value.type == "object" and any(one.type in methods for one in value.named_children) else None


def _declared(node: Node) -> Node | None:
    """Return what the innermost declarator of C, Java, C#, PHP or Kotlin names."""
    at: Node | None = node
    for _ in range(8):
        assert at is not None
        inner = at.child_by_field_name("declarator") or next(
            (child for child in at.named_children if child.type in _DECLARATORS), None
        )
        if inner is None:
            break
        at = inner
    if at is None or at == node:
        return None
    if at.type in _DECLARATORS or at.type in ("variable_name",):
        return at.child_by_field_name("name") or next(iter(at.named_children), None)
    return at


def _has(node: Node, declarator: str) -> bool:
    at: Node | None = node.child_by_field_name("declarator")
    for _ in range(8):
        if at is None or at.type == declarator:
            break
        at = at.child_by_field_name("declarator")
    return at is not None and at.type == declarator


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 100 and re.fullmatch(r"[^\W\d][\w?!]*", text) is not None
