"""What a step of fixed shape is made of: slots that never move, attention over a bucket of positions, adapter buffers.

A CUDA graph (cuda.py) repeats its kernels with the very same addresses and shapes. So the slots get their memory once;
a step has one of a few numbers of rows and attends over one of a few lengths, masked to what each row may see; and an
adapter's weights are copied into buffers of fixed rank. Nothing here needs a GPU, and the tests run it without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from midfill.engine.local.adapters import Adapter, LoraPair
from midfill.engine.local.attention import ROWWISE
from midfill.engine.local.kv_cache import Slot
from midfill.engine.local.model.decoder import Linear
from midfill.types import MidfillError

# A step has one of these numbers of rows: the last token alone, or with 1, 2, 4, 8 or 16 drafts.
N_ROWS = (1, 2, 3, 5, 9, ROWWISE)
# Rows that only fill a step up write behind the last position, each to its own place.
SCRATCH = ROWWISE
# Attention reads whole buckets: the powers of two from here, and the capacity.
FIRST_BUCKET = 512
# A slot's capacity is a multiple of it, so that its rows stay aligned.
ALIGNMENT = 256
# Room for an answer and its drafts behind a prompt that fills its budget.
ANSWER_TOKENS = 256
# More is of no use to a completion, and the largest buckets are slow to capture.
MAX_CAPACITY = 8192
# Of the memory that is free after loading, what slots leave to prompts being read, to graphs and to others.
RESERVE_SHARE, RESERVE_BYTES = 0.1, 512 << 20
RANK_STEP = 16


@dataclass(frozen=True, slots=True)
class Plan:
    """How many slots, for how many tokens each."""

    n_slots: int
    capacity: int


def plan(free: int, bytes_per_token: int, context_tokens: int, max_context: int, n_slots: int) -> Plan:
    """As many slots for a prompt of ``context_tokens`` and its answer as ``free`` bytes allow, at most ``n_slots``;
    what is left makes them longer. Raises MidfillError where not even one fits.
    """
    needed = _round(min(context_tokens + ANSWER_TOKENS + ROWWISE, max_context), ALIGNMENT)
    tokens = max(0, free - max(RESERVE_BYTES, int(free * RESERVE_SHARE))) // bytes_per_token
    n_slots = min(n_slots, tokens // (needed + SCRATCH))
    if n_slots == 0:
        raise MidfillError(
            "the model leaves no room for a prompt in the memory of its device",
            'choose a smaller model, dtype = "int4" or device = "cpu"',
        )
    longest = min(MAX_CAPACITY, _round(max_context, ALIGNMENT), tokens // n_slots - SCRATCH)
    return Plan(n_slots, max(needed, longest // ALIGNMENT * ALIGNMENT))


def _round(n: int, step: int) -> int:
    return -(-n // step) * step


def bytes_per_token(like: Slot) -> int:
    """Of keys and values of all layers, in a slot like ``like``."""
    return sum(t.shape[0] * t.shape[2] * t.element_size() for t in (*like.keys, *like.values))


def make_slots(like: Slot, wanted: Plan) -> list[Slot]:
    """Empty slots with all their memory. ``like``: any slot that the model has written to."""
    length = wanted.capacity + SCRATCH

    def buffers(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        # Zeros: a masked position weighs nothing, but nothing times NaN is NaN.
        return [t.new_zeros((t.shape[0], length, t.shape[2])) for t in tensors]

    return [Slot(buffers(like.keys), buffers(like.values), capacity=wanted.capacity) for _ in range(wanted.n_slots)]


def buckets(capacity: int) -> tuple[int, ...]:
    """The lengths attention may read, ascending."""
    sizes, size = [], FIRST_BUCKET
    while size < capacity:
        sizes.append(size)
        size *= 2
    return (*sizes, capacity)


def smallest(sizes: Sequence[int], n: int) -> int:
    """The first of ``sizes`` (ascending) that holds ``n``."""
    return next(size for size in sizes if size >= n)


class StaticStep:
    """Rows of one slot, attended over the first ``bucket`` positions whatever is there: what attention.Step is to a
    model, without anything that depends on how long the sequence is.
    """

    def __init__(self, slot: Slot, positions: torch.Tensor, bucket: int) -> None:
        """positions: (rows,); rows may see every position up to their own."""
        self._slot, self._positions, self._bucket = slot, positions, bucket
        self._biases: dict[int | None, torch.Tensor] = {}

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:  # fmt: skip
        """q: (heads, rows, dim); k, v: (kv_heads, rows, dim) -> (rows, heads, dim)."""
        keys, values = self._slot.keys[layer], self._slot.values[layer]
        keys.index_copy_(1, self._positions, k)
        values.index_copy_(1, self._positions, v)
        keys, values = keys[:, : self._bucket], values[:, : self._bucket]
        heads, rows, dim = q.shape
        # The heads of a group are more queries of their common keys: (kv_heads, group * rows, dim), nothing repeated.
        q = q.reshape(len(keys), -1, dim)
        bias = self._bias(window, heads // len(keys), q.dtype)
        scale = scale if scale is not None else dim**-0.5
        # Products rather than a fused kernel: those work a head through in one block, and a few rows of a few heads
        # would leave most of a GPU idle; these share the positions out.
        if softcap:
            scores = (q @ keys.transpose(1, 2) * (scale / softcap)).tanh() * softcap + bias
        else:
            scores = torch.baddbmm(bias, q, keys.transpose(1, 2), alpha=scale)
        seen = scores.softmax(-1) @ values
        return seen.view(heads, rows, -1).transpose(0, 1)

    def _bias(self, window: int | None, group: int, dtype: torch.dtype) -> torch.Tensor:
        """0 where a row may look, -inf elsewhere: (group * rows, bucket). Made once a step."""
        if window not in self._biases:
            columns = torch.arange(self._bucket, device=self._positions.device)[None]
            rows = self._positions[:, None]
            hidden = columns > rows
            if window:
                hidden |= columns <= rows - window
            bias = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device)
            self._biases[window] = bias.masked_fill_(hidden, float("-inf")).repeat(group, 1)
        return self._biases[window]


class StaticLora:
    """Takes an adapter's place in a step: an adapter of fixed ranks, into which the others are copied.

    Changing the adapter is copying its tensors; no graph is captured again. Each layer has room for the largest rank
    among the adapters it was made for.
    """

    def __init__(self, linears: Iterable[Linear], adapters: Sequence[Adapter]) -> None:
        pairs: dict[str, LoraPair] = {}
        for path, pair in (item for adapter in adapters for item in adapter.pairs.items()):
            rank = max(_round(len(pair.a), RANK_STEP), len(pairs[path].a) if path in pairs else 0)
            a, b = pair.a.new_zeros((rank, pair.a.shape[1])), pair.b.new_zeros((len(pair.b), rank))
            pairs[path] = LoraPair(a, b, 1.0)
        self.buffers = Adapter("", Path(), "", 0, 0.0, "", pairs)
        for linear in linears:
            self.buffers.stack(linear.paths, linear.sizes)  # from here on the pairs are parts of the stacks
        self._digest: str | None = None

    def holds(self, adapter: Adapter) -> bool:
        """Whether ``adapter`` fits into the buffers."""
        mine = self.buffers.pairs
        return adapter.digest == self._digest or all(
            path in mine and len(pair.a) <= len(mine[path].a) for path, pair in adapter.pairs.items()
        )

    def switch_to(self, adapter: Adapter) -> None:
        """Put ``adapter``, which fits, into the buffers."""
        if adapter.digest == self._digest:
            return
        self._digest = None
        for path, mine in self.buffers.pairs.items():
            pair = adapter.pairs.get(path)
            rank = 0 if pair is None else len(pair.a)
            if pair is not None:
                mine.a[:rank] = pair.a
                torch.mul(pair.b, pair.scale, out=mine.b[:, :rank])
            mine.b[:, rank:] = 0  # what is left of another adapter in a then counts for nothing
        self._digest = adapter.digest
