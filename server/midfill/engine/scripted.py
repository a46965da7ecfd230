"""An engine that replays a script: fast tests of everything above the engine.

Script: ``{"chunks": ["a", " + b"], "delay_s": 0.05}``, the same for every request.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path

from midfill.engine.base import Delta, EngineError, GenerateRequest
from midfill.types import MidfillError, Stats


class ScriptedEngine:
    """Replays ``chunks`` with ``delay_s`` before each."""

    def __init__(self, chunks: list[str], delay_s: float = 0.0) -> None:
        self.chunks, self.delay_s = chunks, delay_s
        self.n_requests = self.n_cancelled = self.n_chunks = 0

    @classmethod
    def from_file(cls, file: Path) -> ScriptedEngine:
        """Read a script. Raises MidfillError."""
        try:
            script = json.loads(file.read_text(encoding="utf-8"))
            return cls([str(chunk) for chunk in script["chunks"]], float(script.get("delay_s", 0)))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise MidfillError(f"cannot read the script {file}", '{"chunks": ["..."], "delay_s": 0.05}') from error

    async def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the chunks. A chunk "!error" raises EngineError."""
        self.n_requests += 1
        start, n, first, done = time.monotonic(), 0, 0.0, False
        try:
            for chunk in self.chunks[: request.max_tokens]:
                await asyncio.sleep(self.delay_s)
                if chunk == "!error":
                    raise EngineError("the script says so", "nothing to do")
                first = first or time.monotonic()
                n += 1
                self.n_chunks += 1
                yield Delta(chunk)
            done = True
            now = time.monotonic()
            yield Delta("", "stop", Stats(len(request.prompt), 0, n, 0.0, (first or now) - start, now - start))
        finally:
            self.n_cancelled += not done

    async def aclose(self) -> None:
        """Nothing to release."""
