"""What is around the cursor, read once for a request: what kind of place it is, and what already follows."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, replace
from typing import Literal

from midfill.postprocess.content import Content, content_below
from midfill.postprocess.traits import MARKUP, Traits, traits
from midfill.syntax.calls import Certain
from midfill.syntax.lexical import OPENERS, START, LexerState, scan, state_at, unopened
from midfill.syntax.names import Names, indent, names_around
from midfill.types import Snapshot

# rest: text follows on the line. inside: only what closes brackets or elements follows. line: nothing follows. block: a
# blank line, or one that is made by inserting a line end before the text right of the cursor.
Kind = Literal["rest", "inside", "line", "block", "string", "comment", "docstring"]

NOTHING = Certain()
# This much text before the cursor is read for what is open and for its indentation.
WINDOW = 20_000
# What follows after more blank lines than this does not end what is written here.
MAX_BLANK_LINES = 50
_ONLY_CLOSERS = re.compile(r"[)\]}][)\]}>;,:'\"` \t]*(?:\{|=>)?\s*")
_ONLY_END_TAGS = re.compile(r"\s*(?:</[A-Za-z][\w.:-]*>)+[)\]};,]*\s*")


@dataclass(frozen=True, slots=True)
class Place:
    """One cursor. Indentations are counted in characters."""

    kind: Kind
    language: str
    before: str  # the cursor's line up to the cursor
    after: str  # and from the cursor on
    state: LexerState  # after the text before the cursor
    above: str  # the last line above that is not blank
    below: str | None  # the first line below that is not blank
    step: int  # the file's indentation step
    tabs: bool  # whether the file indents by tabs
    prefix: str  # the text before and after the cursor, as far as it is read
    suffix: str
    is_whole: bool  # whether these two are all of the text
    is_indented: bool = True  # whether the text before the cursor shows how the file indents
    joint: str = ""  # what has to be inserted between a middle and the text right of the cursor
    content: Content | None = None  # below the cursor, of something that its line is to open
    known: Certain = NOTHING  # what is known of the names near the cursor

    @classmethod
    def of(cls, snapshot: Snapshot) -> Place:
        """Read ``snapshot``. If the cursor is before code on its own line, the place is that of a line above it."""
        plain = cls._read(snapshot)
        if not plain.is_before_code:
            return plain
        joint = "\n" + plain.before
        text = snapshot.prefix + joint + snapshot.suffix
        return replace(cls._read(replace(snapshot, text=text)), joint=joint, after=plain.after)

    @classmethod
    def _read(cls, snapshot: Snapshot) -> Place:
        before, after, language = snapshot.line_before, snapshot.line_after, snapshot.language
        prefix = snapshot.text[max(0, snapshot.cursor - WINDOW) : snapshot.cursor]
        suffix = snapshot.text[snapshot.cursor : snapshot.cursor + WINDOW]
        state = state_at(prefix, suffix, language, is_start=len(prefix) == snapshot.cursor)
        language = state.language or language
        kind = _kind(before, after, state, traits(language))
        step, tabs, is_indented = _step(prefix)
        below = _below(snapshot)
        content = content_below(prefix, suffix, state, language) if kind in ("line", "block") and below else None
        return cls(
            kind,
            language,
            before,
            after,
            state,
            _above(snapshot),
            below,
            step,
            tabs,
            prefix,
            suffix,
            len(prefix) + len(suffix) == len(snapshot.text),
            is_indented,
            content=content,
        )

    @property
    def traits(self) -> Traits:
        """What is known about its language."""
        return traits(self.language)

    @property
    def is_before_code(self) -> bool:
        """Whether the cursor is in the indentation of a line, or of closers whose opener ends a line."""
        if self.before.strip() or not self.after.strip():
            return False
        if self.kind == "rest":
            return True
        return self.kind == "inside" and bool(self.state.brackets) and opener_line(self)[-1:] in OPENERS

    def names(self, base: int) -> Names:
        """Return what the code around a line indented by ``base`` lacks, on a blank line."""
        if self.kind != "block" or not self.traits.has_names:
            return Names()
        return names_around(self.prefix, self.suffix, self.language, base)

    def is_closed_below(self) -> bool:
        """Whether the text after the cursor's line closes the brackets that the line opens. If that text is not to be
        trusted, the caller's guess by indentation holds."""
        line_start = self.prefix.rfind("\n") + 1
        above = scan(self.prefix[:line_start], self.language)
        if not self.is_whole or not above.is_code:
            return True
        return self.closed_below != closers_of(above.brackets)

    @property
    def closed_below(self) -> str:
        """The closers after the cursor of what is open before it, in their order."""
        return _unopened(self.suffix, self.language)

    @property
    def base(self) -> int:
        """The indentation of the cursor's line, as far as it is before the cursor."""
        return indent(self.before)

    @property
    def opens_line(self) -> bool:
        """Whether the text left of the cursor ends with the opener around it, so that a line may begin there."""
        is_in_element = self.after.lstrip().startswith("</") and self.before.endswith(">")
        return is_in_element or self.before.rstrip()[-1:] in OPENERS


def closers_of(brackets: tuple[str, ...]) -> str:
    """Return the closers of ``brackets``, whose innermost is the last."""
    return "".join(OPENERS[bracket] for bracket in reversed(brackets))


@functools.lru_cache(maxsize=8)
def _unopened(suffix: str, language: str) -> str:
    """Cached: rules ask for each piece of a middle, and reading a long text takes milliseconds."""
    return unopened(suffix, language)


def opener_line(place: Place) -> str:
    """Return the line, to its end, that opened the innermost bracket; "" if none is open."""
    depth, state, found = len(place.state.brackets), START, ""
    for line in place.prefix.split("\n"):
        n_before = len(state.brackets)
        state = scan(line + "\n", place.language, state)
        if len(state.brackets) >= depth > n_before:
            found = line.rstrip()
    return found


def _kind(before: str, after: str, state: LexerState, language: Traits) -> Kind:
    if state.comment:
        return "comment" if state.comment == "\n" or after.strip() else "docstring"
    if state.string:
        return "docstring" if state.is_block and not after.strip() else "string"
    if not after.strip():
        return "line" if before.strip() else "block"
    if not language.prose and state.brackets and _ONLY_CLOSERS.fullmatch(after):
        return "inside"
    return "inside" if language.id in MARKUP and before.strip() and _ONLY_END_TAGS.fullmatch(after) else "rest"


def _above(snapshot: Snapshot) -> str:
    end = snapshot.text.rfind("\n", 0, snapshot.cursor)
    for _ in range(MAX_BLANK_LINES):
        if end < 0:
            return ""
        start = snapshot.text.rfind("\n", 0, end) + 1
        line = snapshot.text[start:end]
        if line.strip():
            return line
        end = start - 1
    return ""


def _below(snapshot: Snapshot) -> str | None:
    start = snapshot.text.find("\n", snapshot.cursor) + 1
    for _ in range(MAX_BLANK_LINES):
        if start <= 0:
            return None
        end = snapshot.text.find("\n", start)
        line = snapshot.text[start : end if end >= 0 else len(snapshot.text)]
        if line.strip():
            return line
        start = end + 1
    return None


def _step(prefix: str) -> tuple[int, bool, bool]:
    """Return (the smallest indentation of the lines before the cursor, four for an unindented file; whether it is in
    tabs; whether any line is indented)."""
    *above, current = prefix.rsplit("\n", 200)
    lines = [line for line in above if line.strip()]
    if current.strip() or current.startswith("\t"):  # the first indented line of a new file is often the cursor's
        lines.append(current)
    if any(line.startswith("\t") for line in lines):
        return 1, not any(line.startswith("  ") for line in lines), True
    steps = [n for line in lines if (n := indent(line)) > 1]
    return min(steps, default=4), False, bool(steps)


def code_of(line: str, language: str) -> str:
    """Return ``line`` without a comment at its end."""
    mark = traits(language).comment
    at = line.find(mark) if mark else -1
    while at >= 0:
        if scan(line[:at], language).is_code and scan(line[: at + len(mark)], language).comment:
            return line[:at]
        at = line.find(mark, at + 1)
    return line


def opens_block(line: str, language: str) -> bool:
    """Whether ``line`` surely ends like a line before a block."""
    return traits(language).opens_block(code_of(line, language))
