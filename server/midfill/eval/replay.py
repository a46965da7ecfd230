"""A person types real files through the server: keystrokes saved, suggestions shown and taken, flicker, waste.

The text that is typed is taken out of the file first. After every key a suggestion is asked for, as an editor does; it
is seen if it comes before the next key, else the next key supersedes it. The typist knows what they want to write and
takes a suggestion that says it. In virtual time nobody sleeps: only the engine's own time passes, so that a pause of
a second costs none; what the server does while a person pauses is then left out.
"""

from __future__ import annotations

import asyncio
import random
import re
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal

from midfill.completer import Completer
from midfill.engine.base import Delta, Engine, GenerateRequest
from midfill.eval.figures import percentile
from midfill.eval.keys import added, gaps, keys_of
from midfill.trace import Trace
from midfill.types import Completion, Snapshot

Way = Literal["whole", "line", "word"]
WAYS: tuple[Way, ...] = ("whole", "line", "word")
_WORD = re.compile(r"\s*(?:\w+|[^\w\s]+)")


@dataclass(frozen=True, slots=True)
class Place:
    """``text[start:end]`` is typed; what comes before and after it stands there already.

    The file is at ``path`` of the project in ``folder``.
    """

    folder: Path
    path: str
    language: str
    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Habits:
    """How the typist works."""

    least: int = 4  # characters that a suggestion must save to be taken
    ways: tuple[Way, ...] = WAYS  # of taking one
    real_time: bool = False  # sleep between keys
    waits: bool = False  # for every answer, however long it takes: what could be saved at best
    sees_growth: bool = False  # an editor that shows a suggestion while it grows
    seed: int = 1


@dataclass(frozen=True, slots=True)
class Taken:
    """What is taken of a suggestion, with how many presses."""

    text: str
    n_presses: int
    way: Way


@dataclass(slots=True)
class Tally:
    """What happened. Characters and keys of the file; tokens of the engine."""

    n_keys: int = 0  # to type everything by hand
    n_pressed: int = 0  # keys typed and keys that took a suggestion
    n_asked: int = 0
    n_superseded: int = 0  # the next key came first
    n_cache: int = 0  # answered without the engine
    n_refused: int = 0  # not worth asking the engine, said the server
    n_shown: int = 0  # suggestions, each counted once however long it stands or grows
    n_accepted: int = 0
    n_whole: int = 0
    n_line: int = 0
    n_word: int = 0
    n_chars_accepted: int = 0
    n_along: int = 0  # keys typed along a standing suggestion
    n_flickers: int = 0  # of these, the suggestion became another one or went away
    n_decoded: int = 0  # also by what was superseded, and ahead of the typist
    n_tokens_shown: int = 0
    n_tokens_accepted: int = 0
    shown_s: list[float] = field(default_factory=list)  # keystroke to new text

    def add(self, other: Tally) -> None:
        """Sum up."""
        for one in fields(self):
            setattr(self, one.name, getattr(self, one.name) + getattr(other, one.name))

    def figures(self) -> dict[str, Any]:
        """Counts and shares; a share of nothing is None."""
        counts = {one.name: getattr(self, one.name) for one in fields(self) if one.name != "shown_s"}
        return {
            **counts,
            "saved": _share(self.n_keys - self.n_pressed, self.n_keys),
            "shown_acceptance": _share(self.n_accepted, self.n_shown),
            "flicker": _share(self.n_flickers, self.n_along),
            "wasted": _share(self.n_decoded - min(self.n_decoded, self.n_tokens_shown), self.n_decoded),
            "shown_s_p50": percentile(self.shown_s, 0.5),
            "shown_s_p95": percentile(self.shown_s, 0.95),
        }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def places(folder: Path, path: str, language: str, text: str, n_places: int, n_chars: int) -> list[Place]:
    """``n_places`` pieces of ``n_chars`` or a line more, evenly over the file; fewer if it is short.

    Whole lines: with a part of one standing right of the cursor, no automatic request would be answered.
    """
    found: list[Place] = []
    for number in range(n_places):
        wanted = number * len(text) // n_places
        start = text.rfind("\n", 0, wanted) + 1
        start += len(text[start:]) - len(text[start:].lstrip("\n"))
        if found and start < found[-1].end:
            start = text.find("\n", found[-1].end) + 1
        end = text.find("\n", start + n_chars)
        end = min(end if end >= 0 else len(text), len(text.rstrip()))
        if end > start + 2 * n_chars:  # a line that is no source
            end = start + n_chars
        if start >= end or (found and start < found[-1].end):
            break
        found.append(Place(folder, path, language, text, start, end))
    return found


def taken(suggestion: str, follows: str, least: int, ways: Sequence[Way] = WAYS) -> Taken | None:
    """What a typist who wants to write ``follows`` takes: all of it, else its right lines, else its right words."""
    n_right = len(suggestion) - len(added(follows, suggestion))
    if "whole" in ways and least <= n_right == len(suggestion):
        return Taken(suggestion, 1, "whole")
    end = suggestion.rfind("\n", 0, n_right)
    if "line" in ways and end >= least:
        return Taken(suggestion[:end], suggestion.count("\n", 0, end) + 1, "line")
    if "word" in ways:
        ends = [word.end() for word in _WORD.finditer(suggestion) if word.end() <= n_right]
        if ends and ends[-1] >= least and len(ends) < len(keys_of(suggestion[: ends[-1]])):
            return Taken(suggestion[: ends[-1]], len(ends), "word")
    return None


class Meter:
    """An engine that counts what it decodes, to the end or not."""

    def __init__(self, engine: Engine, count: Callable[[str], int]) -> None:
        self._engine, self._count = engine, count
        self.n_decoded = 0

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        text, stats = "", None
        try:
            async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    text, stats = text + delta.text, delta.stats or stats
                    yield delta
        finally:
            self.n_decoded += stats.n_decoded if stats else self._count(text)

    async def aclose(self) -> None:
        """The engine is whoever's who made it."""


class Typist:
    """An editor's window with one file, and somebody in front of it."""

    def __init__(
        self, completer: Completer, place: Place, habits: Habits, count: Callable[[str], int],
        on_event: Callable[[dict[str, Any]], None] = lambda event: None,
        on_change: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:  # fmt: skip
        """``on_event`` is told what happened, ``on_change`` each new text, as a language server is."""
        self._completer, self._place, self._habits = completer, place, habits
        self._count, self._on_event, self._on_change = count, on_event, on_change
        self._target = place.text[place.start : place.end]
        self._typed = ""
        self._standing = ""  # the suggestion that is on the screen, without what was typed over it
        self._version = 0
        self._seen: dict[str, int] = {}  # tokens of each suggestion; the rest of one keeps its id
        self.tally = Tally()

    async def type(self) -> Tally:
        """Type everything. Raises EngineError."""
        engine = self._completer.engine
        self._completer.engine = meter = Meter(engine, self._count)
        try:
            await self._type()
        finally:
            await self._completer.aclose()
            self._completer.engine = engine
            self.tally.n_decoded, self.tally.n_tokens_shown = meter.n_decoded, sum(self._seen.values())
        return self.tally

    async def _type(self) -> None:
        keys = keys_of(self._target)
        waits = gaps(keys, random.Random(self._habits.seed))  # noqa: S311 - the same typist each time
        self.tally.n_keys = len(keys)
        while self._follows:
            self._press(keys_of(self._follows)[0])
            while self._follows:
                await self._ask(waits[len(keys_of(self._typed)) - 1])  # pauses belong to what was written
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
        """Take what is right of the standing suggestion."""
        found = taken(self._standing, self._follows, self._habits.least, self._habits.ways)
        if found is None:
            return False
        tally = self.tally
        self._typed += found.text
        self._standing = self._standing.removeprefix(found.text)
        tally.n_pressed += found.n_presses
        tally.n_accepted += 1
        tally.n_chars_accepted += len(found.text)
        tally.n_tokens_accepted += self._count(found.text)
        setattr(tally, f"n_{found.way}", getattr(tally, f"n_{found.way}") + 1)
        self._event("accepted", found.text, way=found.way)
        return True

    async def _ask(self, gap_s: float) -> None:
        """Ask, and look at what comes until the next key."""
        last = Completion("", self.snapshot())
        self._on_change(last.snapshot)
        start, trace = time.perf_counter(), Trace()
        before, self.tally.n_asked = self._standing, self.tally.n_asked + 1
        try:
            async with asyncio.timeout(None if self._habits.waits else gap_s):
                async with aclosing(self._completer.stream(last.snapshot, trace=trace)) as values:  # type: ignore[type-var]
                    async for value in values:
                        last = value
                        if value.finished or self._habits.sees_growth:
                            self._show(value.text, time.perf_counter() - start)
                            seen = self._count(value.text)
                            self._seen[value.id] = max(seen, self._seen.get(value.id, 0))
        except TimeoutError:
            self.tally.n_superseded += 1
        self.tally.n_cache += last.source == "cache"
        self.tally.n_refused += bool(trace.refused)
        self._count_flicker(before)
        if self._habits.real_time:
            await asyncio.sleep(max(0.0, gap_s - (time.perf_counter() - start)))

    def _count_flicker(self, before: str) -> None:
        self.tally.n_along += bool(before)
        if before and not self._standing.startswith(before):
            self.tally.n_flickers += 1
            self._event("flicker", self._standing, before=before)

    def _show(self, text: str, after_s: float) -> None:
        """The editor puts ``text`` in place of what stands there."""
        tally, standing = self.tally, self._standing
        self._standing = text if text.strip() else ""
        if not self._standing or self._standing == standing:
            return
        tally.shown_s.append(after_s)
        if not (standing and text.startswith(standing)):
            tally.n_shown += 1
            self._event("shown", text, after_s=round(after_s, 4))

    def snapshot(self) -> Snapshot:
        """What the editor shows now."""
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
