"""Who writes prompts: whoever has a tokenizer, here or in another process."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from midfill.fim import FimRenderer, Prompt
from midfill.types import Snapshot, Snippet


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
