"""How a hole is answered: through the whole server path, or as a bare fill-in-the-middle endpoint would answer it."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any, Protocol

from midfill.completer import Completer
from midfill.config import Config
from midfill.engine.base import GenerateRequest
from midfill.trace import trace_of
from midfill.types import Snapshot, Stats, Trigger

NO_STATS = Stats()
# The parts of a trace that help to understand a wrong answer.
WHY = ("refused", "scope", "confidence", "n_prefix", "n_suffix", "n_snippets", "snippets")


@dataclass(frozen=True, slots=True)
class Answer:
    """``text`` is what is shown, ``raw`` what the model wrote. Seconds are measured by the caller, from the request on.

    ``why``: the server's own account, if there is a server.
    """

    text: str
    raw: str
    finish_reason: str
    stats: Stats
    ttft_s: float
    total_s: float
    why: Mapping[str, Any] = field(default_factory=dict)


class Asker(Protocol):
    """Answers holes, one after another."""

    async def answer(self, snapshot: Snapshot) -> Answer:
        """Return the answer for the cursor's position. Raises EngineError."""
        ...


Prepare = Callable[[Snapshot], None]


def _nothing(snapshot: Snapshot) -> None:
    """Do nothing: there are no other files."""


class EndToEnd:
    """Answers as the user would see it: context, prompt, engine, stopping, post-processing, as in an editor."""

    def __init__(self, completer: Completer, trigger: Trigger = "invoked", prepare: Prepare = _nothing) -> None:
        """``prepare`` runs before each request and reads the other files. It may block."""
        self.completer, self._trigger, self._prepare = completer, trigger, prepare

    async def answer(self, snapshot: Snapshot) -> Answer:
        """Return the answer for the cursor's position. Raises EngineError."""
        await asyncio.to_thread(self._prepare, snapshot)
        self.completer.reuse.forget()  # holes of one file must not answer each other
        start = time.perf_counter()
        last = await self.completer.last(snapshot, trigger=self._trigger)
        total_s, stats = time.perf_counter() - start, last.stats or NO_STATS
        trace = trace_of(last)
        why = {**{name: getattr(trace, name) for name in WHY}, "rules": [name for name, _ in trace.rules]}
        return Answer(last.text, last.raw, last.finish_reason, stats, stats.ttft_s, total_s, why)


class Bare:
    """The endpoint of a model server: the plain prompt, no context, and the model's whole output up to its token
    limit."""

    def __init__(self, completer: Completer) -> None:
        self.completer = completer

    async def answer(self, snapshot: Snapshot) -> Answer:
        """Return the answer for the cursor's position. Raises EngineError."""
        completer, start = self.completer, time.perf_counter()
        prompt = await completer.renderer.render(snapshot, (), completer.budget)
        adapter = completer.adapter_of(snapshot)
        request = GenerateRequest(prompt.ids, completer.config.max_tokens, adapter=adapter, window="eval")
        text, reason, stats, first_s = "", "", NO_STATS, 0.0
        async with aclosing(completer.engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                first_s = first_s or time.perf_counter() - start
                text += delta.text
                stats, reason = delta.stats or stats, delta.finish_reason or reason
        return Answer(text, text, reason, stats, first_s, time.perf_counter() - start)


def bare(config: Config) -> Config:
    """Return ``config`` for ``Bare``, without what only our own server does to the prompt or in the engine."""
    return dataclasses.replace(config, token_healing=False, suffix_shift="off")
