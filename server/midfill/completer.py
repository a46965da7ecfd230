"""The path of one keystroke: cache, context, prompt, engine, post-processing."""

from __future__ import annotations

import dataclasses
import itertools
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from typing import Protocol

from midfill.cache import Middle, MiddleCache
from midfill.config import Config
from midfill.context.gather import ContextSource, gather
from midfill.engine.base import Engine, GenerateRequest
from midfill.fim import FimRenderer, Prompt
from midfill.postprocess import Judge
from midfill.types import Completion, ModelInfo, Snapshot, Snippet, Stats, Trigger

_numbers = itertools.count(1)


class Renderer(Protocol):
    """Writes prompts; the language server's does so in another process, to keep its loop free."""

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """The prompt for the middle at the cursor."""
        ...

    async def spell(self, prompt: Prompt) -> str:
        """The prompt as text."""
        ...


class InlineRenderer:
    """Renders where it is called."""

    def __init__(self, renderer: FimRenderer) -> None:
        self._renderer = renderer

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """The prompt for the middle at the cursor."""
        return self._renderer.render(snapshot, snippets, budget)

    async def spell(self, prompt: Prompt) -> str:
        """The prompt as text."""
        return self._renderer.spell(prompt)


class Completer:
    """Turns snapshots into middles."""

    def __init__(
        self,
        engine: Engine,
        renderer: Renderer,
        info: ModelInfo,
        config: Config,
        *,
        adapter: str | None = None,
        sources: Sequence[ContextSource] = (),
    ) -> None:
        self.engine, self.renderer, self.info, self.config, self.adapter = engine, renderer, info, config, adapter
        self.cache = MiddleCache()
        self.sources = sources
        for source in sources:
            source.budget = self.snippet_budget
        self.adapter_digest = ""  # changes with the adapter's files; middles of the earlier ones are not shown again

    @property
    def _answered_by(self) -> str:
        return f"{self.info.name}/{self.adapter}/{self.adapter_digest}/{self.info.template}/{self.config.order}"

    @property
    def budget(self) -> int:
        """Tokens a prompt may have."""
        wanted = self.config.context_tokens or self.info.context_tokens
        return max(64, min(wanted, self.info.max_context - self.config.max_tokens))

    @property
    def snippet_budget(self) -> int:
        """Tokens of these that pieces of other files may have."""
        return int(self.budget * FimRenderer.SNIPPET_SHARE)

    async def stream(self, snapshot: Snapshot, *, trigger: Trigger = "automatic") -> AsyncIterator[Completion]:
        """Yield the middle as it grows; each value replaces the one before. Raises EngineError.

        Closing the iterator stops the engine within one step.
        """
        if (known := self.cache.lookup(snapshot, self._answered_by)) is not None:
            shown = Judge(snapshot).shown(known.text, cut_short=known.finish_reason == "length")
            yield Completion(shown, snapshot, True, "cache", known.finish_reason, raw=known.text)
            return
        start, answered_by, judge = time.monotonic(), self._answered_by, Judge(snapshot)
        snippets = gather(self.sources, snapshot)
        prompt = await self.renderer.render(snapshot, snippets, self.budget)
        request = self._request(prompt)
        raw, reason, stats = "", "", Stats(n_prompt=len(prompt.ids))
        n_pieces, first_at = 0, 0.0
        async with aclosing(self.engine.stream(request)) as deltas:  # type: ignore[type-var]
            async for delta in deltas:
                raw += delta.text
                stats = delta.stats or stats
                n_pieces += bool(delta.text)
                first_at = first_at or time.monotonic()
                reason = delta.finish_reason or ("unit" if judge.ends(raw) else "")
                if reason:
                    break
                yield Completion(judge.shown(raw), snapshot, raw=raw)
        self.cache.store(snapshot, answered_by, Middle(raw, reason))
        shown = judge.shown(raw, cut_short=reason == "length")
        now = time.monotonic()
        stats = dataclasses.replace(
            stats, n_decoded=max(stats.n_decoded, n_pieces), ttft_s=(first_at or now) - start, total_s=now - start
        )
        yield Completion(shown, snapshot, True, "engine", reason, stats, raw)

    def _request(self, prompt: Prompt) -> GenerateRequest:
        shift = self.config.suffix_shift
        keeps_suffix = self.info.suffix_shift if shift == "auto" else shift == "on"
        return GenerateRequest(
            prompt.ids, self.config.max_tokens, adapter=self.adapter, request_id=f"{os.getpid()}-{next(_numbers)}",
            suffix=prompt.suffix if keeps_suffix else None, beginning=prompt.beginning,
            speculate=self.config.prompt_lookup, window=str(os.getpid()),
        )  # fmt: skip

    async def last(self, snapshot: Snapshot, *, trigger: Trigger = "invoked") -> Completion:
        """The whole middle. Raises EngineError."""
        last = Completion("", snapshot, True)
        async with aclosing(self.stream(snapshot, trigger=trigger)) as completions:  # type: ignore[type-var]
            async for completion in completions:
                last = completion
        return last

    async def prompt(self, snapshot: Snapshot) -> Prompt:
        """The prompt as it would be sent, spelled out."""
        prompt = await self.renderer.render(snapshot, gather(self.sources, snapshot), self.budget)
        return dataclasses.replace(prompt, text=await self.renderer.spell(prompt))
