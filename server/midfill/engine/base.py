"""The interface of every engine: token ids in, text out, cancellable at any token."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from typing import Protocol

from midfill.types import MidfillError, Stats

MAX_TOKENS = 4096  # of one generation
ADAPTER_MISSING = "adapter_missing"  # AdapterMissingError on the wire


class EngineError(MidfillError):
    """The engine cannot answer now. Never shown as a dialog: the caller answers with nothing and sets the status."""


class BadRequestError(EngineError):
    """This engine can never answer the request: its sender made a mistake."""


class AdapterMissingError(EngineError):
    """The engine does not know the adapter, or dropped it to make room: the client that knows its folder loads it."""


@dataclass(frozen=True, slots=True)
class GenerateRequest:
    """One generation.

    - ``adapter``: a registered adapter, ``None`` for the base model.
    - ``stop``: strings that end the text and are not part of it; control tokens always end it.
    - ``temperature``: 0 is greedy.
    - ``n``: number of candidates; greedy ones differ in their first token.
    - ``logprobs``: whether to report each token's log probability.

    The rest is for our own engine; others ignore it.

    - ``suffix``: the place of the text after the cursor in the prompt, without sentinels. The engine may then reuse
      what it read of it, even if the cursor has moved (approximate; None: exact).
    - ``forced_prefix``: the text must begin with it, and is returned without it (token healing).
    - ``speculate``: whether tokens may be drafted (same output).
    - ``window``: the window that asks; windows take turns, and the newest request of a window goes first.
    - ``background``: runs only while no other request waits.
    - ``bias_names``: names with which the text probably begins; they get a small advantage. ``bias_only``: there are
      no other names, so another word comes only if the model is sure of it. ``bias_advantages``: for each of them, what
      it gets in addition, in nats, as far as the model is in doubt (empty: nothing).
    - ``prefill_only``: read the prompt and generate nothing, so that a later request finds it read. Every other
      request goes first. Meant for background requests, with ``max_tokens`` 1 for engines that ignore this.
    - ``within_s``: after this many seconds without any text, an answer is useless; the engine drops early what it
      cannot read by then (None: it waits).
    - ``person``: who asks, if several people share an engine. People take turns; windows of one person are answered
      newest first.
    - ``session``: a digest of the file, for balancers that keep a file's requests on one replica.
    - ``given``: the ids of the answer, whatever the model would say: for their log probabilities. ``max_tokens`` is
      their number.
    - ``ignore_eos``: control tokens do not end the text: within a line, the line ends instead.
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
    given: tuple[int, ...] = ()
    ignore_eos: bool = False
    bias_advantages: tuple[float, ...] = ()

    def without_bias(self) -> GenerateRequest:
        """Return the request for text that begins with no name in particular."""
        return replace(self, bias_names=(), bias_only=False, bias_advantages=())


@dataclass(frozen=True, slots=True)
class Delta:
    """The next piece of text of candidate ``index``. Its last one carries ``finish_reason`` and ``stats``.

    ``logprobs``, if requested: natural logarithms of the probabilities of this piece's tokens under the model (of
    tokens that spell the forced prefix, among those that agree with it; of tokens that may spell one of ``bias_names``,
    with their advantage). ``offsets``: where in ``text`` each of them begins, in characters; empty if unknown.
    """

    text: str
    finish_reason: str | None = None
    stats: Stats | None = None
    index: int = 0
    logprobs: tuple[float, ...] = ()
    offsets: tuple[int, ...] = ()


class Engine(Protocol):
    """Closing the iterator (``aclosing``) cancels a generation; the engine stops within one step."""

    def stream(self, request: GenerateRequest) -> AsyncIterator[Delta]:
        """Yield the middle piece by piece. Raises EngineError."""
        ...

    async def aclose(self) -> None:
        """Release connections."""
        ...
