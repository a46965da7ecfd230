"""What every engine offers: token ids in, text out, cancellable at any token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Protocol

from midfill.types import MidfillError, Stats

MAX_TOKENS = 4096  # of one generation
ADAPTER_MISSING = "adapter_missing"  # AdapterMissingError on the wire


class EngineError(MidfillError):
    """The engine cannot answer now. Never shown as a dialog: the caller answers empty and sets the status."""


class BadRequestError(EngineError):
    """The request can never be answered by this engine: its sender made a mistake."""


class AdapterMissingError(EngineError):
    """The engine does not know the adapter, or had to make room: whoever knows its folder loads it (again)."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation.

    ``adapter`` names a registered adapter, ``None`` the plain base. ``stop`` are strings that end the text and are
    not part of it; control tokens always end it. ``temperature`` 0 is greedy. ``n`` candidates: greedy ones differ in
    their first token. ``logprobs``: whether to tell each token's.

    What follows is for our own engine; others ignore it. ``suffix``: where in the prompt the text after
    the cursor stands, without sentinels; the engine may then keep what it read of it earlier though the
    cursor has moved (approximate; None: exact). ``forced_prefix``: the text must begin with it and is given without it
    (token healing). ``speculate``: whether tokens may be drafted (the answer is the same). ``window``: whose request
    this is; windows take turns, and the newest request of a window goes first. ``background``: only while nobody waits.
    ``bias_names``: names with which the text probably begins; they get a small advantage. ``bias_only``: there are no
    other ones, so another word comes only if the model is sure of it. ``prefill_only``: the prompt is
    read and nothing is generated, so that a later request finds it read. Every other request goes first; a background
    request is meant, with ``max_tokens`` 1 for engines that ignore this.
    ``within_s``: an answer of which nothing came after so many seconds is of no use; the engine then gives up early
    what it cannot have read by then (None: it waits). ``person``: who asks, where several people share an engine;
    they take turns, whereas windows of one person are read newest first.
    ``session``: a digest of whose file this is, for balancers that keep a file's requests on one replica.
    """

    prompt: tuple[int, ...]
    max_tokens: int = 64
    stop: tuple[str, ...] = ()
    adapter: str | None = None
    temperature: float = 0.0
    top_p: float = 1.0
    seed: int | None = None
    request_id: str = ""
    n: int = 1
    logprobs: bool = False
    suffix: tuple[int, int] | None = None
    forced_prefix: str = ""
    speculate: bool = True
    window: str = ""
    background: bool = False
    bias_names: tuple[str, ...] = ()
    bias_only: bool = False
    prefill_only: bool = False
    within_s: float | None = None
    person: str = ""
    session: str = ""


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of text of candidate ``index``. Its last one carries ``finish_reason`` and ``stats``.

    ``logprobs``, where asked for: of the tokens that came with this piece, natural logarithms under the model (of those
    that spell the beginning, among the tokens that agree with it).
    """

    text: str
    finish_reason: str | None = None
    stats: Stats | None = None
    index: int = 0
    logprobs: tuple[float, ...] = ()


class Engine(Protocol):
    """Closing the iterator (``aclosing``) is how a generation is cancelled; the engine stops within one step."""

    def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
