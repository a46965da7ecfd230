"""KV slots: what the model has already read, kept for the next keystroke.

A slot holds one token sequence and its keys and values by position. A new prompt takes the slot with which it shares
the longest beginning and continues from there. This changes speed only: the answer is that of an empty slot. If the
caller allows it, the text after the cursor is also kept although the cursor has moved: its keys are rotated to their
new positions (suffix shift). That is approximate, as those tokens have read the earlier text before the cursor;
``Slot.age`` bounds the difference, and an idle engine makes it exact again.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch

# A slot that shares less than this part of a new prompt is left alone while an older one can be emptied.
WORTH_KEEPING = 0.3
# Most tokens that may have changed before a kept suffix since it was read (measured in docs/log.md).
MAX_AGE = 48
# A shorter suffix is read again: that costs about the same.
MIN_SUFFIX = 8
FIRST_CAPACITY = 256
BEFORE_COMPLETION = 4

Rotate = Callable[[int, torch.Tensor, int], torch.Tensor]  # (layer, keys, by how many positions) -> keys


@dataclass(slots=True, eq=False)
class Slot:
    """One sequence. ``ids`` are its tokens by position; ``known[i]`` tells whether the keys
    and values of ``i`` are there."""

    keys: list[torch.Tensor] = field(default_factory=list)  # one for each layer: (kv_heads, capacity, dim)
    values: list[torch.Tensor] = field(default_factory=list)
    ids: list[int] = field(default_factory=list)
    known: bytearray = field(default_factory=bytearray)
    adapter: str | None = None  # the digest of the adapter it was computed with
    busy: bool = False
    last_used: int = 0
    suffix_end: int = 0  # the suffix block ends before this position; 0: no block is marked
    suffix_start: int = 0
    age: int = 0  # tokens changed before the suffix block since it was read; 0: exact
    n_refreshed: int = 0  # tokens of a stale suffix block that were read again
    n_prompt: int = 0  # length of the prompt in ids; the rest was generated
    completion: list[int] = field(default_factory=list)  # the last answer with the few tokens before it, to draft from
    capacity: int = 0  # fixed number of tokens it has room for; 0: its buffers grow

    def write(
        self, layer: int, positions: torch.Tensor, k: torch.Tensor, v: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Put k, v (kv_heads, rows, dim) at ``positions``; return the layer's whole
        buffers (kv_heads, capacity, dim)."""
        if layer >= len(self.keys):
            assert layer == len(self.keys), "layers come in order"
            self.keys.append(_buffer(k, max(FIRST_CAPACITY, len(self.ids))))
            self.values.append(_buffer(v, max(FIRST_CAPACITY, len(self.ids))))
        self._reserve(layer, len(self.ids))
        self.keys[layer].index_copy_(1, positions, k)
        self.values[layer].index_copy_(1, positions, v)
        return self.keys[layer], self.values[layer]

    def make_room(self, layers: int, kv_heads: int, dim: int) -> None:
        """Make bfloat16 buffers for all of ``ids`` in every layer."""
        while len(self.keys) < layers:
            like = torch.empty((kv_heads, 0, dim), dtype=torch.bfloat16)
            self.keys.append(_buffer(like, max(FIRST_CAPACITY, len(self.ids))))
            self.values.append(_buffer(like, max(FIRST_CAPACITY, len(self.ids))))
        for layer in range(layers):
            self._reserve(layer, len(self.ids))

    def _reserve(self, layer: int, length: int) -> None:
        if self.capacity:  # captured graphs hold the addresses of these buffers (fixed_shape.py)
            if length > self.capacity:
                raise ValueError(f"{length} tokens do not fit a slot of {self.capacity}")
            return
        for buffers in (self.keys, self.values):
            old = buffers[layer]
            if old.shape[1] < length:
                buffers[layer] = _buffer(old, max(length, 2 * old.shape[1]))
                buffers[layer][:, : old.shape[1]] = old

    def truncate(self, length: int) -> None:
        """Keep the first ``length`` tokens."""
        del self.ids[length:], self.known[length:]
        if self.suffix_end > length:
            self.suffix_start = self.suffix_end = self.age = self.n_refreshed = 0

    def forget(self) -> None:
        """Drop the whole content, as it is not trusted any more. Buffers that grow are given back, as one
        may be half made; fixed ones are zeroed: a step of fixed shape multiplies hidden positions by zero,
        and a NaN there would stay NaN."""
        self.truncate(0)
        if not self.capacity:
            self.keys.clear()
            self.values.clear()
        for buffer in (*self.keys, *self.values):
            buffer.zero_()

    def unknown(self) -> Iterator[int]:
        """Yield the positions still to be evaluated, ascending."""
        at = self.known.find(0)
        while at >= 0:
            yield at
            at = self.known.find(0, at + 1)

    def begin(self, prompt: Sequence[int], suffix: tuple[int, int] | None, rotate: Rotate | None) -> int:
        """Make ``prompt`` the content, keep what is known of it, and return how many tokens that is.

        ``suffix`` are the bounds of the suffix block in ``prompt``; with ``rotate`` the block may be kept by shifting
        it. The last token always counts as unknown: its logits start the answer.
        """
        n_head = min(self.known_prefix(prompt, exact=rotate is None or suffix is None), len(prompt) - 1)
        moved = self._shift(prompt, suffix, n_head, rotate) if suffix and rotate else 0
        end = suffix[1] if suffix else 0
        if len(self.ids) > self.n_prompt:
            self.completion = self.ids[max(0, self.n_prompt - BEFORE_COMPLETION) :]
        self.ids, self.n_prompt = list(prompt), len(prompt)
        known = bytearray(len(prompt))
        known[:n_head] = b"\1" * n_head
        known[end - moved : end] = b"\1" * moved
        self.known, self.n_refreshed = known, 0
        if suffix is None or moved == 0:
            self.age = 0 if suffix is None or n_head <= suffix[0] else self.age
        self.suffix_start, self.suffix_end = suffix or (0, 0)
        return n_head + moved

    def known_prefix(self, prompt: Sequence[int], *, exact: bool = True) -> int:
        """Return how many tokens at the start of ``prompt`` are known here; ``exact``: a
        stale suffix does not count."""
        n = common(self.ids, prompt)
        if exact and self.age:
            n = min(n, self.suffix_start)
        gap = self.known.find(0, 0, n)
        return n if gap < 0 else gap

    def _shift(self, prompt: Sequence[int], suffix: tuple[int, int], n_head: int, rotate: Rotate | None) -> int:
        """Move the unchanged end of the suffix block to its new position; return how many tokens that is."""
        start, end = suffix
        if n_head >= end or not self.suffix_end:
            return 0
        limit = min(self.suffix_end - max(n_head, self.suffix_start), end - max(n_head, start))
        n = 0
        while (
            n < limit
            and self.known[self.suffix_end - 1 - n]
            and self.ids[self.suffix_end - 1 - n] == prompt[end - 1 - n]
        ):
            n += 1
        source, target = self.suffix_end - n, end - n
        age = self.age + max(source - n_head, target - n_head)
        if n < MIN_SUFFIX or age > MAX_AGE:
            return 0
        assert rotate is not None
        self._move(source, target, n, rotate)
        self.age = age
        return n

    def _move(self, source: int, target: int, n: int, rotate: Rotate) -> None:
        if source == target:
            return
        for layer in range(len(self.keys)):
            self._reserve(layer, target + n)
            keys, values = self.keys[layer], self.values[layer]
            keys[:, target : target + n] = rotate(layer, keys[:, source : source + n], target - source)
            values[:, target : target + n] = values[:, source : source + n].clone()

    @property
    def can_refresh(self) -> bool:
        """Whether everything that a suffix block reads is known."""
        return self.known.find(0, 0, self.suffix_end) < 0

    def stale_rows(self, limit: int) -> list[int]:
        """Return at most the next ``limit`` positions of the suffix block that were read after another text."""
        start = self.suffix_start + self.n_refreshed
        return list(range(start, min(start + limit, self.suffix_end)))

    def refreshed(self, n: int) -> None:
        """Record that the next ``n`` of them were read again. Tokens generated after them are dropped."""
        self.truncate(self.suffix_end)
        self.n_refreshed += n
        if self.suffix_start + self.n_refreshed >= self.suffix_end:
            self.age = self.n_refreshed = 0

    def copy_prefix(self, other: Slot, n: int) -> None:
        """Copy the first ``n`` tokens of ``other``."""
        self.ids, self.known, self.adapter = other.ids[:n], other.known[:n], other.adapter
        self.suffix_start = self.suffix_end = self.age = self.n_refreshed = 0
        if other.suffix_end <= n:
            self.suffix_start, self.suffix_end, self.age = other.suffix_start, other.suffix_end, other.age
        capacity = max(FIRST_CAPACITY, n)
        for mine, theirs in ((self.keys, other.keys), (self.values, other.values)):
            for layer, source in enumerate(theirs):
                if layer == len(mine):
                    mine.append(_buffer(source, capacity))
                if mine[layer].shape[1] < n:
                    mine[layer] = _buffer(source, capacity)
                mine[layer][:, :n] = source[:, :n]


def _buffer(like: torch.Tensor, capacity: int) -> torch.Tensor:
    return like.new_empty((like.shape[0], capacity, like.shape[2]))


class KVSlots:
    """A few slots. Not thread-safe: only the worker's thread touches it."""

    def __init__(self, n_slots: int = 4, slots: Sequence[Slot] | None = None) -> None:
        """Make ``n_slots`` slots that grow, or use those given."""
        self.slots = list(slots) if slots is not None else [Slot() for _ in range(n_slots)]
        self._clock = itertools.count(1)

    def take(
        self, prompt: Sequence[int], adapter: str | None, suffix: tuple[int, int] | None = None,
        rotate: Rotate | None = None,
    ) -> tuple[Slot, int]:  # fmt: skip
        """Return a free slot made ready for ``prompt`` and how many of its tokens are known
        there; the slot is then busy."""
        free = [slot for slot in self.slots if not slot.busy]
        assert free, "the worker takes a request only when a slot is free"
        exact = suffix is None or rotate is None
        shared = {
            id(slot): slot.known_prefix(prompt, exact=exact) if slot.adapter == adapter else 0 for slot in self.slots
        }
        slot = max(free, key=lambda slot: (shared[id(slot)], slot.last_used))
        source = max(self.slots, key=lambda slot: shared[id(slot)])
        enough = WORTH_KEEPING * len(prompt)
        if shared[id(slot)] < enough and slot.known.count(1) > shared[id(slot)]:  # else nothing in it is lost
            slot = min(free, key=lambda slot: slot.last_used)
        if shared[id(source)] >= enough and shared[id(source)] > shared[id(slot)]:  # another window reads the same
            slot.copy_prefix(source, shared[id(source)])
        elif slot.adapter != adapter:
            slot.truncate(0)
        n_cached = slot.begin(prompt, suffix, rotate)
        slot.adapter, slot.busy, slot.last_used = adapter, True, next(self._clock)
        return slot, n_cached

    def drop_idle(self) -> None:
        """Give back the memory of slots without a running generation."""
        for slot in self.slots:
            if not slot.busy:
                slot.forget()

    @staticmethod
    def release(slot: Slot) -> None:
        """Give ``slot`` back; its content stays for the next prompt."""
        slot.busy = False


def common(a: Sequence[int], b: Sequence[int]) -> int:
    """Return how many elements at the start are the same."""
    limit = min(len(a), len(b))
    for i in range(limit):
        if a[i] != b[i]:
            return i
    return limit
