"""A typist types real files through the server: keystrokes saved, suggestions shown and taken, flicker, waste.

The text to be typed is taken out of the file first. After every key the editor requests a suggestion; the typist knows
what to write, and takes one that matches it unless the next key comes first. In virtual time nothing sleeps: only the
engine's own time passes, and what the server does during pauses is left out.
"""

from __future__ import annotations

import asyncio
import math
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Protocol

from midfill.completer import Completer
from midfill.eval.figures import percentile
from midfill.eval.keys import gaps, keys_of, n_shared
from midfill.eval.pace import Meter, Pace, TooLateError
from midfill.records import KEPT_AFTER_S, kept_share
from midfill.tokenizer import CodeTokenizer
from midfill.types import Completion, ModelInfo, Snapshot

Way = Literal["whole", "line", "word"]
NEAR_LINES = 300  # this many lines above the cursor are searched for text that was taken
WAYS: tuple[Way, ...] = ("whole", "line", "word")
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")
MOSTLY = 0.8
PAUSE_S = 0.5  # a gap this long is a pause to think
PRESS_S = 0.2  # one key press that takes or deletes


@dataclass(frozen=True, slots=True)
class Passage:
    """``text[start:end]`` is typed; the rest is already there. The file is ``path`` of the project in ``folder``."""

    folder: Path
    path: str
    language: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Habits:
    """How the typist works."""

    least: int = 4  # characters that a suggestion must save before it is taken
    ways: tuple[Way, ...] = WAYS  # of taking a suggestion
    real_time: bool = False  # sleeps between keys
    waits: bool = False  # waits for every answer, however long it takes: the most that could be saved
    sees_growth: bool = False  # the editor shows a suggestion while it grows
    seed: int = 1
    hasty: bool = False  # takes a suggestion that begins well, and deletes the wrong end
    pace: Pace | None = None  # calculates the engine's time; then only whole suggestions are seen


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What is taken of a suggestion, and with how many key presses."""

    text: str
    n_presses: int
    way: Way
    wrong: str = ""  # text that came with it and is deleted again


@dataclass(frozen=True, slots=True)
class Pause:
    """A moment in which the typist thinks and looks at what is shown."""

    at: int  # characters typed before it
    shown: str
    said: str | None  # the model's text, shown or not; None if it was not asked or is not known
    follows: str


@dataclass(slots=True)
class Tally:
    """What happened. Characters and keys are the file's, tokens the engine's."""

    n_keys: int = 0  # to type everything by hand
    n_pressed: int = 0  # keys typed and keys that took a suggestion
    n_asked: int = 0
    n_superseded: int = 0  # the next key came first
    n_cache: int = 0  # answered without the engine
    n_refused: int = 0  # the server decided not to ask the engine
    n_shown: int = 0  # suggestions, each counted once however long it is shown or grows
    n_accepted: int = 0
    n_whole: int = 0
    n_line: int = 0
    n_word: int = 0
    n_chars_accepted: int = 0
    n_along: int = 0  # keys that typed along a shown suggestion
    n_flickers: int = 0  # of these, the suggestion changed or went away
    n_decoded: int = 0  # including superseded requests and requests ahead of the typist
    n_tokens_shown: int = 0
    n_tokens_accepted: int = 0
    n_chars_wrong: int = 0  # of the characters taken, those deleted at once
    n_kept_30: float = 0.0  # characters taken that are still there after 30 seconds of the session, or at its end
    n_kept_300: float = 0.0
    shown_s: list[float] = field(default_factory=list)  # from keystroke to new text
    pauses: list[Pause] = field(default_factory=list)

    def add(self, other: Tally) -> None:
        """Add the counts of ``other``."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def figures(self) -> dict[str, Any]:
        """Return counts and shares; a share is None if its total is 0."""
        counts = {one.name: getattr(self, one.name) for one in fields(self) if one.name not in ("shown_s", "pauses")}
        return {
            **counts,
            "saved": _share(self.n_keys - self.n_pressed, self.n_keys),
            "shown_per_100": _share(100 * self.n_shown, self.n_keys),
            "kept_30": _share(self.n_kept_30, self.n_chars_accepted),
            "kept_300": _share(self.n_kept_300, self.n_chars_accepted),
            "shown_acceptance": _share(self.n_accepted, self.n_shown),
            "flicker": _share(self.n_flickers, self.n_along),
            "wasted": _share(self.n_decoded - min(self.n_decoded, self.n_tokens_shown), self.n_decoded),
            "shown_s_p50": percentile(self.shown_s, 0.5),
            "shown_s_p95": percentile(self.shown_s, 0.95),
        }


def _share(part: float, whole: int) -> float | None:
    return part / whole if whole else None


def places(folder: Path, path: str, language: str, text: str, n_places: int, n_chars: int) -> list[Passage]:
    """Return ``n_places`` pieces of ``n_chars`` or a line more, evenly over the file; fewer if it is short.

    The pieces are whole lines: with part of a line right of the cursor, no automatic request would be answered.
    """
    found: list[Passage] = []
    for number in range(n_places):
        wanted = number * len(text) // n_places
        start = text.rfind("\n", 0, wanted) + 1
        start += len(text[start:]) - len(text[start:].lstrip("\n"))
        if found and start < found[-1].end:
            start = text.find("\n", found[-1].end) + 1
        end = text.find("\n", start + n_chars)
        end = min(end if end >= 0 else len(text), len(text.rstrip()))
        if end > start + 2 * n_chars:  # a line that is not source code
            end = start + n_chars
        if start >= end or (found and start < found[-1].end):
            break
        found.append(Passage(folder, path, language, text, start, end))
    return found


def counter(info: ModelInfo) -> Callable[[str], int]:
    """Return a counter of tokens; it counts characters if there is no tokenizer (a script)."""
    tokenizer = CodeTokenizer.from_file(Path(info.tokenizer_file)) if info.tokenizer_file else None
    return len if tokenizer is None else lambda text: len(tokenizer.encode(text))


def taken(suggestion: str, follows: str, least: int, ways: Sequence[Way] = WAYS) -> Acceptance | None:
    """Return what a typist who wants ``follows`` takes: all of it, else its right lines, else its right words."""
    n_right = n_shared(follows, suggestion)
    if "whole" in ways and least <= n_right == len(suggestion):
        return Acceptance(suggestion, 1, "whole")
    end = suggestion.rfind("\n", 0, n_right)
    if "line" in ways and end >= least:
        return Acceptance(suggestion[:end], suggestion.count("\n", 0, end) + 1, "line")
    if "word" in ways:
        ends = [word.end() for word in _WORD.finditer(suggestion) if word.end() <= n_right]
        if ends and ends[-1] >= least and len(ends) < len(keys_of(suggestion[: ends[-1]])):
            return Acceptance(suggestion[: ends[-1]], len(ends), "word")
    return None


def glanced(suggestion: str, follows: str, least: int) -> Acceptance | None:
    """Return what a typist takes who reads only the first line: a suggestion whose first line is right, or that is
    right for MOSTLY of its length. Its wrong end is deleted word by word on the first line, then line by line."""
    first = len(suggestion) - len(suggestion.lstrip("\n"))
    end = suggestion.find("\n", first)
    n_right = n_shared(follows, suggestion)
    if n_right < max(least, min(end if end >= 0 else len(suggestion), MOSTLY * len(suggestion))):
        return None
    wrong = suggestion[n_right:]
    line, _, more = wrong.partition("\n")
    n_deleted = len(_WORD.findall(line)) + (more.count("\n") + 1 if more.strip() else 0)
    return Acceptance(suggestion[:n_right], 1 + n_deleted, "whole", wrong)


class Asks(Protocol):
    """What a typist asks after every key: a completer, or a language server."""

    def stream(self, snapshot: Snapshot) -> AsyncIterator[Completion]:
        """Yield the middle as it grows."""
        ...


class Typist:
    """An editor's window with one file, and a typist in front of it."""

    def __init__(
        self, asked: Asks, place: Passage, habits: Habits, count: Callable[[str], int],
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_change: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:  # fmt: skip
        """``asked``: anything but a completer needs real time. ``on_event`` receives what happened, ``on_change`` each
        new text, as a language server would."""
        self._asked, self._place, self._habits = asked, place, habits
        self._count, self._on_event, self._on_change = count, on_event, on_change
        self._target = place.text[place.start : place.end]
        self._typed = ""
        self._standing = ""  # the suggestion on the screen, without what was typed over it
        self._version = 0
        self._seen: dict[str, int] = {}  # tokens of each suggestion; the rest of a suggestion keeps its id
        self._now = self._waited_s = self._gap_s = 0.0  # in seconds: of the session; of the last wait; to the next key
        self._limit: asyncio.Timeout | None = None
        self._ready_at: dict[str, float] = {}  # suggestions that the engine would still be writing
        self._checks: list[tuple[float, int, str]] = []  # when, after how long, and which text may still be there
        self.tally = Tally()

    async def type(self) -> Tally:
        """Type everything. Raises EngineError."""
        asked = self._asked
        await (self._metered(asked) if isinstance(asked, Completer) else self._type())
        self._look_again(math.inf)
        return self.tally

    async def _metered(self, completer: Completer) -> None:
        """Type by our own clock, unless the typist works in real time, and count what the engine decodes for us."""
        engine, clock, sleep = completer.engine, completer.clock, completer.sleep
        completer.engine = meter = Meter(engine, self._count, self._is_in_time)
        if not self._habits.real_time:
            completer.clock, completer.sleep = lambda: self._now, self._sleep
        try:
            await self._type()
        finally:
            await completer.aclose()  # so that what still runs is counted
            completer.engine, completer.clock, completer.sleep = engine, clock, sleep
            self.tally.n_decoded = meter.n_decoded

    async def _type(self) -> None:
        keys = keys_of(self._target)
        waits = gaps(keys, random.Random(self._habits.seed))  # noqa: S311 - the same typist each time
        self.tally.n_keys = len(keys)
        while self._follows:
            self._press(keys_of(self._follows)[0])
            while self._follows:
                gap_s = waits[len(keys_of(self._typed)) - 1]  # pauses belong to the text that was written
                await self._ask(gap_s)
                self._now += gap_s
                self._look_again(self._now)
                if not self._take():
                    break

    @property
    def _follows(self) -> str:
        return self._target[len(self._typed) :]

    def _press(self, key: str) -> None:
        self._typed += key
        self._standing = self._standing.removeprefix(key) if self._standing.startswith(key) else ""
        self.tally.n_pressed += 1

    def _take(self) -> bool:
        """Take the part of the shown suggestion that is right."""
        found = glanced(self._standing, self._follows, self._habits.least) if self._habits.hasty else None
        found = found or taken(self._standing, self._follows, self._habits.least, self._habits.ways)
        if found is None:
            return False
        tally, whole = self.tally, found.text + found.wrong
        self._now += PRESS_S * found.n_presses
        self._checks += [(self._now + after_s, after_s, whole) for after_s in KEPT_AFTER_S]
        self._typed += found.text
        self._standing = "" if found.wrong else self._standing.removeprefix(found.text)
        tally.n_pressed += found.n_presses
        tally.n_accepted += 1
        tally.n_chars_accepted += len(whole)
        tally.n_chars_wrong += len(found.wrong)
        tally.n_tokens_accepted += self._count(found.text)
        setattr(tally, f"n_{found.way}", getattr(tally, f"n_{found.way}") + 1)
        self._event("accepted", found.text, way=found.way)
        return True

    def _look_again(self, now: float) -> None:
        """Count how much of the taken text is still there, for the checks that are due."""
        due = [check for check in self._checks if check[0] <= now]
        self._checks = [check for check in self._checks if check[0] > now]
        lines = (self._place.text[: self._place.start] + self._typed).split("\n")[-NEAR_LINES:] if due else []
        for _, after_s, text in due:
            name = f"n_kept_{after_s}"
            setattr(self.tally, name, getattr(self.tally, name) + len(text) * kept_share(text, lines))

    async def _sleep(self, seconds: float) -> None:
        """The server waits for the next key: that is our time. Raises TimeoutError if the key comes first."""
        self._waited_s = seconds
        if self._habits.pace is not None and seconds >= self._gap_s:
            raise TimeoutError
        limit = self._limit.when() if self._limit is not None else None
        if self._limit is None or limit is None:
            return
        if asyncio.get_running_loop().time() + seconds >= limit:
            raise TimeoutError
        self._limit.reschedule(limit - seconds)

    def _is_in_time(self) -> bool:
        pace = self._habits.pace
        return pace is None or self._waited_s + pace.first_s < self._gap_s

    def _arrival(self, value: Completion, measured_s: float) -> float:
        """Return the seconds from the key to ``value``, measured or calculated."""
        pace = self._habits.pace
        if pace is None:
            return self._waited_s + measured_s
        if value.from_cache or value.stats is None:
            return max(0.0, self._ready_at.get(value.id, 0.0) - self._now)
        seconds = self._waited_s + pace.arrival(value.stats.n_decoded)
        self._ready_at[value.id] = self._now + seconds
        return seconds

    def see(self, value: Completion, measured_s: float) -> bool:
        """Look at a value if it comes before the next key; return whether it does."""
        after_s = self._arrival(value, measured_s)
        if self._habits.pace is not None and after_s >= self._gap_s:
            return False
        self._show(value.text, after_s)
        self._seen[value.id] = max(self._count(value.text), self._seen.get(value.id, 0))
        self.tally.n_tokens_shown = sum(self._seen.values())
        return True

    def _pause(self, last: Completion) -> None:
        """The typist looks at what is shown, after ``last``."""
        is_own = last.finished and last.raw and last.origin in ("engine", "cache")  # otherwise it began elsewhere
        said = self._standing or (last.raw if is_own else None)
        self.tally.pauses.append(Pause(len(self._typed), self._standing, said, self._follows))
        follows, confidence = self._follows.split("\n", 1)[0], last.facts.confidence
        hit = "" if last.origin == "engine" else last.origin
        self._event("pause", self._standing, said=said, follows=follows, confidence=confidence, hit=hit)

    async def _ask(self, gap_s: float) -> None:
        """Request a suggestion, and look at what comes before the next key."""
        last = Completion("", self.snapshot())
        self._on_change(last.snapshot)
        start, self._waited_s, self._gap_s = time.perf_counter(), 0.0, gap_s
        pace, is_seen = self._habits.pace, True
        before, self.tally.n_asked = self._standing, self.tally.n_asked + 1
        try:
            async with asyncio.timeout(None if self._habits.waits or pace is not None else gap_s) as self._limit:
                async with aclosing(self._asked.stream(last.snapshot)) as values:  # type: ignore[type-var]
                    async for value in values:
                        last = value
                        if value.finished or (self._habits.sees_growth and pace is None):
                            is_seen = self.see(value, time.perf_counter() - start)
        except (TimeoutError, TooLateError):
            is_seen = False
        self.tally.n_superseded += not is_seen
        self.tally.n_cache += last.from_cache
        self.tally.n_refused += last.facts.refusal is not None
        self._count_flicker(before)
        if gap_s >= PAUSE_S:
            self._pause(last)
        if self._habits.real_time:
            await asyncio.sleep(max(0.0, gap_s - (time.perf_counter() - start)))

    def _count_flicker(self, before: str) -> None:
        self.tally.n_along += bool(before)
        if before and not self._standing.startswith(before):
            self.tally.n_flickers += 1
            self._event("flicker", self._standing, before=before)

    def _show(self, text: str, after_s: float) -> None:
        """The editor replaces the shown suggestion with ``text``."""
        tally, standing = self.tally, self._standing
        self._standing = text if text.strip() else ""
        if not self._standing or self._standing == standing:
            return
        tally.shown_s.append(after_s)
        if not (standing and text.startswith(standing)):
            tally.n_shown += 1
            self._event("shown", text, after_s=round(after_s, 4))

    def snapshot(self) -> Snapshot:
        """Return what the editor shows now."""
        self._version += 1
        place = self._place
        before = place.text[: place.start] + self._typed
        return Snapshot(
            (place.folder / place.path).as_uri(), self._version, place.language, before + place.text[place.end :],
            len(before), path=place.path,
        )  # fmt: skip

    def _event(self, kind: str, text: str, **more: Any) -> None:
        line = self._typed.rpartition("\n")[2]
        at = self._place.start + len(self._typed)
        self._on_event({"file": self._place.path, "at": at, "event": kind, "line": line, "text": text, **more})
