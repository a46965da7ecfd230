"""A replay whatever the machine: the engine's time is reckoned, and its answers serve every configuration.

Decoding is greedy, so the same prompt gets the same tokens: what one configuration was answered is given to the next
one as well, as far as that one wants it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from midfill.engine.base import Delta, Engine, EngineError, GenerateRequest


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast an engine is taken to be, in seconds."""

    first_s: float  # to the first token
    token_s: float  # for each one after it

    def arrival(self, n_tokens: int) -> float:
        """Seconds until ``n_tokens`` are there."""
        return self.first_s + self.token_s * max(0, n_tokens - 1)


class TooLateError(EngineError):
    """The next key comes before the engine could have said anything: it is not asked."""


@dataclass(slots=True)
class Answer:
    """What an engine said, as far as a client listened."""

    deltas: list[Delta] = field(default_factory=list)
    is_over: bool = False  # the engine had no more to say


class Memory:
    """Answers by what was asked."""

    def __init__(self) -> None:
        self.answers: dict[Hashable, Answer] = {}
        self.n_short = 0  # answers of which more was needed than was listened to


class Remembering:
    """An engine that says again what it said before."""

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self._engine, self._memory = engine, memory

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        key = (request.prompt, request.forced_prefix, request.adapter, request.n, request.bias_names)
        known = self._memory.answers.get(key)
        if known is None:
            async with aclosing(self._ask(key, request)) as asked:  # type: ignore[type-var]
                async for delta in asked:
                    yield delta
            return
        n_tokens = 0
        for delta in known.deltas:
            n_tokens += len(delta.logprobs)
            if n_tokens > request.max_tokens:
                yield Delta("", "length")
                return
            yield delta
        if not known.is_over:
            self._memory.n_short += 1
            yield Delta("", "length")

    async def _ask(self, key: Hashable, request: GenerateRequest) -> AsyncIterator[Delta]:
        answer = Answer()
        async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
            self._memory.answers[key] = answer
            async for delta in deltas:
                answer.deltas.append(replace(delta))
                answer.is_over = answer.is_over or bool(delta.finish_reason)
                yield delta

    async def aclose(self) -> None:
        """The engine is whoever's who made it."""


class Meter:
    """An engine that counts what it decodes, to the end or not."""

    def __init__(
        self, engine: Engine, count: Callable[[str], int], is_in_time: Callable[[], bool] = lambda: True
    ) -> None:
        self._engine, self._count, self._is_in_time = engine, count, is_in_time
        self.n_decoded = 0

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        text, stats = "", None
        if not self._is_in_time():
            raise TooLateError("the next key comes first", "")
        try:
            async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    text, stats = text + delta.text, delta.stats or stats
                    yield delta
        finally:
            self.n_decoded += stats.n_decoded if stats else self._count(text)

    async def aclose(self) -> None:
        """The engine is whoever's who made it."""
