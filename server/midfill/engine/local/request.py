"""A request that waits, a request that runs, and how its tokens become text."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from dataclasses import dataclass, field
from typing import Any

from midfill.engine.base import Delta, GenerateRequest
from midfill.engine.local.lora.adapter import Adapter
from midfill.engine.local.sequence.generation import Generation, Token
from midfill.engine.local.sequence.kv_cache import Slot
from midfill.tokenizer import CodeTokenizer, TextStream
from midfill.types import Stats


class CancelFlag(threading.Event):
    """Set once, from any thread. ``at``: when, in seconds of the monotonic clock."""

    at = 0.0

    def set(self) -> None:
        """Ask the worker to stop."""
        if not self.is_set():
            self.at = time.monotonic()
            super().set()


@dataclass(frozen=True, slots=True, eq=False)
class Request:
    """One candidate of what a client asked for, made on the event loop. It may wait, run, and wait again."""

    asked: GenerateRequest
    loop: asyncio.AbstractEventLoop
    out: asyncio.Queue[Delta | Exception]
    adapter: Adapter | None = None
    index: int = 0
    arrived: float = field(default_factory=time.monotonic)
    cancelled: CancelFlag = field(default_factory=CancelFlag)

    @property
    def digest(self) -> str | None:
        """The digest of the adapter whose keys and values it can use; None without an adapter."""
        return self.adapter.digest if self.adapter else None

    @property
    def deadline(self) -> float:
        """Time on the monotonic clock after which a first piece is useless; infinite if the client waits for it."""
        return math.inf if self.asked.within_s is None else self.arrived + self.asked.within_s

    def send(self, item: Delta | Exception) -> None:
        """Hand ``item`` to the client if its event loop is still open."""
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.out.put_nowait, item)

    def stats(self) -> Stats:
        """Return the figures of a request that never ran."""
        waited = time.monotonic() - self.arrived
        return Stats(n_prompt=len(self.asked.prompt), queue_s=waited, ttft_s=waited, total_s=waited)

    def figures(self) -> dict[str, Any]:
        """Return what cancelling it cost."""
        if not self.cancelled.is_set():
            return {}
        return {"n_steps_after_cancel": 0, "cancel_to_free_s": time.monotonic() - self.cancelled.at}


@dataclass(slots=True, eq=False)
class RunningRequest:
    """A request that has a slot. Only the worker uses it."""

    request: Request
    slot: Slot
    generation: Generation
    output: Output
    n_cached: int = 0
    started: float = field(default_factory=time.monotonic)
    first_token: float = 0.0
    n_steps: int = 0  # forward passes that ran to their end
    n_steps_after_cancel: int = 0
    n_decoded: int = 0
    stop_logprob: float = 0.0

    @property
    def asked(self) -> GenerateRequest:
        """What the client asked for."""
        return self.request.asked

    def count_step(self) -> None:
        """Record that a forward pass for it ran to its end."""
        self.n_steps += 1
        self.n_steps_after_cancel += self.request.cancelled.is_set()

    def stats(self) -> Stats:
        """Return the figures so far."""
        now, arrived = time.monotonic(), self.request.arrived
        return Stats(
            n_prompt=len(self.asked.prompt), n_cached=self.n_cached, n_decoded=self.n_decoded,
            n_drafted=self.generation.n_drafted, n_accepted=self.generation.n_accepted, queue_s=self.started - arrived,
            ttft_s=(self.first_token or now) - arrived, total_s=now - arrived, stop_logprob=self.stop_logprob,
        )  # fmt: skip

    def figures(self) -> dict[str, Any]:
        """Return what cancelling it cost."""
        figures = self.request.figures()
        return figures | {"n_steps_after_cancel": self.n_steps_after_cancel} if figures else {}


class Output:
    """Turns tokens into text: whole characters, without the forced prefix, ended by stop strings."""

    def __init__(self, tokenizer: CodeTokenizer, request: GenerateRequest) -> None:
        self._control = tokenizer.control_ids
        self._text, self._stops = TextStream(tokenizer), StopStrings(request.stop)
        self._forced_prefix = request.forced_prefix
        self._max_tokens, self._n = request.max_tokens, 0

    def push(self, token: Token) -> tuple[str, str]:
        """Return (text that became complete, why it ends: "stop", "length" or ""). Control tokens add no text."""
        if token.id in self._control:
            return self.rest(), "stop"
        self._n += 1
        text, stopped = self._stops.push(self._without_forced_prefix(self._text.push(token.id)))
        if stopped:
            return text, "stop"
        if self._n >= self._max_tokens:
            return text + self.rest(), "length"
        return text, ""

    def rest(self) -> str:
        """Return the text that was held back, once no more tokens come."""
        text, stopped = self._stops.push(self._without_forced_prefix(self._text.flush()))
        return text if stopped else text + self._stops.flush()

    def _without_forced_prefix(self, text: str) -> str:
        n = min(len(text), len(self._forced_prefix))
        if text[:n] == self._forced_prefix[:n]:
            self._forced_prefix = self._forced_prefix[n:]
            return text[n:]
        self._forced_prefix = ""  # no token agreed with it: the text is shown as it came, and post-processing judges it
        return text


class StopStrings:
    """Ends a text at the first of some strings, and holds back what might be the start of one."""

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def push(self, text: str) -> tuple[str, bool]:
        """Return (text that is safe to show, whether a stop string was met)."""
        self._held += text
        found = [at for stop in self._stops if (at := self._held.find(stop)) >= 0]
        if found:
            shown, self._held = self._held[: min(found)], ""
            return shown, True
        keep = max((n for stop in self._stops for n in range(1, len(stop)) if self._held.endswith(stop[:n])), default=0)
        shown, self._held = self._held[: len(self._held) - keep], self._held[len(self._held) - keep :]
        return shown, False

    def flush(self) -> str:
        """Return the text that was held back, once no more comes."""
        held, self._held = self._held, ""
        return held
