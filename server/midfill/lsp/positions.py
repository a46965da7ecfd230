"""LSP positions in Python strings: lines, and characters counted in the client's encoding."""

from __future__ import annotations

import re
from typing import Literal

Encoding = Literal["utf-8", "utf-16", "utf-32"]

_LINE = re.compile(r"[^\r\n]+(?:\r\n|\n|\r)?|\r\n|\n|\r")  # never backtracks: a line may have a megabyte
_ASTRAL = re.compile("[\U00010000-\U0010ffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


def split_lines(text: str) -> list[str]:
    """Return the lines of ``text`` with their ends, which are only \\n, \\r\\n and \\r. The last line has none."""
    lines: list[str] = _LINE.findall(text)
    if not lines or lines[-1][-1] in "\r\n":
        lines.append("")
    return lines


def content(line: str) -> str:
    """Return a line without its end."""
    return line.rstrip("\r\n")


def join_surrogates(text: str) -> str:
    """Join two halves of a character that arrived one after the other."""
    if text.isascii() or _SURROGATE.search(text) is None:
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "surrogatepass")


def to_index(line: str, character: int, encoding: Encoding) -> int:
    """Return the code point before which ``character`` units stand: at most the end, and never inside a character."""
    if encoding == "utf-32" or line.isascii():
        return min(character, len(line))
    head = line[:character]  # a code point is at least one unit
    if encoding == "utf-8":
        data = head.encode("utf-8", "surrogatepass")
        end = min(character, len(data))
        while end < len(data) and data[end] & 0xC0 == 0x80:
            end -= 1
        return len(data[:end].decode("utf-8", "surrogatepass"))
    n_astral = 0
    for match in _ASTRAL.finditer(head):
        if match.start() + n_astral + 2 > character:
            return min(match.start(), character - n_astral)
        n_astral += 1
    return min(len(head), character - n_astral)


def to_character(head: str, encoding: Encoding) -> int:
    """Return how many units ``head`` has."""
    if encoding == "utf-32" or head.isascii():
        return len(head)
    if encoding == "utf-8":
        return len(head.encode("utf-8", "surrogatepass"))
    return len(head.encode("utf-16-le", "surrogatepass")) // 2
