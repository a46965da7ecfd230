"""Renderers write prompts where a tokenizer is: in this process or in another one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from midfill.fim import FimRenderer, Prompt
from midfill.types import Snapshot, Snippet


class Renderer(Protocol):
    """Writes prompts; the language server's does so in another process, to keep its event loop free."""

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """Return the prompt for the middle at the cursor."""
        ...

    async def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text."""
        ...

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text."""
        ...


class InlineRenderer:
    """Renders in the calling thread."""

    def __init__(self, renderer: FimRenderer) -> None:
        self._renderer = renderer

    async def render(self, snapshot: Snapshot, snippets: Sequence[Snippet], budget: int) -> Prompt:
        """Return the prompt for the middle at the cursor."""
        return self._renderer.render(snapshot, snippets, budget)

    async def spell(self, prompt: Prompt) -> str:
        """Return the prompt as text."""
        return self._renderer.spell(prompt)

    async def encode(self, text: str) -> list[int]:
        """Return the ids of ``text`` as plain text."""
        return self._renderer.tokenizer.encode(text)
