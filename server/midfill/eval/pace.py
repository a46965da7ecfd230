"""A replay that does not depend on the machine: the engine's time is calculated, and its answers serve every
configuration.

Decoding is greedy, so the same prompt gets the same tokens: an answer to one configuration is also given to the next
one, up to the length that it needs.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import aclosing
from dataclasses import dataclass, field, replace

from midfill.engine.base import Delta, Engine, EngineError, GenerateRequest


@dataclass(frozen=True, slots=True)
class Pace:
    """The assumed speed of an engine, in seconds."""

    first_s: float  # until the first token
    token_s: float  # for each token after it

    def arrival(self, n_tokens: int) -> float:
        """Return the seconds until ``n_tokens`` have arrived."""
        return self.first_s + self.token_s * max(0, n_tokens - 1)


class TooLateError(EngineError):
    """The next key comes before the engine could have answered: the engine is not asked."""


@dataclass(slots=True)
class Recording:
    """What an engine answered, up to where a client stopped listening."""

    deltas: list[Delta] = field(default_factory=list)
    is_over: bool = False  # the engine had nothing more to send


class Memory:
    """Answers by request."""

    def __init__(self) -> None:
        self.answers: dict[Hashable, Recording] = {}
        self.n_short = 0  # answers that were needed to a greater length than a client had listened to


class Remembering:
    """An engine that repeats its earlier answers."""

    def __init__(self, engine: Engine, memory: Memory) -> None:
        self._engine, self._memory = engine, memory

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        bias = (request.bias_names, request.bias_advantages)
        key = (request.prompt, request.forced_prefix, request.adapter, request.n, bias)
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
        answer = Recording()
        async with aclosing(self._engine.stream(request)) as deltas:  # type: ignore[type-var]
            self._memory.answers[key] = answer
            async for delta in deltas:
                answer.deltas.append(replace(delta))
                answer.is_over = answer.is_over or bool(delta.finish_reason)
                yield delta

    async def aclose(self) -> None:
        """Do nothing: the engine belongs to the caller."""


class Meter:
    """An engine that counts the tokens it decodes, whether or not a request runs to its end."""

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
        """Do nothing: the engine belongs to the caller."""
