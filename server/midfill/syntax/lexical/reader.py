"""The reader: goes through a text from a state, token by token, as far as tokens may change the state."""

from __future__ import annotations

import re
from dataclasses import replace

from midfill.syntax.lexical.modes import CLOSED, OPENED, Kind, Mode
from midfill.syntax.lexical.state import OPENERS, Frame, LexerState, Row

# This much text is kept for lookbehinds, and a closer is matched against this many brackets.
MAX_TAIL, MAX_BRACKETS = 60, 40
# No real program nests deeper than this.
MAX_FRAMES = 200


class Lexer:
    """Reads a text once."""

    def __init__(self, text: str, row: Row, state: LexerState, *, marked: bool = False, bare: bool = False) -> None:
        """``marked``: what is read is noted in ``marks``; ``bare``: only brackets count."""
        self.text = state.tail + text
        self.n_tail = len(state.tail)
        self.brackets = list(state.brackets)
        self.n_unopened = state.n_unopened
        self.frames = list(state.within)
        self.opened_at = [-1] * len(self.frames)
        self.pending = list(state.pending)
        self.broke_off = False  # whether a string ended with its line
        self.comment = (-1, -1)  # start and end of the last one
        self.marks: list[tuple[int, Kind]] | None = [] if marked else None
        self.spans: list[tuple[int, int]] | None = [] if marked else None  # strings between quotes that were entered
        self.unopened: list[int] = []  # where those closers are
        self._root = row
        self.row = next((frame.row for frame in reversed(self.frames) if frame.row is not None), row)
        self.mode = state.mode if state.mode is not None else _beginning(text, row, bare=bare)
        self.limit = self._end = len(self.text)
        self._at = self._start()

    def read(self, *, until: int | None = None, to_unopened: bool = False, min_frames: int = -1) -> int | None:
        """Read on to the end, or ``until``; with ``to_unopened`` up to the first closer of nothing, with ``min_frames``
        until fewer frames are open. Return that position, or None if it did not come."""
        at, text, brackets = self._at, self.text, self.brackets
        self._end = len(text) if until is None else until + self.n_tail
        self._set_limit(at)
        while True:
            find, actions = self.mode.compiled
            match = find(text, at, self.limit)
            if match is None:
                if self.limit == self._end:
                    self._at = self._end
                    return None
                at = self.limit
                self._end_language(at)
                continue
            at = match.end()
            action = actions[match.lastindex or 0]
            if action is None:
                continue
            if action is OPENED:
                brackets.append(text[at - 1])
            elif action is CLOSED:
                if not self.close(text[at - 1], at) and to_unopened:
                    return at - 1 - self.n_tail
            else:
                at = action(self, match)
                if to_unopened and self.unopened:
                    return self.unopened[0]
                if len(self.frames) < min_frames:
                    return at - self.n_tail

    def state(self) -> LexerState:
        """Return what is open now."""
        tail = self.text[-MAX_TAIL:]
        return LexerState(
            tuple(self.brackets), self.n_unopened, self.mode, tuple(self.frames), tuple(self.pending), tail
        )  # fmt: skip

    def enter(self, mode: Mode, start: int) -> None:
        """Begin a string or a comment at ``start``."""
        self._push(Frame(self.mode, len(self.brackets)), start)
        self.mode = mode
        if self.marks is not None:
            self.marks.append((start, mode.kind))

    def interpolate(self, bracket: str, at: int, *, one_line: bool, code: Mode | None = None) -> None:
        """Begin code after ``bracket``, which is before ``at``."""
        self._push(Frame(self.mode, len(self.brackets), interpolates=True, one_line=one_line), at)
        self.brackets.append(bracket)
        code = code or self.row.code
        self.mode = code.lined or code if one_line else code
        if self.marks is not None:
            self.marks.append((at, "code"))

    def enter_language(self, row: Row, terminator: re.Pattern[str], at: int) -> None:
        """Begin a piece of another language at ``at``."""
        self._push(Frame(self.mode, len(self.brackets), row=row, terminator=terminator), at)
        self.row, self.mode = row, row.start
        self._set_limit(at)
        if self.marks is not None:
            self.marks.append((at, "code"))

    def leave(self, at: int) -> None:
        """End at ``at`` what was entered last."""
        if not self.frames:
            return
        frame, start = self.frames.pop(), self.opened_at.pop()
        if self.mode.kind == "comment":
            self.comment = (start, at)
        if self.spans is not None and self.mode.kind == "string" and len(self.mode.end) == 1:
            self.spans.append((start, at))
        self.mode = frame.mode
        if self.pending and self.mode.lined is not None:
            self.mode = self.mode.lined
        del self.brackets[frame.base :]
        if frame.row is not None:
            self.row = next((f.row for f in reversed(self.frames) if f.row is not None), self._root)
        if self.marks is not None:
            self.marks.append((at, self.mode.kind))

    def become(self, mode: Mode, at: int) -> None:
        """Continue what was entered last as something else."""
        self.mode = mode
        if self.marks is not None:
            self.marks.append((at, mode.kind))

    def passed(self, kind: Kind, start: int, end: int) -> None:
        """Note a complete string or comment from ``start`` to ``end``."""
        if kind == "comment":
            self.comment = (start, end)
        if self.marks is not None:
            self.marks += [(start, kind), (end, self.mode.kind)]

    def close(self, closer: str, at: int) -> bool:
        """Close the innermost bracket of that kind, if one is open; the brackets inside it were never closed."""
        brackets, frame = self.brackets, self.frames[-1] if self.frames else None
        base = frame.base if frame is not None else 0
        for i in range(len(brackets) - 1, max(base, len(brackets) - MAX_BRACKETS) - 1, -1):
            if OPENERS[brackets[i]] == closer:
                del brackets[i:]
                break
        else:
            self.n_unopened += 1
            self.unopened.append(at - 1 - self.n_tail)
            return False
        if frame is not None and frame.interpolates and len(brackets) == base:
            self.leave(at - 1)
        return True

    def wait(self, mode: Mode) -> None:
        """Begin a string with the next line."""
        self.pending.append(mode)
        if self.mode.lined is not None:
            self.mode = self.mode.lined

    def line_end(self, at: int) -> None:
        """End a line at ``at``, in code in which a line's end has a meaning."""
        if self.pending:
            waiting = self.pending.pop(0)
            self.enter(waiting, at)
        elif self.frames and self.frames[-1].interpolates and self.frames[-1].one_line:
            self.leave(at)
        else:
            self.mode = self.mode.plain or self.mode

    def before(self, at: int) -> int:
        """Return where the code before ``at`` ends, without white space and one comment."""
        text = self.text
        for _ in range(3):
            while at > 0 and text[at - 1] in " \t\r\n":
                at -= 1
            if at != self.comment[1] or at <= 0:
                break
            at = self.comment[0]
        return max(at, 0)

    def _push(self, frame: Frame, start: int) -> None:
        if len(self.frames) >= MAX_FRAMES:
            del self.frames[MAX_FRAMES // 2], self.opened_at[MAX_FRAMES // 2]
        self.frames.append(frame)
        self.opened_at.append(start)

    def _start(self) -> int:
        """Return where reading begins: a string that ends at the beginning of a line is read again from there."""
        if self.mode.by_line and (at := self.text.rfind("\n", 0, self.n_tail)) >= 0:
            return at
        return self.n_tail

    def _set_limit(self, at: int) -> None:
        self.limit = self._end
        for frame in self.frames:
            if frame.terminator is not None and (end := frame.terminator.search(self.text, at, self.limit)) is not None:
                self.limit = end.start()

    def _end_language(self, at: int) -> None:
        """End the innermost piece of another language, whatever is open in it."""
        while self.frames:
            inner = self.frames[-1].terminator
            self.leave(at)
            if inner is not None:
                break
        self.pending.clear()
        self._set_limit(at)


def _beginning(text: str, row: Row, *, bare: bool) -> Mode:
    if bare:
        return row.bare
    return row.begins(text) if row.begins is not None else row.start


def without_brackets(state: LexerState) -> LexerState:
    """Return ``state`` without open brackets."""
    return replace(state, brackets=(), within=tuple(replace(frame, base=0) for frame in state.within))
