"""Content that is below: the lines of a call, a literal or an element whose first line is to be written.

    result = ‸
        first,
        second,
    )

The deeper lines below, up to the closer at the indentation of the cursor's line, are already written; the line lacks
only its opening.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from midfill.postprocess.traits import Traits, traits
from midfill.syntax.lexical import CLOSERS, OPENERS, START, LexerState, scan, unopened
from midfill.syntax.names import indent

MAX_LINES = 400
# Content that agrees in this many characters, white space left out, is no coincidence.
ENOUGH = 8
MIN_NAME = 3
_OPENER_OF = {closer: opener for opener, closer in OPENERS.items()}
_WHITE = re.compile(r"\s+")
_TAG = re.compile(r"(?<![\w)\]])<[A-Za-z][\w.:-]*")
_END_TAG = re.compile(r"</([A-Za-z][\w.:-]*)")


@dataclass(frozen=True, slots=True)
class Content:
    """The content of something whose closer is below."""

    depth: int  # the indentation of its closer, and so of the line that opens it
    openers: tuple[str, ...]  # the brackets that its closer's line closes, innermost last; empty: a tag
    tag: str  # the element's name; "" if the tag itself is not closed yet, or there is none
    text: str  # without white space
    is_open: bool  # by the cursor's line already, left of the cursor

    def is_said(self, text: str) -> bool:
        """Whether ``text`` continues like the content. Once it does, more text never changes that."""
        said, n = _bare(text), 0
        while n < min(len(said), len(self.text)) and said[n] == self.text[n]:
            n += 1
        if n >= self._enough:
            return True
        return n == len(self.text) > 0 and len(said) > n and not (said[n].isalnum() or said[n] == "_")

    @property
    def _enough(self) -> int:
        """How many agreeing characters are no coincidence: a first argument, or some more."""
        first, comma, _ = self.text.partition(",")
        if comma and first.isidentifier() and len(first) >= MIN_NAME:
            return min(ENOUGH, len(first) + 1)
        return ENOUGH if len(self.text) > ENOUGH else len(self.text) + 1

    def opening_end(self, line: str, language: str, *, complete: bool) -> int | None:
        """Return where the opening ends in ``line``, which is to open the content; None: not here, or not yet."""
        places = list(self._openings(line, language))
        for at in places:
            if self.is_said(line[at:]):
                return at
        if not complete:
            return None
        if places and not self._is_open_after(line, language):
            return places[-1]
        return len(line) if places else None

    def _openings(self, line: str, language: str) -> list[int]:
        if not self.openers:
            shape = _tag_shape(self.tag) if self.tag else _TAG
            return [match.end() for match in shape.finditer(line)][-1 if self.tag else 0 :][:1]
        found, state, start = [], START, 0
        for match in re.finditer(re.escape(self.openers[-1]), line):
            state = scan(line[start : match.end()], language, state)
            start = match.end()
            if self._fits(state):
                found.append(start)
        return found

    def _fits(self, state: LexerState) -> bool:
        """Whether what is open after a part of the line is what the closer's line closes, or the end of it."""
        n = len(state.brackets)
        return n > 0 and state.is_code and state.brackets == self.openers[-n:]

    def _is_open_after(self, line: str, language: str) -> bool:
        if self.openers:
            return self._fits(scan(line + "\n", language))
        return f"</{self.tag}" not in line if self.tag else not line.rstrip().endswith(">")


def content_below(prefix: str, suffix: str, state: LexerState, language: str) -> Content | None:
    """Return the content below the cursor that is deeper than its line, up to its closer; None if there is none, or if
    it was opened above."""
    line = prefix.rpartition("\n")[2]
    known, lines = traits(language), suffix.split("\n", MAX_LINES)[1:]
    found = _with_closer(lines)
    if known.prose or found is None:
        return None
    content, closer = found
    depth, text = indent(closer), closer.strip()
    if line.strip() and indent(line) != depth:
        return None
    openers, tag = _opened_by(text, language, known)
    if openers is None:
        return None
    is_open = _opens(line, openers, tag, language)
    if not is_open and openers and _is_opened_above(prefix, state, language, openers, depth):
        return None
    return Content(depth, openers, tag, _bare("".join(content)).rstrip(",;"), is_open)


def _with_closer(lines: list[str]) -> tuple[list[str], str] | None:
    """Return (the lines that are as deep as the first or deeper than the closer, the closer's line)."""
    first, content = -1, list[str]()
    for line in lines:
        if not line.strip():
            if first >= 0:
                content.append(line)
        elif first < 0:
            first = indent(line)
            content.append(line)
        elif indent(line) < first:
            return content, line
        else:
            content.append(line)
    return None


def _opened_by(closer: str, language: str, known: Traits) -> tuple[tuple[str, ...] | None, str]:
    """Return (the brackets that a line of ``closer`` closes, the name of the element that it ends); None: it is not a
    closer."""
    if known.has_brackets and closer[:1] in CLOSERS:
        return tuple(_OPENER_OF[char] for char in reversed(unopened(closer, language))), ""
    if known.has_tags and (match := _END_TAG.match(closer)) is not None:
        return (), match.group(1)
    return ((), "") if known.has_tags and closer.startswith(("/>", ">")) else (None, "")


def _opens(line: str, openers: tuple[str, ...], tag: str, language: str) -> bool:
    """Whether ``line`` has opened what is closed below."""
    if not openers:
        return _tag_shape(tag).search(line) is not None if tag else bool(re.search(_TAG.pattern + r"[^>]*$", line))
    brackets = scan(line, language).brackets
    return bool(brackets) and brackets == openers[-len(brackets) :]


def _is_opened_above(prefix: str, state: LexerState, language: str, openers: tuple[str, ...], depth: int) -> bool:
    """Whether the innermost open bracket is closed below, because its line and the closer's have the same
    indentation."""
    if not state.brackets or state.brackets[-1] != openers[-1]:
        return False
    target, state, opener = len(state.brackets), START, ""
    lines = prefix.split("\n")
    for line in lines[:-1]:
        n_before = len(state.brackets)
        state = scan(line + "\n", language, state)
        if len(state.brackets) >= target > n_before:
            opener = line
    return bool(opener) and indent(opener) == depth


def _tag_shape(name: str) -> re.Pattern[str]:
    return re.compile(rf"<{re.escape(name)}\b(?:[^<>]|=>)*>")


def _bare(text: str) -> str:
    return _WHITE.sub("", text).replace("'", '"')
