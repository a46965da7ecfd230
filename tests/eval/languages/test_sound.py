"""What accepting a suggestion breaks, and what it does not."""

from __future__ import annotations

import pytest

from midfill.eval.languages.sound import MAX_CHARS, count, errors_of


@pytest.mark.parametrize(("language", "before", "text", "middle", "after", "is_broken"), [
    ("python", "for x in xs:\n    ", "total += x", "total += x", "\n", False),
    ("python", "total = 0\n", "    total = 0", "x = 1", "\nfor x in xs:\n    pass\n", True),
    ("python", "def f():\n    ", "total = 0for x in xs:", "for x in xs:", "\n        pass\n", True),
    ("rust", "fn main() {\n    ", "let x = 1;", "let x = 2;", "\n}\n", False),
    ("rust", "fn main() {\n    ", "let x = (1;", "let x = 2;", "\n}\n", True),
    ("go", "package a\n\nfunc f() {\n\t", "if x {", "return", "\n}\n", True),
    ("json", '{\n  "a": 1', ',\n  "b": 2,', ',\n  "b": 2', "\n}\n", True),
    ("json", '{\n  "a": 1', ',\n  "b": 3', ',\n  "b": 2', "\n}\n", False),
    ("html", "<ul>\n", "  <li>one</li>", "  <li>two</li>", "\n</ul>\n", False),
    # The file is not sound with what stood there either: that is no fault of the answer.
    ("python", "x = (\n", "1", "2", "\n", False),
])  # fmt: skip
def test_breaks(language: str, before: str, text: str, middle: str, after: str, *, is_broken: bool) -> None:
    errors = errors_of(language, before, text, middle, after)
    assert errors is not None
    assert errors.is_broken is is_broken


@pytest.mark.parametrize("language", ["markdown", "bat", "nonsense"])
def test_no_grammar_and_prose(language: str) -> None:
    assert errors_of(language, "a", "b", "c", "d") is None


def test_a_long_document_is_not_read() -> None:
    assert errors_of("python", "x = 1\n" * MAX_CHARS, "b", "c", "d") is None


def test_deep_code_is_counted() -> None:
    assert count("python", "(" * 20_000) is not None
