"""Texts that properties are tried on."""

from __future__ import annotations

from hypothesis import strategies as st

from midfill.types import Snapshot

PIECES = ("x", "return", "if a:", "def f(a):", "for (;;) {", "class A {", "else", "\n", "\n    ", "\n\t", "\n\n", " ",
          "\t", "(", ")", "[", "]", "{", "}", "'", '"', '"""', "`", "#", "//", "/*", "*/", "\\", ";", ",", ":", "=",
          "=> ", "${", "\u202e", "\u200b", "\x1b[31m", "\r", "\x00", "```python\n", "```", "Sure, here is",
          "é", "😀", "\u2028", "end")  # fmt: skip
TEXTS = st.one_of(st.lists(st.sampled_from(PIECES), max_size=25).map("".join), st.text(max_size=40))
LANGUAGES = st.sampled_from(("python", "javascript", "typescript", "go", "c", "java", "rust", "ruby", "markdown", ""))


def at_cursor(prefix: str, suffix: str, language: str) -> Snapshot:
    prefix, suffix = prefix.replace("\r", "\n"), suffix.replace("\r", "\n")  # as in a snapshot
    return Snapshot("file:///w/a", 1, language, prefix + suffix, len(prefix), path="a")
