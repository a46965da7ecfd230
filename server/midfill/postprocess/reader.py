"""Reads a middle of several lines, line by line, to find which of them belong to its first unit."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace

from midfill.postprocess.place import Place, code_of, opens_block
from midfill.syntax.lexical import OPENERS, START, LexerState, scan, without_brackets
from midfill.syntax.names import indent

# A growing line is not judged before it has this many characters.
MIN_SEEN = 8
_WORD = re.compile(r"[A-Za-z_]\w*")
_BEGUN_WORD = re.compile(r"[\w\\@#<{%/-]*")


@dataclass(slots=True)
class Line:
    """One of a middle's lines; the first one includes the text left of the cursor."""

    start: int
    end: int
    complete: bool
    text: str


class MiddleReader:
    """Follows a middle line by line, from a first line indented by ``base``."""

    def __init__(self, middle: str, place: Place, base: int, *, after_line: bool) -> None:
        """``after_line``: the first line opened something that the unit has to close to be complete."""
        self._middle, self._place, self._base, self._after_line = middle, place, base, after_line
        self._traits = place.traits
        self._names = names = place.names(base)
        self._first: Line | None = None
        self._n_read = 0  # lines that are not blank
        self._holder = ""  # what closes an open block whose content need not be deeper
        below, body = place.below, names.body if names.begun else base
        self._below = None if below is None else indent(below)
        # The function around the cursor ends with the middle.
        self._is_tail = names.body is not None and body is not None and not after_line and base >= body and (
            self._below is None or self._below < body
        )  # fmt: skip
        # The cursor's line begins something that continues without being deeper.
        self._is_paragraph = (
            after_line and self._traits.prose and self._traits.leads.match(self._first_line) is not None
        )
        self._is_statement = after_line and self._is_begun_statement()
        self._floor = base
        if self._is_tail and body is not None:
            self._floor = body
        elif self._below is not None and body is not None and body <= self._below < base:
            self._floor = self._below

    def end(self) -> int | None:
        """Return where the unit ends."""
        state, last = START, 0
        previous: Line | None = None
        for line in self._lines():
            if not line.text.strip() and line.complete and state.is_code:
                if previous is None:
                    continue
                if state.depth <= 0 and self._blank_ends(previous):
                    return last
                continue
            if previous is not None and state.is_code and state.depth <= 0:
                if not line.complete and self._undecided(line):
                    return None
                if self._ends_before(line, previous):
                    return last
            elif previous is not None and self._fell_out(line, state):
                return last
            if state.is_code and state.depth <= 0 and (at := self._opening_end(line)) is not None:
                return at
            if not line.complete:
                return None
            self._first = self._first or line
            state = self._after(line, state)
            if state.is_code and state.depth <= 0 and self._ends_after(line):
                return line.end
            self._hold(line, state)
            previous, last = line, line.end
            self._n_read += 1
        return None

    def _lines(self) -> Iterator[Line]:
        at, before = 0, self._place.before
        while at <= len(self._middle):
            end = self._middle.find("\n", at)
            complete = end >= 0
            end = end if complete else len(self._middle)
            yield Line(at, end, complete, before + self._middle[at:end])
            at, before = end + 1, ""

    def _is_begun_statement(self) -> bool:
        """Whether the cursor's line begins a statement up to a semicolon, and the rest of it is not below."""
        code = code_of(self._first_line, self._place.language).strip()
        if not self._traits.goes_to_semicolon or not code or code.endswith(";") or self._traits.opens_block(code):
            return False
        return not "".join(self._place.suffix.split("\n", 2)[1:2]).strip()

    def _after(self, line: Line, state: LexerState) -> LexerState:
        state = scan(line.text + "\n", self._place.language, state)
        if not self._traits.has_brackets:  # there, indentation shows what belongs together
            return replace(without_brackets(state), n_unopened=0)
        return START if state.is_code and state.depth <= 0 else state

    def _hold(self, line: Line, state: LexerState) -> None:
        """Note whether a line opens a block whose content need not be deeper, or closes it."""
        if indent(line.text) != self._base or not state.is_code or state.depth > 0:
            return
        code = code_of(line.text, self._place.language).strip()
        if self._holder and code.startswith(self._holder):
            self._holder = ""
        elif not self._holder and (line is self._first or not self._after_line):
            self._holder = self._traits.holder(code)

    def _undecided(self, line: Line) -> bool:
        """Whether a line that still grows may still turn out either way."""
        text = line.text.strip()
        if not text or (self._place.below or "").startswith(line.text):
            return True
        if self._is_second(line) and text[0] != "{":
            return False
        return indent(line.text) <= self._base and (len(text) < MIN_SEEN or _BEGUN_WORD.fullmatch(text) is not None)

    def _is_second(self, line: Line) -> bool:
        """Whether ``line`` is the one after the cursor's line, so that its indentation shows whether that line opened a
        block."""
        return self._after_line and not self._holder and self._n_read == 1

    def _fell_out(self, line: Line, state: LexerState) -> bool:
        """Inside brackets that the middle opened: whether ``line`` cannot be in them, or closes what a line below
        closes."""
        text = line.text.strip()
        if state.string or not text:
            return False
        if self._traits.is_closer(text):
            return self._after_line and indent(line.text) == self._base and self._closes_below(state)
        return line.complete and self._is_below(line.text)

    def _closes_below(self, state: LexerState) -> bool:
        """Whether the line below closes what the cursor's line opened, or what was opened after that was closed."""
        place, closer = self._place, (self._place.below or "").strip()[:1]
        if self._below != self._base or not state.brackets or closer != OPENERS[state.brackets[-1]]:
            return False
        opened = scan(self._first_line + "\n", place.language).brackets
        return state.brackets[:-1] == opened[:-1] and place.is_closed_below()

    @property
    def _first_line(self) -> str:
        return self._place.before + self._middle.partition("\n")[0]

    def _is_below(self, line: str) -> bool:
        return bool(line.strip()) and line.rstrip() == (self._place.below or "").rstrip()

    def _ends_before(self, line: Line, previous: Line) -> bool:
        """Whether the unit, which would end after ``previous``, is complete before ``line``, where nothing is open."""
        text, depth = line.text.strip(), indent(line.text)
        below = (self._place.below or "").strip()
        if self._is_below(line.text) or (self._traits.leaves(text) and text == below):
            return True
        if depth > self._base:
            return depth == self._below and self._is_body_of(previous)
        if self._after_line:
            return self._ends_block_before(text, depth, line)
        if depth < self._base:
            return depth < self._floor or (not self._is_tail and self._has_all_names(previous.end))
        if self._holder or self._traits.goes_on(text) or self._is_while_of_do(text):
            return False
        if self._traits.is_closer(text):
            return not self._opened_before(line)
        if text.startswith("{") and self._traits.has_braces and self._n_read == 1:
            return False
        if self._traits.leads.match(previous.text.strip()) is not None:
            return False
        return self._is_enough(previous.end)

    def _ends_block_before(self, text: str, depth: int, line: Line) -> bool:
        """Whether what the cursor's line opened ends before a line of ``text`` that is not deeper."""
        if depth < self._base:
            return True
        if self._is_paragraph:
            return self._n_read > 1 and self._traits.leads.match(text) is not None
        if self._is_statement:
            return False
        if self._is_second(line):
            return not (text.startswith("{") and self._traits.has_braces)
        if self._traits.is_closer(text):
            return self._below == depth and self._traits.is_closer((self._place.below or "").strip())
        return not (self._holder or self._traits.goes_on(text) or self._is_while_of_do(text))

    def _is_body_of(self, previous: Line) -> bool:
        """Whether the text below is the body of ``previous``, after which the middle goes deeper."""
        if self._below is None or self._after_line or self._below_is_second:
            return False
        return 0 < self._below - indent(previous.text) <= max(self._place.step, 1)

    def _is_while_of_do(self, text: str) -> bool:
        return self._traits.has_braces and self._first_line.strip() == "do" and text.startswith("while")

    def _blank_ends(self, previous: Line) -> bool:
        """Whether a blank line ends the unit: it ends one at the outermost level and what a line began, nothing
        else."""
        if self._holder:
            return False
        if self._is_paragraph:
            return self._n_read > 1
        if self._after_line:
            return indent(previous.text) <= self._base
        if self._is_tail or self._needs_header:
            return False
        return indent(previous.text) <= self._base and self._has_all_names(previous.end)

    @property
    def _below_is_second(self) -> bool:
        return self._traits.second.match((self._place.below or "").strip()) is not None

    @property
    def _needs_header(self) -> bool:
        """Whether the text below is the body of something that is missing."""
        return self._below is not None and self._below > self._base

    def _opened_before(self, line: Line) -> bool:
        """Whether the middle opened what ``line`` closes: a bracket, or a block that a line of its depth opened."""
        said = self._place.before + self._middle[: line.start]
        if scan(said, self._place.language).depth > 0:
            return True
        if line.text.strip()[:1] in ("}", ")", "]"):
            return False
        depth = indent(line.text)
        opener = next((one for one in reversed(said.split("\n")) if one.strip() and indent(one) <= depth), "")
        code = opener.strip()
        is_part = self._traits.second.match(code) is not None or self._traits.branch.match(code) is not None
        return indent(opener) == depth and (is_part or opens_block(opener, self._place.language))

    def _opening_end(self, line: Line) -> int | None:
        """Return the end of a line's opening if its content is below."""
        content, place = self._place.content, self._place
        if content is None or place.kind != "block" or indent(line.text) != content.depth:
            return None
        at = content.opening_end(line.text, place.language, complete=line.complete)
        return None if at is None else line.end - len(line.text) + at

    def _ends_after(self, line: Line) -> bool:
        """Whether the unit is complete with ``line``, after which nothing is open."""
        depth = indent(line.text)
        code = code_of(line.text, self._place.language).strip()
        if not code or self._traits.leads.match(code) is not None:
            return False  # comments and decorators belong to what comes after them
        if self._is_statement:
            return code.endswith(";")
        if self._after_line:
            is_end = code.startswith(self._holder) if self._holder else self._traits.is_closer(code)
            return self._n_read > 0 and depth == self._base and is_end
        if self._is_header_of_what_follows(line.text):
            return True
        if opens_block(line.text, self._place.language) or not self._traits.ends_statement(code):
            return False
        if self._traits.leaves(code):
            return depth <= self._floor
        return depth == self._base and self._is_enough(line.end)

    def _is_header_of_what_follows(self, line: str) -> bool:
        if self._below is None or not opens_block(line, self._place.language):
            return False
        if self._below_is_second:
            return False
        return 0 < self._below - indent(line) <= self._place.step

    def _is_enough(self, end: int) -> bool:
        """Whether the middle up to ``end`` is all that a block needs which continues below."""
        if self._below is None or self._below != self._base:
            return False
        return self._has_all_names(end)

    def _has_all_names(self, end: int) -> bool:
        return (self._names.needed | self._names.unused) <= set(_WORD.findall(self._middle[:end]))
