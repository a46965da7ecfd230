"""Several candidates from an engine that gives one for each request: each begins with another of the likeliest first
tokens.

vLLM refuses ``n`` above 1 with temperature 0. The first answer reports the likeliest tokens of its first position; each
further one is appended to the prompt, which the engine has read by then, and a request of its own continues there.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace

from midfill.engine.base import Delta, EngineError


@dataclass(frozen=True, slots=True)
class First:
    """A token with which an answer may begin, and its log probability."""

    token: int
    logprob: float


OnFirst = Callable[[Sequence[First]], None]  # called once, with the first tokens of the other candidates
Ask = Callable[[First | None, OnFirst], AsyncIterator[Delta]]  # one candidate; None: the likeliest one


async def merged(ask: Ask) -> AsyncIterator[Delta]:
    """Yield the pieces of all candidates as they come, each with its index. Raises EngineError if the first one fails.

    A further one that fails ends there. Closing the iterator closes every stream before it returns.
    """
    pieces: asyncio.Queue[Delta | EngineError | None] = asyncio.Queue()  # None: one candidate is over
    tasks: list[asyncio.Task[None]] = []

    async def follow(index: int, first: First | None) -> None:
        try:
            async with aclosing(ask(first, begin if first is None else lambda _: None)) as deltas:  # type: ignore[type-var]
                async for delta in deltas:
                    pieces.put_nowait(replace(delta, index=index))
        except EngineError as error:
            pieces.put_nowait(Delta("", "stop", index=index) if index else error)
        finally:
            pieces.put_nowait(None)

    def begin(others: Sequence[First]) -> None:
        for first in others:
            tasks.append(asyncio.create_task(follow(len(tasks), first)))

    tasks.append(asyncio.create_task(follow(0, None)))
    n_over = 0
    try:
        while n_over < len(tasks):
            piece = await pieces.get()
            if isinstance(piece, EngineError):
                raise piece
            if piece is None:
                n_over += 1
            else:
                yield piece
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
