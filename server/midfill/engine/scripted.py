"""An engine that replays a script, for fast tests of everything above the engine.

Script: ``{"chunks": ["a", " + b"], "delay_s": 0.05}``, the same for every request; ``"others": [["c"], ["d"]]`` are the
chunks of the second, third ... candidate, for requests that want several; ``"read_s"`` is the time that a request takes
which only reads its prompt; ``"logprob"`` is the log probability of each chunk.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.types import MidfillError, Stats


class ScriptedEngine:
    """Replays ``chunks`` with ``delay_s`` before each; those of several candidates in turn."""

    def __init__(self, chunks: list[str], delay_s: float = 0.0, others: Sequence[list[str]] = ()) -> None:
        self.chunks, self.delay_s, self.others = chunks, delay_s, others
        self.stops_at: list[int] = []  # characters after which the first, the second ... request stops
        self.n_requests = self.n_background = self.n_cancelled = self.n_chunks = 0
        self.read_s = 0.0  # seconds that reading a prompt takes
        self.logprob = -0.001  # of each chunk of the first candidate
        self.read: list[tuple[int, ...]] = []  # prompts of requests that only read
        self.n_read = self.n_unread = 0  # of these: read to the end, stopped before it

    @classmethod
    def from_file(cls, file: Path) -> ScriptedEngine:
        """Return an engine with the script of ``file``. Raises MidfillError."""
        try:
            script = json.loads(file.read_text(encoding="utf-8"))
            others = [[str(chunk) for chunk in chunks] for chunks in script.get("others", ())]
            engine = cls([str(chunk) for chunk in script["chunks"]], float(script.get("delay_s", 0)), others)
            engine.read_s = float(script.get("read_s", 0))
            engine.logprob = float(script.get("logprob", engine.logprob))
            return engine
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MidfillError(f"cannot read the script {file}", '{"chunks": ["..."], "delay_s": 0.05}') from error

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the chunks. "!error" raises EngineError. Each candidate is less sure by 1 than the one before."""
        if request.prefill_only:
            yield await self._read(request)
            return
        whole = self.chunks
        if self.n_requests < len(self.stops_at):
            whole = ["".join(self.chunks)[: self.stops_at[self.n_requests]]]
        self.n_requests += 1
        self.n_background += request.background
        start, n, first = time.monotonic(), 0, 0.0
        told = [_after(request.forced_prefix, chunks) for chunks in [whole, *self.others][: request.n]]
        n_running = len(told)
        try:
            for index, chunk in _in_turn([chunks[: request.max_tokens] for chunks in told]):
                if chunk is None:
                    now = time.monotonic()
                    n_running -= 1
                    stats = Stats(len(request.prompt), 0, n, 0.0, (first or now) - start, now - start)
                    yield Delta("", "stop", stats, index)
                    continue
                await asyncio.sleep(self.delay_s)
                if chunk == "!error":
                    raise EngineError("the script says so", "nothing to do")
                first = first or time.monotonic()
                n += 1
                self.n_chunks += 1
                yield Delta(chunk, index=index, logprobs=(self.logprob - index,) if request.logprobs else ())
        finally:
            self.n_cancelled += n_running > 0

    async def _read(self, request: GenerateRequest) -> Delta:
        self.read.append(request.prompt)
        try:
            await asyncio.sleep(self.read_s)
        except asyncio.CancelledError:
            self.n_unread += 1
            raise
        self.n_read += 1
        return Delta("", "length", Stats(len(request.prompt)))

    async def aclose(self) -> None:
        """Do nothing: there is nothing to release."""


def _after(forced_prefix: str, chunks: list[str]) -> list[str]:
    """Return the part of ``chunks`` after ``forced_prefix``: they begin with it, or they are a beginning of it."""
    text = "".join(chunks)
    n = min(len(text), len(forced_prefix))
    if not n or text[:n] != forced_prefix[:n]:
        return chunks
    left: list[str] = []
    for chunk in chunks:
        left += [chunk[n:]] if len(chunk) > n else []
        n = max(0, n - len(chunk))
    return left


def _in_turn(candidates: list[list[str]]) -> Iterator[tuple[int, str | None]]:
    """Yield a chunk of each candidate with its number, and so on; None once after its last."""
    for row in itertools.zip_longest(*([*chunks, None] for chunks in candidates), fillvalue=""):
        yield from ((index, chunk) for index, chunk in enumerate(row) if chunk != "")
