"""KV slots: what the model has already read, kept for the next keystroke.

A slot holds one token sequence and its keys and values. A new prompt takes the slot with which it shares the longest
beginning, cuts it there and goes on. Speed only: the answer is the same as from an empty slot.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers.cache_utils import Cache, CacheLayerMixin

# A slot that shares less than this part of a new prompt is left alone while an older one can be emptied.
WORTH_KEEPING = 0.3


class SlotLayer(CacheLayerMixin):  # type: ignore[misc]
    """Keys and values of one layer in buffers that grow by doubling: (1, kv_heads, capacity, head_dim)."""

    is_sliding = False  # all positions are kept; a sliding window is the mask's work
    is_croppable = True
    keys: torch.Tensor
    values: torch.Tensor

    def __init__(self) -> None:
        super().__init__()
        self.length = 0

    def lazy_initialization(self, key_states: torch.Tensor, value_states: torch.Tensor) -> None:
        """Make the first buffers, in the shape and on the device of what comes in."""
        self.dtype, self.device = key_states.dtype, key_states.device
        self.keys, self.values = _buffer(key_states, 256), _buffer(value_states, 256)
        self.is_initialized = True

    def _grow(self, capacity: int) -> None:
        old_keys, old_values = self.keys, self.values
        self.keys, self.values = _buffer(old_keys, capacity), _buffer(old_values, capacity)
        self.keys[:, :, : self.length] = old_keys[:, :, : self.length]
        self.values[:, :, : self.length] = old_values[:, :, : self.length]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Append and return all: (1, kv_heads, length, head_dim)."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        end = self.length + key_states.shape[2]
        if end > self.keys.shape[2]:
            self._grow(max(end, 2 * self.keys.shape[2]))
        self.keys[:, :, self.length : end] = key_states
        self.values[:, :, self.length : end] = value_states
        self.length = end
        return self.keys[:, :, :end], self.values[:, :, :end]

    def get_mask_sizes(self, query_length: int) -> tuple[int, int]:
        """(number of keys, offset of the first) for a query of that many tokens."""
        return self.length + query_length, 0

    def get_seq_length(self) -> int:
        """Tokens held."""
        return self.length

    def get_max_length(self) -> int:
        """No bound."""
        return -1


def _buffer(like: torch.Tensor, capacity: int) -> torch.Tensor:
    return like.new_empty((*like.shape[:2], capacity, like.shape[3]))


class SlotCache(Cache):  # type: ignore[misc]
    """A cache of SlotLayers that can be cut anywhere."""

    def __init__(self, n_layers: int) -> None:
        super().__init__(layers=[SlotLayer() for _ in range(n_layers)])

    def truncate(self, length: int) -> None:
        """Forget everything after ``length`` tokens; layers that an abandoned step left longer included."""
        for layer in self.layers:
            layer.length = min(layer.length, length)


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence. ``ids`` are the tokens whose keys and values ``cache`` holds."""

    cache: SlotCache
    ids: list[int] = field(default_factory=list)
    adapter: str | None = None  # the digest of the adapter it was computed with
    busy: bool = False
    last_used: int = 0

    def truncate(self, length: int) -> None:
        """Keep the first ``length`` tokens."""
        del self.ids[length:]
        self.cache.truncate(length)


class KVSlots:
    """A few slots. Not thread-safe: only the worker thread touches it."""

    def __init__(self, n_layers: int, n_slots: int = 4) -> None:
        self._slots = [Slot(SlotCache(n_layers)) for _ in range(n_slots)]
        self._clock = itertools.count(1)

    @property
    def n_free(self) -> int:
        """Slots nobody generates in."""
        return sum(not slot.busy for slot in self._slots)

    def take(self, prompt: Sequence[int], adapter: str | None) -> tuple[Slot, int]:
        """A free slot for ``prompt`` and how many of its tokens it already holds; the slot is then busy.

        The last token is never counted: its logits start the answer.
        """
        free = [slot for slot in self._slots if not slot.busy]
        assert free, "the worker takes a request only when a slot is free"
        shared = {id(slot): _common(slot.ids, prompt) if slot.adapter == adapter else 0 for slot in free}
        best = max(free, key=lambda slot: (shared[id(slot)], slot.last_used))
        if shared[id(best)] < WORTH_KEEPING * len(prompt):
            best = min(free, key=lambda slot: slot.last_used)
        n_cached = min(shared[id(best)], len(prompt) - 1)
        best.truncate(n_cached)
        best.adapter, best.busy, best.last_used = adapter, True, next(self._clock)
        return best, n_cached

    def release(self, slot: Slot) -> None:
        """Give it back; what it holds stays for the next prompt."""
        slot.truncate(len(slot.ids))
        slot.busy = False


def _common(a: Sequence[int], b: Sequence[int]) -> int:
    limit = min(len(a), len(b))
    for i in range(limit):
        if a[i] != b[i]:
            return i
    return limit
