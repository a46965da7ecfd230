"""A user's session: types the regions of a project, looks where the user would look, takes what is right."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from midfill.eval.keys import GAP_SPREAD, n_shared
from scripts.drive.hands import Hands, State, Way
from scripts.drive.judge import Judgement, judge, next_word
from scripts.drive.script import File, Mark, Project, Region

LOOK_S = 2.5  # the longest time that the user looks
SETTLED_S = 0.6  # a suggestion that has not changed for this long is read
EMPTY_S = 1.2  # after this, an empty answer is believed
GAP_S, GAP_MIN_S, GAP_MAX_S = 0.14, 0.09, 0.3
SETTLE_S = 4.0  # the editor's own time for a key, on a busy machine
TAKE_S = 0.25  # between two words that are taken
PAIRS = "([{\"'`*<>"  # after these, an editor may have inserted something after the cursor
CLOSERS = ")]}\"'`"
MAX_WORDS = 12


@dataclass(frozen=True, slots=True)
class Look:
    """What was shown at a pause."""

    project: str
    file: str
    region: int
    at: int  # of the region
    row: int  # from 1
    line: str  # the text before the cursor on its line
    shown: str
    follows: str
    judgement: Judgement
    after_key_s: float | None  # to the first frame with text; 0.0 if it was already shown
    answered: bool  # whether the server had answered everything
    trace: dict[str, Any]  # of the server's last request on this line; {} if that was on another line


@dataclass(frozen=True, slots=True)
class Opening:
    """A file that was opened."""

    project: str
    file: str
    first_text_s: float | None


@dataclass(slots=True)
class Record:
    """Everything that a session recorded."""

    looks: list[Look] = field(default_factory=list)
    openings: list[Opening] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)  # of the drive itself
    n_typed: int = 0  # characters typed by hand
    n_taken: int = 0  # characters accepted
    n_wrong: int = 0  # of those, deleted again


class Session:
    """One project in one window."""

    def __init__(
        self, hands: Hands, project: Project, seed: int, trace: Callable[[], dict[str, Any]],
        say: Callable[[str], None], look_s: float = LOOK_S,
    ) -> None:  # fmt: skip
        """``trace`` returns what the server reports about its last request; ``look_s`` is the longest look."""
        self.hands, self.project, self.trace, self.say = hands, project, trace, say
        self.look_s = look_s
        self.rng = random.Random(seed)  # noqa: S311 - the same typist each time
        self.record = Record()
        self.done: set[int] = set()
        self.n = 0  # characters of the region that are there
        self.closers = ""  # what the editor inserted between the cursor and the text after the region
        self.before = self.after = ""
        self.file, self.region = project.tasks()[0]

    def run(self, deadline: float) -> Record:
        """Type region after region until all are written or the time is up."""
        opened: dict[str, float] = {}
        current = ""
        for file, region in self.project.tasks():
            if time.monotonic() > deadline:
                break
            self.before, self.after = file.around(region, self.done)
            self.file, self.region, self.n, self.closers = file, region, 0, ""
            at = self.hands.open(file.name, len(self.before))
            opened.setdefault(file.name, at) if file.name != current else None
            current = file.name
            self._type(region)
            self.done.add(region.number)
            self._check(file)
            if at == opened[file.name] and not any(o.file == file.name for o in self.record.openings):
                first = self.hands.film().first_text_after(at)
                self.record.openings.append(Opening(self.project.name, file.name, first))
        return self.record

    # ---- typing ----------------------------------------------------------------------------------------------------

    def _type(self, region: Region) -> None:
        seen: set[Mark] = set()
        while True:
            for mark in [m for m in region.marks if m.at == self.n and m not in seen]:
                seen.add(mark)
                self._do(mark)
                if mark.at != self.n:
                    break
            else:
                if self.n >= len(region.text):
                    break
                self._stroke()
        while self.closers:
            self.hands.delete()
            self.closers = self.closers[1:]
        self._sync()

    def _do(self, mark: Mark) -> None:
        if mark.kind == "look":
            self._look(mark)
        elif mark.kind == "typo":
            self._raw(mark.how)
            self.hands.sleep(0.4)
            self._mend()
        else:
            self.hands.begin_undoable()
            self._raw(mark.how)
            self.hands.sleep(0.5)
            self._undo()

    def _raw(self, text: str) -> None:
        for char in text:
            self.hands.type(char)
            self._gap()

    def _stroke(self) -> None:
        """Type the next character, or move over several that are already there."""
        rest = self.region.text[self.n :]
        piece = _next_piece(self.closers)
        if piece and rest.startswith(piece) and piece[0] not in CLOSERS:
            self.hands.over(piece)
            self.n += len(piece)
            self._sync()
        elif rest[0] == "\n":
            self._enter()
        else:
            before = self.closers
            self.hands.type(rest[0])
            self.n += 1
            self.record.n_typed += 1
            self._gap()
            if rest[0] in PAIRS or rest[0] in CLOSERS or before.startswith(rest[0]):
                self._sync()
                if before.startswith(rest[0]) and self.closers == before and rest[0] in CLOSERS:
                    self.hands.delete()  # it was not typed over
                    self._sync()

    def _enter(self) -> None:
        """Begin a new line with the right indentation."""
        text = self.region.text
        self.hands.enter()
        self.n += 1
        self.record.n_typed += 1
        self._gap()
        if text[self.n : self.n + 1] == "\n":
            return  # a blank line: the editor removes its indentation
        wanted = self.before + text[: self.n]
        state = self._settle(lambda state: state.left.startswith(wanted))
        if not state.left.startswith(wanted):
            self._mend()
            return
        target = self.before + text
        while state.left != target[: len(state.left)]:
            self.hands.backspace()
            self.hands.sleep(0.06)
            known = state
            state = self._settle(lambda state, known=known: state != known)  # type: ignore[misc]
            if len(state.left) < len(wanted):
                self._mend()
                return
        self.n = len(state.left) - len(self.before)
        indentation = text[self.n :][: len(text[self.n :]) - len(text[self.n :].lstrip(" \t"))]
        for char in indentation:
            self.hands.type(char)
            self.n += 1
        self._sync()

    def _gap(self) -> None:
        gap = GAP_S * self.rng.lognormvariate(0, GAP_SPREAD)
        self.hands.sleep(min(GAP_MAX_S, max(GAP_MIN_S, gap)))

    # ---- keeping the text as it is wanted ----------------------------------------------------------------------------

    @property
    def _wanted(self) -> str:
        return self.before + self.region.text[: self.n]

    def _settle(self, true: Callable[[State], bool], patience_s: float = SETTLE_S) -> State:
        """Wait for a state; return the final one."""
        deadline = time.monotonic() + patience_s
        while True:
            state = self.hands.state()
            if true(state) or time.monotonic() > deadline:
                return state
            self.hands.sleep(0.03)

    def _is_right(self, state: State) -> bool:
        return state.left == self._wanted and state.right.endswith(self.after)

    def _sync(self) -> None:
        """Wait until the document is right; note what the editor closed by itself."""
        state = self._settle(self._is_right)
        if self._is_right(state):
            self.closers = state.right.removesuffix(self.after) if self.after else state.right
        else:
            self._mend()

    def _mend(self) -> None:
        """Delete what is wrong before the cursor; what is missing is typed again."""
        state = self._rested()
        for _ in range(80):
            target = self.before + self.region.text
            if target.startswith(state.left) and len(state.left) >= len(self.before):
                break
            self.hands.backspace()
            self.hands.sleep(0.06)
            known = state
            state = self._settle(lambda state, known=known: state != known, 1.0)  # type: ignore[misc]
        self.n = len(state.left) - len(self.before)
        if not 0 <= self.n <= len(self.region.text) or not self._is_right(state):
            self._fault(state)
            return
        self.closers = state.right.removesuffix(self.after) if self.after else state.right

    def _rested(self) -> State:
        """Return the state once it has stopped changing."""
        state = self.hands.state()
        for _ in range(40):
            self.hands.sleep(0.15)
            now = self.hands.state()
            if now == state:
                return now
            state = now
        return state

    def _fault(self, state: State) -> None:
        self.n = max(0, min(self.n, len(self.region.text)))
        wanted = self._wanted
        what = f"{self.file.name}: stands {state.left[-60:]!r} | {state.right[:60]!r}, wanted {wanted[-60:]!r}"
        self.record.faults.append(what)
        self.say(f"!! FAULT OF THE DRIVE: {what}")
        self.hands.replace(self.file.name, wanted + self.after, len(wanted))
        self.closers = ""

    def _undo(self) -> None:
        target = self.before + self.region.text
        wrong = self._rested()
        for _ in range(6):
            self.hands.undo(len(self._wanted))
            state = self._settle(lambda state, wrong=wrong: state.text != wrong.text, 1.5)  # type: ignore[misc]
            if target.startswith(state.left) and len(state.left) <= len(self._wanted):
                break
            wrong = state
        self._mend()

    def _check(self, file: File) -> None:
        """Check that the file on disk is what was to be written."""
        wanted, text = file.text(self.done), self.hands.save(file.name)
        if text != wanted:
            n = max(0, n_shared(text, wanted) - 30)
            what = f"{file.name} differs: {text[n : n + 60]!r}, wanted {wanted[n : n + 60]!r}"
            self.record.faults.append(what)
            self.say(f"!! FAULT OF THE DRIVE: {what}")
            self.hands.replace(file.name, wanted, 0)

    # ---- looking and taking ------------------------------------------------------------------------------------------

    @property
    def _follows(self) -> str:
        return self.region.text[self.n :] + self.after

    def _look(self, mark: Mark) -> None:
        self._sync()
        if self.n != mark.at:
            return
        shown = self._wait_for_text()
        found = judge(shown, self._follows)
        film = self.hands.film()
        trace = self.trace()
        above, line = self._wanted.split("\n")[:-1], self._wanted.rsplit("\n", 1)[-1]
        self.record.looks.append(Look(
            self.project.name, self.file.name, self.region.number, mark.at, len(above) + 1, line, shown,
            self._follows[: max(120, len(shown) + 40)], found, film.after_last_key(),
            self.hands.is_answered(), trace if trace.get("line") == len(above) + 1 else {},
        ))  # fmt: skip
        self.say(f"  {found.verdict:10} {line.strip()[-40:]!r} ⟶ {shown[:70]!r}")
        if found.verdict == "annoying" and mark.how == "escape":
            self.hands.dismiss()
            self.hands.sleep(0.3)
        elif found.verdict == "useful":
            self._take(found, mark.how)
        elif found.verdict == "half right":
            self._take_words(shown)

    def _wait_for_text(self) -> str:
        """Look until a suggestion is complete and stops changing, or none will come, or the time of a look is over."""
        start = time.monotonic()
        last, since = "", start
        while (now := time.monotonic()) < start + self.look_s:
            text = self.hands.film().standing().text
            if text != last:
                last, since = text, now
            stands_s = now - since if text.strip() else now - start - EMPTY_S + SETTLED_S
            if stands_s >= SETTLED_S and self.hands.is_answered():
                break
            self.hands.sleep(0.05)
        return last

    def _take(self, found: Judgement, how: str) -> None:
        shown = self.hands.film().standing().text
        is_one_line = "\n" not in shown.strip("\n")
        if how == "word":
            self._take_words(shown)
        elif found.whole and (how != "line" or is_one_line):
            self._accept("whole")
        else:
            self._accept("line")

    def _take_words(self, shown: str) -> None:
        for _ in range(MAX_WORDS):
            if not next_word(shown, self._follows) or not self._accept("word"):
                return
            self.hands.sleep(TAKE_S)
            shown = self.hands.film().standing().text

    def _accept(self, way: Way) -> bool:
        """Take it, and delete its wrong part; return whether anything right came."""
        known, n = self.hands.state(), self.n
        self.hands.accept(way)
        self._settle(lambda state: state.text != known.text)
        state = self._rested()
        target = self.before + self.region.text
        self.record.n_taken += max(0, len(state.left) - len(known.left))
        self.record.n_wrong += len(state.left) - n_shared(state.left, target)
        self._mend()
        return self.n > n


def _next_piece(closers: str) -> str:
    """Return what an editor inserted, up to the end of its first line that is not blank."""
    head = closers[: len(closers) - len(closers.lstrip("\n"))]
    return head + closers[len(head) :].split("\n", 1)[0]
