"""A scripted engine in place of a real one, for tests and for trying an editor without a model."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midfill.client.base import BackgroundLink, StatusHandler
from midfill.completer import Completer
from midfill.config import Config
from midfill.context.gather import ContextSource
from midfill.engine.base import EngineError
from midfill.engine.scripted import ScriptedEngine
from midfill.fim import Prompt
from midfill.types import EngineStatus, MidfillError, ModelInfo, Snapshot


class ScriptedLink(BackgroundLink):
    """A link to a scripted engine: ready at once, no process, no model."""

    def __init__(
        self, config: Config, on_status: StatusHandler, script: Path, sources: Sequence[ContextSource] = ()
    ) -> None:
        super().__init__(config, on_status, sources, EngineStatus("starting", model="scripted"))
        self._script = script

    def start(self) -> None:
        """Become ready."""
        try:
            self.completer = scripted(self._config, self._script, self._sources, resident=True)
        except MidfillError as error:
            self._set(EngineStatus("error", error.message, error.remedy, model="scripted"))
        else:
            self._set(EngineStatus("ready", model="scripted", device="cpu"))

    async def stats(self) -> dict[str, Any]:
        """Return how often it was asked and cancelled."""
        engine = self.completer.engine if self.completer is not None else None
        if not isinstance(engine, ScriptedEngine):
            return {}
        totals = {"n_requests": engine.n_requests, "n_cancelled": engine.n_cancelled, "n_decoded": engine.n_chunks}
        totals["n_background"] = engine.n_background
        totals |= {"n_read": engine.n_read, "n_unread": engine.n_unread}
        return {"totals": totals}

    async def debug_block(self, seconds: float) -> None:
        """Wait: there is nothing to block."""
        await asyncio.sleep(seconds)

    def report(self, error: EngineError) -> None:
        """Do nothing: there is nothing to restart."""


def scripted(
    config: Config, script: Path, sources: Sequence[ContextSource] = (), *, resident: bool = False
) -> Completer:
    """Return a completer over a script. Raises MidfillError."""
    info = ModelInfo("scripted", "", "qwen2.5-coder", 1024, 4096, "cpu", "float32")
    engine = ScriptedEngine.from_file(script)
    return Completer(engine, CharRenderer(), info, config, sources=sources, resident=resident)


class CharRenderer:
    """Code points as ids behind control ids above Unicode: a renderer for tests, no tokenizer needed."""

    PRE, SUF, MID = 0x110000, 0x110001, 0x110002
    NAMES = {PRE: "<|fim_prefix|>", SUF: "<|fim_suffix|>", MID: "<|fim_middle|>"}  # noqa: RUF012 - constant

    async def render(self, snapshot: Snapshot, snippets: Any, budget: int) -> Prompt:
        """Return prefix and suffix, each with at most half the budget."""
        half = budget // 2
        prefix, suffix = snapshot.prefix[-half:], snapshot.suffix[:half]
        ids = (self.PRE, *map(ord, prefix), self.SUF, *map(ord, suffix), self.MID)
        start = len(prefix) + 2
        return Prompt(
            ids, 3, len(prefix), len(suffix), 0, suffix=(start, start + len(suffix)), prefix_end=start - 1
        )  # fmt: skip

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text``."""
        return list(map(ord, text))

    async def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text."""
        return "".join(self.NAMES.get(token) or chr(token) for token in prompt.ids)
