"""When memory of the device or the machine runs out, prompts are shorter for a while, then as long as before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from midfill.faults import says_no_memory
from midfill.types import ModelInfo

SHORTER_S = 60.0  # a shorter context is used for this long
MAX_IN_ROW = 3  # then the engine gives way to a new process, whose memory is not fragmented
MIN_TOKENS = 128  # a shorter prompt tells the model too little
# Address space given back when memory runs out, so that short prompts are answered. Nothing is written to it.
RESERVE_BYTES = 4 << 20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out; torch's CPU allocator raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError | ImportError) and says_no_memory(str(error))


class Shortage:
    """How much of a model's context is usable. The worker reports how requests end; any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n_halvings = 0
        self._most = 0
        self._until = 0.0
        self.n_in_row = 0
        self._reserve = bytearray(RESERVE_BYTES)

    def hit(self, n_prompt: int, context_tokens: int) -> None:
        """Record that memory ran out with a prompt of ``n_prompt`` tokens; the usual budget is ``context_tokens``."""
        self._reserve = bytearray()
        now = self._clock()
        self._n_halvings = self._n_halvings + 1 if now < self._until else 1
        self._most = max(MIN_TOKENS, n_prompt // 2, context_tokens >> self._n_halvings)
        self._until = now + SHORTER_S
        self.n_in_row += 1

    def went_well(self) -> None:
        """Record that a request ran to its end."""
        self.n_in_row = 0
        if not self._reserve and not self.most_tokens:
            with contextlib.suppress(MemoryError):
                self._reserve = bytearray(RESERVE_BYTES)

    @property
    def is_over(self) -> bool:
        """Whether memory ran out too often in a row."""
        return self.n_in_row >= MAX_IN_ROW

    @property
    def most_tokens(self) -> int:
        """The longest prompt accepted now, in tokens; 0: as long as the model takes."""
        return self._most if self._clock() < self._until else 0

    def applied(self, info: ModelInfo) -> ModelInfo:
        """Return ``info`` with the limits that hold now."""
        most = self.most_tokens
        if not most:
            return info
        halved = max(MIN_TOKENS, info.context_tokens >> self._n_halvings)
        return replace(info, context_tokens=min(halved, info.context_tokens), most_tokens=most)
