"""Signatures as text: on one line, and not longer than a call needs."""

from __future__ import annotations

import re

LONG = 130  # characters; a longer signature loses the types and defaults of its parameters
MAX = 220
MAX_RECORD_LINES = 16
MAX_RECORD_LINE = 160
MAX_VALUE = 36  # of a constant; a longer value is left out if the name can do without

_OPENING, _CLOSING = "([{<", ")]}>"


def call(text: str) -> str:
    """Return the head of a function or class on one line, without what opens its body."""
    text = re.sub(r"\s+", " ", text).strip().rstrip(":{;(").rstrip()
    text = re.sub(r"([(\[]) ", r"\1", re.sub(r",? (?=[)\]])", "", text)).replace(",)", ")")
    return shortened(text) if len(text) > LONG else text


def shortened(text: str) -> str:
    """Return a long head with only the names of its parameters, if they come before their types."""
    start = text.find("(")
    end = _closing(text, start) if start >= 0 else -1
    if end < 0:
        return text[:MAX]
    names = [_bare(part) for part in _parts(text[start + 1 : end])]
    return f"{text[: start + 1]}{', '.join(name for name in names if name)}{text[end:]}"[:MAX]


def _bare(parameter: str) -> str:
    """Return ``name`` of ``name: type = default``; a default is shown as ``=...``."""
    name, colon, rest = parameter.strip().partition(":")
    if "=" in name:
        name, colon, rest = name.partition("=")[0], "=", ""
    has_default = colon == "=" or "=" in rest.replace("=>", "")
    return name.strip() + ("=..." if has_default and colon else "")


def _parts(text: str) -> list[str]:
    """Return ``text`` cut at the commas outside of all brackets."""
    parts, depth, start = [], 0, 0
    for at, char in enumerate(text):
        if char in _OPENING:
            depth += 1
        elif char in _CLOSING and text[at - 1 : at] not in ("-", "="):  # not an arrow
            depth -= 1
        elif char == "," and depth <= 0:
            parts.append(text[start:at])
            start = at + 1
    return [*parts, text[start:]]


def _closing(text: str, start: int) -> int:
    depth = 0
    for at in range(start, len(text)):
        depth += (text[at] == "(") - (text[at] == ")")
        if depth == 0:
            return at
    return -1


def value(text: str) -> str:
    """Return a constant or a field on one line: ``name: type = value``, without a value that is long or continues."""
    line = text.split("\n", 1)[0].rstrip(" {;,")
    target, equals, given = line.partition("=")
    if not equals or target.rstrip().endswith(("!", "<", ">")):
        return line
    whole = "\n" not in text.strip() and len(given) <= MAX_VALUE and _is_balanced(given)
    annotated = ":" in target and not target.rstrip().endswith(":")
    return (
        line
        if whole and not (annotated and "(" in given)
        else target.strip().removesuffix(":").strip() + ("" if annotated else " = ...")
    )


def use(name: str, signature: str) -> str:
    """Return a member from its name on, without the parameter for the object itself."""
    match = re.search(rf"\b{re.escape(name)}\b(?!\.)", signature)
    text = signature[match.start() :] if match else name
    return re.sub(r"\((?:self|cls|&mut self|&self|this)(?:, ?|(?=\)))", "(", text, count=1)


def _is_balanced(text: str) -> bool:
    return all(text.count(a) == text.count(b) for a, b in ("()", "[]", "{}"))


def record(text: str, column: int) -> str:
    """Return the first lines of a record, without the indentation of its place, empty lines and comments."""
    lines = [line.rstrip() for line in text.split("\n") if line.strip()]
    lines = [line for line in lines if not line.lstrip().startswith(("//", "/*", "*", "#["))] or lines
    shown = [line[column:] if not line[:column].strip() else line.strip() for line in lines[:MAX_RECORD_LINES]]
    return "\n".join(line[:MAX_RECORD_LINE] for line in shown)
