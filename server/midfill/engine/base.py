"""What every engine offers: token ids in, text out, cancellable at any token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from midfill.types import MidfillError, Stats


class EngineError(MidfillError):
    """The engine cannot answer now. Never shown as a dialog: the caller answers empty and sets the status."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation.

    ``adapter`` names a registered adapter, ``None`` the plain base. ``stop`` are strings that end the text and are
    not part of it; control tokens always end it. ``temperature`` 0 is greedy.
    """

    prompt: tuple[int, ...]
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    adapter: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of text. The last one carries ``finish_reason`` and ``stats``."""

    text: str
    finish_reason: str | None = None
    stats: Stats | None = None


class Engine(Protocol):
    """Closing the iterator (``aclosing``) is how a generation is cancelled; the engine stops within one step."""

    def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
