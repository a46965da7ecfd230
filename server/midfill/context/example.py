"""Where invented keys and passwords are common: in tests and examples, by the names of their files, and in comments.

``secrets`` asks about the surroundings of what it found. A text may be cut out of a file, so doubtful text is code.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator
from typing import Literal

Place = Literal["code", "example", "documentation"]
Span = tuple[int, int]
MAX_ABOVE = 400  # characters above a docstring that are searched for the end of the line before it

# Folders and files of tests, examples and documents, as test runners and users name them.
_PATH = re.compile(
    r"(?i:(?:^|/)(?:__)?(?:tests?|testing|testdata|test[-_]\w+|specs?|fixtures?|examples?|samples?|demos?|cookbook|tutorials?|mocks?|e2e"
    r"|bench(?:es|marks?)?|docs?|locales?|lang(?=/[a-z]{2}(?:[-_][A-Za-z]{2,4})?[/.])|i18n|l10n|translations?)(?:__)?/)"
    r"|(?i:(?:^|/)(?:(?:test|spec)[-_.][^/]*|[^/]*[-_.](?:tests?|spec|e2e|mocks?|fixtures?|examples?)\.\w+|conftest\.py"
    r"|(?:tests?|examples?)\.\w+|[^/]*\.(?:md|mdx|rst|adoc))\Z)"
    r"|(?:^|/)x?t/(?:[^/]+/)*[^/]*\.(?:t|pl|pm)\Z|\.t\Z|[a-z0-9.]Tests?/|[a-z0-9](?:Tests?|Spec|TestCase)\.\w+\Z"
)
_RUST_TESTS = re.compile(r"(?m)^[ \t]*#\[cfg\(test\)\]\s{0,20}(?:pub\s)?mod\s\w{1,40}\s?\{")
# Lines of documentation; and three or more lines of comment, which are prose or disabled code. A line of the
# preprocessor is not one, nor is a Rust attribute or an option of a command.
_DOCUMENTED_LINE = re.compile(r"(?m)^[ \t]*(?://[/!]|>>> )[^\n]*")
_COMMENTS = re.compile(
    r"(?m)(?:^[ \t]*(?://|--(?=\s)|;|%|#(?![\[!]|(?:define|undef|include|import|pragma|if|ifdef|ifndef|elif|else|endif"
    r"|error|region|endregion|line)\b))[^\n]*(?:\n|\Z)){3,}"
)
_MARK = re.compile(r"(?m)\"\"\"|'''|/\*|\*/|<!--|-->|^=begin\b|^=end\b|^=(?:pod|head\d)\b|^=cut\b")
_ENDS = {'"""': '"""', "'''": "'''", "/*": "*/", "<!--": "-->", "=begin": "=end", "=pod": "=cut"} | {
    f"=head{n}": "=cut" for n in range(1, 5)
}


class Surroundings:
    """What surrounds each place of a text of the file ``path``; comments are searched at the first question."""

    def __init__(self, text: str, path: str) -> None:
        self._text = text
        self._tests = 0 if is_example(path) else _start_of_tests(text)
        self._spans: tuple[list[Span], list[Span], list[Span]] | None = None

    def at(self, offset: int) -> Place:
        """Return what surrounds ``offset``."""
        if self._spans is None:
            self._spans = (
                list(_blocks(self._text)),
                [one.span() for one in _DOCUMENTED_LINE.finditer(self._text)],
                [one.span() for one in _COMMENTS.finditer(self._text)],
            )
        blocks, lines, comments = self._spans
        if _is_in(blocks, offset) or _is_in(lines, offset):
            return "documentation"
        return "example" if offset >= self._tests or _is_in(comments, offset) else "code"


def is_example(path: str) -> bool:
    """Whether a file is a test, an example, a document or data of one, by its path ("/" separated)."""
    return _PATH.search(path) is not None


def _start_of_tests(text: str) -> int:
    """Return where a file of Rust continues with its own tests; the end of the file if it does not."""
    match = _RUST_TESTS.search(text)
    return match.start() if match else len(text)


def _is_in(spans: list[Span], offset: int) -> bool:
    """Whether one of the spans, which are in order and do not touch, contains ``offset``."""
    at = bisect.bisect_right(spans, offset, key=lambda span: span[0]) - 1
    return at >= 0 and offset < spans[at][1]


def _blocks(text: str) -> Iterator[Span]:
    """Yield comments of several lines and docstrings, each from the beginning of a line."""
    opened: re.Match[str] | None = None
    for mark in _MARK.finditer(text):
        if opened is None:
            opened = mark if mark[0] in _ENDS else None
        elif mark[0] == _ENDS[opened[0]]:
            if _begins(text, opened):
                yield opened.start(), mark.end()
            opened = None
    if opened is not None and opened[0].startswith(("=pod", "=head")):  # it may end with the file
        yield opened.start(), len(text)


def _begins(text: str, mark: re.Match[str]) -> bool:
    """Whether documentation begins at a mark. Quotes that begin a line may also end a string that began above it."""
    before, _, line = text[max(0, mark.start() - MAX_ABOVE) : mark.start()].rpartition("\n")
    if line.strip(" \trRuU"):
        return False
    if mark[0] not in ('"""', "'''"):
        return True
    above = before.rstrip()
    return above.endswith(":") or (
        mark.start() == len(before + line) and not above and text[mark.end() : mark.end() + 1].strip() != ""
    )
