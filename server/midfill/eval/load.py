"""Several typists at once against one engine: how long a user waits, and how much of the engine's work is wasted."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from midfill.completer import Completer
from midfill.engine.base import Delta, Engine, EngineError, GenerateRequest
from midfill.eval.figures import percentile
from midfill.eval.replay import Habits, Passage, Tally, Typist
from midfill.remote.replicas import Replicas
from midfill.types import Completion, Snapshot, Trigger

P50_S, P90_S = 0.25, 1.0  # what JetBrains states for its own server: above these, too many users share it


@dataclass(slots=True)
class Counts:
    """What all typists together requested from the engine."""

    n_requests: int = 0
    n_background: int = 0
    n_cancelled: int = 0
    n_failed: int = 0
    first_s: list[float] = field(default_factory=list)  # from a request to its first text


@dataclass(frozen=True, slots=True)
class Window:
    """One typist's way to the engine: a window of its own, otherwise the engine would take all typists for one user."""

    engine: Engine
    name: str
    counts: Counts

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        counts = self.counts
        counts.n_requests += 1
        counts.n_background += request.background
        start, has_text, has_ended = time.perf_counter(), False, False
        try:
            async with aclosing(self.engine.stream(dataclasses.replace(request, window=self.name))) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    if delta.text and not has_text:
                        has_text = True
                        if not request.background:
                            counts.first_s.append(time.perf_counter() - start)
                    has_ended |= delta.finish_reason is not None
                    yield delta
        except EngineError:
            counts.n_failed += 1
            has_ended = True
            raise
        finally:
            counts.n_cancelled += not has_ended

    async def aclose(self) -> None:
        """Do nothing: the engine belongs to the caller."""


class FrontEnd(Completer):
    """A completer as the language server uses it: if the engine fails, nothing is shown and typing goes on."""

    async def stream(
        self, snapshot: Snapshot, *, trigger: Trigger = "automatic", n: int = 1
    ) -> AsyncIterator[Completion]:
        """Yield the middle as it grows; it is empty if the engine fails."""
        try:
            async with aclosing(super().stream(snapshot, trigger=trigger, n=n)) as completions:  # type: ignore[type-var]
                async for completion in completions:
                    yield completion
        except EngineError:
            yield Completion("", snapshot, True, finish_reason="stop")


@dataclass(slots=True)
class LoadResult:
    """The results of this many typists."""

    n_typists: int
    seconds: float
    tally: Tally
    counts: Counts
    n_replicas: int = 1

    def figures(self) -> dict[str, Any]:
        """Return seconds, counts and shares; a share is None if its total is 0."""
        tally, counts, first = self.tally, self.counts, self.counts.first_s
        n_typed = counts.n_requests - counts.n_background
        p50, p90 = percentile(tally.shown_s, 0.5), percentile(tally.shown_s, 0.9)
        return {
            "typists": self.n_typists, "replicas": self.n_replicas, "seconds": self.seconds,
            "ghost_text_s": {"p50": p50, "p90": p90, "p99": percentile(tally.shown_s, 0.99), "n": len(tally.shown_s)},
            "first_token_s": {name: percentile(first, at) for name, at in (("p50", 0.5), ("p90", 0.9), ("p99", 0.99))},
            "asked": tally.n_asked, "requests": counts.n_requests, "requests_ahead": counts.n_background,
            "failed": counts.n_failed, "cancelled": _share(counts.n_cancelled, counts.n_requests),
            "never_reached_the_engine": _share(max(0, tally.n_asked - n_typed), tally.n_asked),
            "stale": _share(tally.n_superseded, tally.n_asked),
            "decoded": tally.n_decoded,
            "wasted_tokens": _share(max(0, tally.n_decoded - tally.n_tokens_shown), tally.n_decoded),
            "requests_per_s_and_replica": counts.n_requests / self.seconds / self.n_replicas if self.seconds else None,
            "people_a_replica": self.n_typists / self.n_replicas, "fast_enough": _is_fast(p50, p90),
        }  # fmt: skip


def _is_fast(p50: float | None, p90: float | None) -> bool | None:
    return None if p50 is None or p90 is None else p50 < P50_S and p90 < P90_S


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


async def run(
    completer: Completer, places: Sequence[Passage], n_typists: int, seconds: float, count: Callable[[str], int],
    *, n_replicas: int = 1, seed: int = 1,
) -> LoadResult:  # fmt: skip
    """Let ``n_typists`` type at ``places`` for ``seconds`` of real time, each in its own order."""
    counts, total, start = Counts(), Tally(), time.perf_counter()

    async def typist(number: int) -> None:
        engine = completer.engine
        engine = engine.as_another_sees_it() if isinstance(engine, Replicas) else engine
        turn = number
        while time.perf_counter() - start < seconds:
            place = dataclasses.replace(places[turn % len(places)], path=f"{number}/{places[turn % len(places)].path}")
            window = FrontEnd(
                Window(engine, f"typist-{number}", counts), completer.renderer, completer.info, completer.config,
                adapter=completer.adapter, resident=True,
            )  # fmt: skip
            typing = Typist(window, place, Habits(real_time=True, seed=seed + turn), count)
            try:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.1, seconds - (time.perf_counter() - start))):
                        await typing.type()
            finally:
                total.add(typing.tally)
            turn += n_typists

    await asyncio.gather(*(typist(number) for number in range(n_typists)))
    return LoadResult(n_typists, time.perf_counter() - start, total, counts, n_replicas)
