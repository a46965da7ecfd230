"""Memory that ran out, the device's or the machine's: for a while prompts are shorter, and then as before."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import replace

import torch

from midfill.faults import says_no_memory
from midfill.types import ModelInfo

SHORTER_S = 60.0  # a shorter context is used for this long
MAX_IN_ROW = 3  # then a new process, whose memory is in one piece again
MIN_TOKENS = 128  # a prompt that is shorter says too little
# Address space that is given back when memory runs out, so that short prompts are answered. Nothing is written to it.
RESERVE_BYTES = 4 << 20


def is_out_of_memory(error: BaseException) -> bool:
    """Whether ``error`` says that memory ran out; torch's allocator of the CPU raises a plain RuntimeError."""
    if isinstance(error, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(error, RuntimeError | OSError | ImportError) and says_no_memory(str(error))


class Shortage:
    """What is left of a model's context. The worker tells it how requests end; any thread may ask."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._n_halvings = 0
        self._most = 0
        self._until = 0.0
        self.n_in_row = 0
        self._reserve = bytearray(RESERVE_BYTES)

    def hit(self, n_prompt: int, context_tokens: int) -> None:
        """Memory ran out with a prompt of ``n_prompt`` tokens, where ``context_tokens`` are usual."""
        self._reserve = bytearray()
        now = self._clock()
        self._n_halvings = self._n_halvings + 1 if now < self._until else 1
        self._most = max(MIN_TOKENS, n_prompt // 2, context_tokens >> self._n_halvings)
        self._until = now + SHORTER_S
        self.n_in_row += 1

    def went_well(self) -> None:
        """A request came to its end."""
        self.n_in_row = 0
        if not self._reserve and not self.most_tokens:
            with contextlib.suppress(MemoryError):
                self._reserve = bytearray(RESERVE_BYTES)

    @property
    def is_over(self) -> bool:
        """Whether it ran out too often in a row."""
        return self.n_in_row >= MAX_IN_ROW

    @property
    def most_tokens(self) -> int:
        """The longest prompt that is taken now; 0: as long as the model takes."""
        return self._most if self._clock() < self._until else 0

    def applied(self, info: ModelInfo) -> ModelInfo:
        """``info`` as it is now."""
        most = self.most_tokens
        if not most:
            return info
        halved = max(MIN_TOKENS, info.context_tokens >> self._n_halvings)
        return replace(info, context_tokens=min(halved, info.context_tokens), most_tokens=most)
