"""Types as they are written in Go and TypeScript, as far as their members are concerned."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

GO, SCRIPT = "go", "javascript"  # families (context/kinds.py)
Wrapper = Literal["list", "promise"]

MAX_TYPE = 400  # characters of a type that is read
_OPENING, _CLOSING = "([{<", ")]}>"
_GO_NAME = re.compile(r"(?:([^\W\d]\w*)\.)?([^\W\d]\w*)(?:\[.*\])?\Z", re.DOTALL)
_SCRIPT_NAME = re.compile(r"(?:([^\W\d][\w$]*)\.)?([^\W\d][\w$]*)(?:<(.*)>)?\Z", re.DOTALL)
_LISTS = frozenset({"Array", "ReadonlyArray", "Set", "ReadonlySet", "Iterable", "Iterator"})
_SAME_MEMBERS = frozenset({"Readonly", "Required", "Partial", "NonNullable", "Awaited"})
_NOTHING = frozenset({"null", "undefined", "void"})


@dataclass(frozen=True, slots=True)
class Type:
    """A named type, or an object type written in full; ``wrappers``, outermost first, are what it is wrapped in.

    ``package``: the text before the name, as it is written. ``body``: the text between the braces of an object type.
    """

    name: str
    package: str = ""
    wrappers: tuple[Wrapper, ...] = ()
    body: str = ""

    def inside(self, wrapper: Wrapper) -> Type | None:
        """Return what a list or promise holds; None for any other type."""
        if self.wrappers[:1] != (wrapper,):
            return None
        return replace(self, wrappers=self.wrappers[1:])


def read_type(text: str, family: str) -> Type | None:
    """Return the type that ``text`` means; None if it has no useful members: built-in types, unions, functions."""
    text = text.strip()
    if len(text) > MAX_TYPE:
        return None
    return _go(text) if family == GO else _script(text)


def _go(text: str) -> Type | None:
    text = text.lstrip("*&").removeprefix("...").strip()
    for pattern in (r"\[\d*\]", r"map\[[^\]]*\]", r"(?:<-)?chan(?:<-)?\s+"):
        if (match := re.match(pattern, text)) is not None:
            inner = _go(text[match.end() :])
            return _wrapped(inner, "list")
    match = _GO_NAME.match(text)
    return Type(match[2], match[1] or "") if match is not None else None


def _script(text: str) -> Type | None:
    text = text.removeprefix("readonly ").strip()
    if text.startswith("(") and text.endswith(")") and "=>" not in text and closing(text, 0) == len(text) - 1:
        text = text[1:-1].strip()
    parts = [part for part in split(text, "|") if part.strip() not in _NOTHING]
    if len(parts) != 1:
        return None
    text = parts[0].strip()
    if text.endswith("[]"):
        return _wrapped(_script(text[:-2]), "list")
    if text.startswith("{") and closing(text, 0) == len(text) - 1:
        return Type("", body=text[1:-1])
    match = _SCRIPT_NAME.match(text)
    if match is None:
        return None
    given = split(match[3] or "", ",")
    if match[2] in _LISTS:
        return _wrapped(_script(given[0]), "list")
    if match[2] == "Promise":
        return _wrapped(_script(given[0]), "promise")
    if match[2] in _SAME_MEMBERS and match[3]:
        return _script(given[0])
    return Type(match[2], match[1] or "") if match[2][0].isupper() else None


def _wrapped(inner: Type | None, wrapper: Wrapper) -> Type | None:
    return replace(inner, wrappers=(wrapper, *inner.wrappers)) if inner is not None else None


def split(text: str, at: str) -> list[str]:
    """Return ``text`` cut at each ``at`` (one character or several) outside of all brackets and strings."""
    parts, depth, start, quote = [], 0, 0, ""
    for n, char in enumerate(text):
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char in _OPENING and text[n : n + 2] != "<-":  # of Go's channels
            depth += 1
        elif char in _CLOSING and text[n - 1 : n] not in ("=", "-"):  # not an arrow
            depth -= 1
        elif depth <= 0 and char in at:
            parts.append(text[start:n])
            start = n + 1
    return [*parts, text[start:]]


def closing(text: str, start: int) -> int:
    """Return where the bracket at ``start`` is closed; -1 if it is not."""
    depth, quote = 0, ""
    for n in range(start, len(text)):
        char = text[n]
        if quote:
            quote = "" if char == quote else quote
        elif char in "'\"`":
            quote = char
        elif char in "([{":
            depth += 1
        elif char in ")]}":
            depth -= 1
            if depth == 0:
                return n
    return -1


def results(signature: str, name: str, family: str) -> list[str]:
    """Return the types that a function returns, according to its head: several in Go, at most one elsewhere."""
    match = re.search(rf"(?<![\w$]){re.escape(name)}(?![\w$])[^(\n]*", signature)
    if match is None or (end := closing(signature, match.end())) < 0:
        return []
    rest = signature[end + 1 :].strip()
    if family == GO:
        if rest.startswith("("):
            inner = rest[1 : closing(rest, 0)]
            return [
                part.strip().rpartition(" ")[2] if " " in part.strip() else part.strip() for part in split(inner, ",")
            ]
        return [rest] if rest else []
    return [rest[1:].removesuffix("=>").strip()] if rest.startswith(":") else []


def parameters(text: str, family: str) -> Iterator[tuple[str, str]]:
    """Yield (what is bound, its type or "") for each parameter between a function's parentheses, as it is written."""
    parts = [part.strip() for part in split(text, ",") if part.strip()]
    if family != GO:
        for part in parts:
            bound, _, kind = _at_colon(part)
            words = bound.split()
            name = bound if bound.startswith(("{", "[")) else words[-1].rstrip("?") if words else ""
            yield name.removeprefix("..."), split(kind, "=")[0].strip() if kind else ""
        return
    waiting: list[str] = []
    for part in parts:
        name, _, kind = part.partition(" ")
        waiting.append(name)
        if kind:
            yield from ((one, kind.strip()) for one in waiting)
            waiting = []


def _at_colon(text: str) -> tuple[str, str, str]:
    """Return ``text`` cut at its first colon outside of brackets."""
    before = split(text, ":")[0]
    return before.strip(), ":", text[len(before) + 1 :].strip()
