"""The parts of a step of fixed shape: slots that never move, attention over a bucket of positions, adapter buffers.

A CUDA graph (cuda_graphs.py) repeats its kernels with the very same addresses and shapes. So the slots get
their memory once; a step has one of a few numbers of rows and attends over one of a few lengths, masked to what
each row may see; and an adapter's weights are copied into buffers of fixed rank. Nothing here needs a GPU, and
the tests run it without one.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch

from midfill.engine.local.forward.memory_plan import SCRATCH, Plan, rounded_up
from midfill.engine.local.lora.adapter import Adapter, LoraPair
from midfill.engine.local.model.decoder import Linear
from midfill.engine.local.sequence.kv_cache import Slot

RANK_STEP = 16


def bytes_per_token(like: Slot) -> int:
    """Return the bytes of one position's keys and values in all layers, in a slot like ``like``."""
    return sum(t.shape[0] * t.shape[2] * t.element_size() for t in (*like.keys, *like.values))


def make_slots(like: Slot, wanted: Plan) -> list[Slot]:
    """Return empty slots with all their memory. ``like``: any slot that the model has written to."""
    length = wanted.capacity + SCRATCH

    def buffers(tensors: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        # Zeros: a masked position has weight zero, but zero times NaN is NaN.
        return [t.new_zeros((t.shape[0], length, t.shape[2])) for t in tensors]

    return [Slot(buffers(like.keys), buffers(like.values), capacity=wanted.capacity) for _ in range(wanted.n_slots)]


class StaticStep:
    """Rows of one slot, attended over the first ``bucket`` positions, filled or not. A model uses it like
    attention.Step, but nothing in it depends on the length of the sequence."""

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
        # A group's heads are more queries of their common keys: (kv_heads, group * rows, dim), nothing repeated.
        q = q.reshape(len(keys), -1, dim)
        bias = self._bias(window, heads // len(keys))
        scale = scale if scale is not None else dim**-0.5
        # Products rather than a fused kernel: that processes a head in one block, and a few rows of a few heads would
        # leave most of a GPU idle; products divide the positions among blocks.
        scores = product_in_float32(q, keys.transpose(1, 2))
        if softcap:
            scores = scores.mul_(scale / softcap).tanh_().mul_(softcap).add_(bias)
        else:
            torch.add(bias, scores, alpha=scale, out=scores)
        seen = scores.softmax(-1).to(values.dtype) @ values
        return seen.view(heads, rows, -1).transpose(0, 1)

    def _bias(self, window: int | None, group: int) -> torch.Tensor:
        """Return 0 where a row may look, -inf elsewhere: (group * rows, bucket), float32. Made once per step."""
        if window not in self._biases:
            columns = torch.arange(self._bucket, device=self._positions.device)[None]
            rows = self._positions[:, None]
            hidden = columns > rows
            if window:
                hidden |= columns <= rows - window
            bias = torch.zeros(hidden.shape, device=hidden.device)
            self._biases[window] = bias.masked_fill_(hidden, float("-inf")).repeat(group, 1)
        return self._biases[window]


def product_in_float32(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return a @ b, a batch of matrices each, as float32 from any format.

    A score of 32 or more has steps of 0.25 in bfloat16, which is up to an eighth of its weight after the softmax. The
    tensor cores sum in float32 anyway, so on a GPU they only have to store the sums in it.
    """
    if a.dtype == torch.float32:
        return a @ b
    return torch.bmm(a, b, out_dtype=torch.float32) if a.is_cuda else a.float() @ b.float()


class StaticLora:
    """Takes an adapter's place in a step: an adapter of fixed ranks, into which the others are copied.

    To change the adapter, its tensors are copied; no graph is captured again. Each layer has room for the largest rank
    among the adapters it was made for.
    """

    def __init__(self, linears: Iterable[Linear], adapters: Sequence[Adapter]) -> None:
        ranks: dict[str, int] = {}
        like: dict[str, LoraPair] = {}
        for path, pair in (item for adapter in adapters for item in adapter.pairs.items()):
            ranks[path] = max(rounded_up(len(pair.a), RANK_STEP), ranks.get(path, 0))
            like[path] = pair

        def zeros(path: str) -> LoraPair:
            a, b, rank = like[path].a, like[path].b, ranks[path]
            return LoraPair(a.new_zeros((rank, a.shape[1])), b.new_zeros((len(b), rank)), 1.0)

        self.buffers = Adapter("", (), "", 0, 0.0, "", {})
        stacked: set[str] = set()
        for linear in linears:  # one after the other: the pairs become parts of the stack, and their memory is freed
            self.buffers.pairs.update((path, zeros(path)) for path in linear.paths if path in like)
            self.buffers.stack(linear.paths, linear.sizes)
            stacked.update(linear.paths)
        self.buffers.pairs.update((path, zeros(path)) for path in like if path not in stacked)
        self._digest: str | None = None

    def holds(self, adapter: Adapter) -> bool:
        """Whether ``adapter`` fits into the buffers."""
        mine = self.buffers.pairs
        return adapter.digest == self._digest or all(
            path in mine and len(pair.a) <= len(mine[path].a) for path, pair in adapter.pairs.items()
        )

    def switch_to(self, adapter: Adapter) -> None:
        """Copy ``adapter``, which fits, into the buffers."""
        if adapter.digest == self._digest:
            return
        self._digest = None
        for path, mine in self.buffers.pairs.items():
            pair = adapter.pairs.get(path)
            rank = 0 if pair is None else len(pair.a)
            if pair is not None:
                mine.a[:rank] = pair.a
                torch.mul(pair.b, pair.scale, out=mine.b[:, :rank])
            mine.b[:, rank:] = 0  # the rest of another adapter in a then has no effect
        self._digest = adapter.digest
