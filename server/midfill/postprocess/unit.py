"""Line or block: where the first whole unit of a middle ends, decided while it still grows.

The rest of a line, what is inside brackets, a string, a comment, or on a blank line a statement with its body, or
the rest of a block. What already stands below the cursor decides with: a body that is there is not written again,
a block that goes on gets the statements it lacks, one that ends is written to its end. Once an end is decided, more
text never moves it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from midfill.postprocess.place import Place, code_of, is_closer, opens_block
from midfill.syntax.lexical import OPENERS, START, State, scan, string_end, unopened_at
from midfill.syntax.names import indent

# Characters of a line that must be there before it is judged while it still grows.
MIN_SEEN = 8
_CONTINUES = re.compile(r"(else|elif|except|finally|catch|rescue|case|default|when|ensure|while)\b|\}")
_SECOND = re.compile(r"(else|elif|except|finally)\b")  # not after a brace that ends what comes before
_FIRST = re.compile(r"(?:\}\s*)?(?:else\s+)?(?:if|elif|elsif|for|while|try|begin|except|rescue|unless|when|case)\b|\}")
_LEAVES = re.compile(r"(return|raise|throw|break|continue|goto)\b")
_BY_LINE = frozenset(
    {"python", "ruby", "go", "lua", "shellscript", "yaml", "toml", ""}
)  # a line's end ends a statement
_OPERATOR = re.compile(r"(?:[-+*/%&|^,=<>?.\\]|\b(?:and|or|not|in|is))\s*\Z")
_WORD = re.compile(r"[A-Za-z_]\w*")


def unit_end(middle: str, place: Place) -> int | None:
    """Where in ``middle`` its first unit ends, or None while that is not decided."""
    match place.kind:
        case "comment" | "rest":
            return _newline(middle)
        case "string":
            return _string_end(middle, place)
        case "docstring":
            return _docstring_end(middle, place)
        case "inside":
            return _inside_end(middle, place)
        case "line":
            return _line_end(middle, place)
        case _:
            return _block_end(middle, place)


def lacks(middle: str, place: Place) -> bool:
    """Whether ``middle``, at whose end the model stopped by itself, is surely not all that fits on a blank line:
    something is open, its last line opens a block that stands nowhere, names that are read below are bound nowhere, or
    names that are bound above are read nowhere.
    """
    if place.kind != "block" or not middle.strip():
        return False
    lines = [line for line in (place.before + middle).split("\n") if line.strip()]
    state = scan("\n".join(lines) + "\n", place.language)
    if state.depth > 0 or state.string:
        return not (place.below is not None and is_closer(place.below.strip()))
    below = None if place.below is None else indent(place.below)
    if opens_block(lines[-1], place.language):
        return below is None or below <= indent(lines[-1])
    if below is not None and _second(place.below) and not _has_first(lines, below, place.language):
        return True
    names = place.names(indent(lines[0]))
    return not names.needed | names.unused <= set(_WORD.findall(middle))


def _second(line: str | None) -> bool:
    """Whether ``line`` is the second part of a statement, such as ``else``, and no body of what stands above it."""
    return line is not None and _SECOND.match(line.strip()) is not None


def _has_first(lines: list[str], depth: int, language: str) -> bool:
    """Whether the last of ``lines`` that is not deeper than ``depth`` may be the first part of such a statement."""
    last = next((line for line in reversed(lines) if indent(line) <= depth), None)
    if last is None:
        return True
    return indent(last) == depth and (opens_block(last, language) or _FIRST.match(last.strip()) is not None)


def _newline(middle: str) -> int | None:
    end = middle.find("\n")
    return end if end >= 0 else None


def _string_end(middle: str, place: Place) -> int | None:
    end, line_end = string_end(middle, place.language, place.state.string), _newline(middle)
    if end is not None and line_end is not None and end > line_end:
        return line_end
    if end is None or end == line_end or place.after.strip():
        return end if end is not None else line_end
    return line_end  # the string's own line goes on behind it


def _docstring_end(middle: str, place: Place) -> int | None:
    """The closing quotes, or a blank line; a line that was begun ends with itself."""
    closing = place.state.string or place.state.comment
    at = middle.find(closing)
    if at >= 0:
        return at + len(closing)
    if place.before.strip() not in ("", closing, "/*", "/**", "*"):
        return _newline(middle)
    at = middle.find("\n\n", 1)
    return at if at >= 0 else None


def _inside_end(middle: str, place: Place) -> int | None:
    """The closer that stands right of the cursor, or the line's end where nothing was opened on the way to it."""
    closer, line_end = unopened_at(middle, place.language), _newline(middle)
    if line_end is not None and not middle[:line_end].strip() and place.before.rstrip()[-1:] in OPENERS:
        return closer  # what is inside goes over several lines
    if closer is not None and (line_end is None or closer < line_end):
        return closer
    for at in _line_ends(middle):
        if closer is not None and closer < at:
            return closer
        if at > 0 and scan(middle[:at], place.language).depth <= 0:
            return at
    return closer


def _line_ends(middle: str) -> Iterator[int]:
    at = middle.find("\n")
    while at >= 0:
        yield at
        at = middle.find("\n", at + 1)


def _line_end(middle: str, place: Place) -> int | None:
    end = _newline(middle)
    if end is None:
        return None
    line = place.before + middle[:end]
    state = scan(line, place.language)
    is_open = state.depth > 0 or bool(state.string)
    if not (is_open or opens_block(line, place.language)) or _body_follows(place, is_open=is_open):
        return end
    return _Reader(middle, place, indent(place.before), after_line=True).end()


def _body_follows(place: Place, *, is_open: bool) -> bool:
    """Whether what the cursor's line opens stands below it already."""
    if place.below is None:
        return False
    return indent(place.below) > place.base or (is_open and indent(place.below) == place.base and is_closer(
        place.below.strip()
    ))  # fmt: skip


def _block_end(middle: str, place: Place) -> int | None:
    end = _newline(middle)
    if end is None:
        return None
    first = end if (place.before + middle[:end]).strip() else _after_one_blank(middle, end)
    if first is None:
        return None
    if first < 0:  # it leaves the place where the cursor stands: nothing fits here
        return 0
    line = middle[end + 1 : first] if first > end else place.before + middle[:end]
    return _Reader(middle, place, indent(line), after_line=False).end()


def _after_one_blank(middle: str, blank: int) -> int | None:
    """The end of the line after a blank one, which ends at ``blank``; -1: that is blank too, None: not there yet."""
    end = middle.find("\n", blank + 1)
    if end < 0:
        return None
    return end if middle[blank + 1 : end].strip() else -1


@dataclass(slots=True)
class _Line:
    start: int
    end: int
    complete: bool
    text: str


class _Reader:
    """Follows a middle line by line, from a first line indented by ``base``."""

    def __init__(self, middle: str, place: Place, base: int, *, after_line: bool) -> None:
        """``after_line``: the first line opened something that the unit has to close, and then it is whole."""
        self._middle, self._place, self._base, self._after_line = middle, place, base, after_line
        self._names = names = place.names(base)
        below, body = place.below, names.body if names.begun else base
        self._below = None if below is None else indent(below)
        # The function that the cursor is in ends with the middle.
        self._is_tail = names.body is not None and body is not None and not after_line and base >= body and (
            self._below is None or self._below < body
        )  # fmt: skip
        self._floor = base
        if self._is_tail and body is not None:
            self._floor = body
        elif self._below is not None and body is not None and body <= self._below < base:
            self._floor = self._below

    def end(self) -> int | None:
        """Where the unit ends."""
        state, last = START, 0
        previous: _Line | None = None
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
                if self._ends_before(line, last):
                    return last
            elif previous is not None and self._fell_out(line, state):
                return last
            if not line.complete:
                return None
            state = self._after(line, state)
            if state.is_code and state.depth <= 0 and self._ends_after(line, is_first=previous is None):
                return line.end
            previous, last = line, line.end
        return None

    def _lines(self) -> Iterator[_Line]:
        at, before = 0, self._place.before
        while at <= len(self._middle):
            end = self._middle.find("\n", at)
            complete = end >= 0
            end = end if complete else len(self._middle)
            yield _Line(at, end, complete, before + self._middle[at:end])
            at, before = end + 1, ""

    def _after(self, line: _Line, state: State) -> State:
        state = scan(line.text + "\n", self._place.language, state)
        return START if state.is_code and state.depth <= 0 else state

    def _undecided(self, line: _Line) -> bool:
        """Whether a line that still grows may yet turn out either way."""
        text = line.text.strip()
        return len(text) < MIN_SEEN or (self._place.below or "").startswith(line.text)

    def _fell_out(self, line: _Line, state: State) -> bool:
        """Inside brackets that were opened in the middle: whether ``line`` cannot be in them."""
        return line.complete and not state.string and self._is_below(line.text) and not is_closer(line.text.strip())

    def _is_below(self, line: str) -> bool:
        return bool(line.strip()) and line.rstrip() == (self._place.below or "").rstrip()

    def _ends_before(self, line: _Line, last: int) -> bool:
        """Whether the unit, which would end at ``last``, is whole before ``line``, at which nothing is open."""
        text, depth = line.text.strip(), indent(line.text)
        if self._is_below(line.text) or (_LEAVES.match(text) and text == (self._place.below or "").strip()):
            return True
        if depth < self._base:
            return depth < self._floor or (not self._is_tail and self._has_all_names(last)) or self._after_line
        if depth > self._base:
            return False
        if _CONTINUES.match(text) or (is_closer(text) and self._after_line):
            return False
        if is_closer(text):
            return not self._opened_before(line)
        return self._after_line or self._is_enough(last)

    def _blank_ends(self, previous: _Line) -> bool:
        """A blank line ends a unit at the outermost level, and what was begun by a line; nothing else."""
        if self._after_line:
            return indent(previous.text) <= self._base
        if self._is_tail or self._needs_header:
            return False
        return indent(previous.text) <= self._base and self._has_all_names(previous.end)

    @property
    def _needs_header(self) -> bool:
        """Whether what stands below is the body of something that is not there."""
        return self._below is not None and self._below > self._base

    def _opened_before(self, line: _Line) -> bool:
        return scan(self._place.before + self._middle[: line.start], self._place.language).depth > 0

    def _ends_after(self, line: _Line, *, is_first: bool) -> bool:
        """Whether the unit is whole with ``line``, after which nothing is open."""
        depth = indent(line.text)
        code = code_of(line.text, self._place.language).strip()
        if not code or code.startswith("@"):
            return False  # comments and decorators belong to what comes after them
        if self._after_line:
            return not is_first and depth == self._base and is_closer(code)
        if self._is_header_of_what_follows(line.text):
            return True
        if opens_block(line.text, self._place.language) or not self._by_line(code):
            return False
        if _LEAVES.match(code):
            return depth <= self._floor
        return depth == self._base and self._is_enough(line.end)

    def _is_header_of_what_follows(self, line: str) -> bool:
        if self._below is None or not opens_block(line, self._place.language) or _second(self._place.below):
            return False
        return 0 < self._below - indent(line) <= self._place.step

    def _by_line(self, code: str) -> bool:
        """Whether a statement that ends with ``code`` ends there, whatever comes."""
        if _OPERATOR.search(code):
            return False
        return self._place.language in _BY_LINE or code.endswith((";", "}"))

    def _is_enough(self, end: int) -> bool:
        """Whether the middle up to ``end`` is all that a block needs which goes on below."""
        if self._below is None or self._below != self._base:
            return False
        return self._has_all_names(end)

    def _has_all_names(self, end: int) -> bool:
        return (self._names.needed | self._names.unused) <= set(_WORD.findall(self._middle[:end]))
