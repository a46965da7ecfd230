"""Attention over KV slots.

A step evaluates tokens of one or several slots in one forward pass. Each token's keys and values are written to its own
position of its slot, and its query sees that slot up to and including that position. So a step may continue several
sequences at once, verify drafted tokens, or fill a gap in the middle of a sequence (suffix shift).

A few tokens are attended row by row, each with exactly the shapes it would have alone. Together with
products that treat rows independently (linear_int8.py), this makes a token's result bit for bit the same
whether it was drafted or decoded.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

import torch
from torch.nn.functional import scaled_dot_product_attention

from midfill.engine.local.sequence.kv_cache import Slot

# Up to this many tokens of a sequence are attended row by row; more form blocks: faster, with different rounding.
ROWWISE = 17


@dataclass(slots=True)
class Rows:
    """One sequence's part of a step: tokens, their positions in the slot (ascending), and how many
    of the last ones give logits."""

    slot: Slot
    ids: Sequence[int]
    positions: Sequence[int]
    n_logits: int = 1


class Attends(Protocol):
    """What a pass needs from a step: to store a layer's keys and values, and to attend over those stored."""

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:  # fmt: skip
        """q: (heads, rows, dim); k, v: (kv_heads, rows, dim) -> (rows, heads, dim)."""
        ...


@dataclass(slots=True)
class _ConsecutiveRows:
    """Rows at consecutive positions."""

    first: int  # row
    start: int  # position
    n: int


@dataclass(slots=True)
class _Part:
    slot: Slot
    rows: slice
    positions: torch.Tensor
    runs: list[_ConsecutiveRows]
    rowwise: bool


@dataclass(slots=True)
class Step:
    """One forward pass: which slot and position each row belongs to."""

    parts: list[_Part] = field(default_factory=list)

    @classmethod
    def of(cls, batch: Sequence[Rows], device: torch.device) -> Step:
        """Return the step that evaluates ``batch``, row after row."""
        step, at = cls(), 0
        for rows in batch:
            runs: list[_ConsecutiveRows] = []
            for i, position in enumerate(rows.positions):
                if runs and position == runs[-1].start + runs[-1].n:
                    runs[-1].n += 1
                else:
                    runs.append(_ConsecutiveRows(at + i, position, 1))
            n = len(rows.ids)
            positions = torch.tensor(rows.positions, device=device)
            # On a GPU, launching one kernel per row would take longer than their computation.
            rowwise = n <= ROWWISE and device.type != "cuda"
            step.parts.append(_Part(rows.slot, slice(at, at + n), positions, runs, rowwise))
            at += n
        return step

    def attend(
        self, layer: int, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, scale: float | None, window: int | None,
        softcap: float | None,
    ) -> torch.Tensor:  # fmt: skip
        """q: (heads, rows, dim); k, v: (kv_heads, rows, dim) -> (rows, heads, dim)."""
        if q.shape[1] == 1:  # the usual step: one token of one sequence
            part = self.parts[0]
            keys, values = part.slot.write(layer, part.positions, k, v)
            return _attend(q, keys, values, part.runs[0].start, scale, window, softcap)
        out = q.new_empty((q.shape[1], q.shape[0], v.shape[2]))
        for part in self.parts:
            keys, values = part.slot.write(layer, part.positions, k[:, part.rows], v[:, part.rows])
            for run in part.runs:
                rows = slice(run.first, run.first + run.n)
                if part.rowwise:
                    for i in range(run.n):
                        row = slice(run.first + i, run.first + i + 1)
                        out[row] = _attend(q[:, row], keys, values, run.start + i, scale, window, softcap)
                else:
                    out[rows] = _attend(q[:, rows], keys, values, run.start, scale, window, softcap)
        return out


def _attend(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, start: int, scale: float | None, window: int | None,
    softcap: float | None,
) -> torch.Tensor:  # fmt: skip
    """Attend with queries at ``start``, ``start`` + 1, ... over the positions up to each. q:
    (heads, n, dim) -> (n, heads, dim)."""
    heads, n, dim = q.shape
    kv_heads = keys.shape[0]
    low = max(0, start + 1 - window) if window else 0
    end = start + n
    keys, values = keys[None, :, low:end], values[None, :, low:end]
    if n == 1:  # a group's heads are the queries of their common keys: no copy, no mask
        q = q.view(1, kv_heads, heads // kv_heads, dim)
        mask = None
    else:
        q = q[None]
        if low == 0 and not (softcap or (window and window < end)) and q.is_cuda:
            keys, values = _repeat(keys, heads // kv_heads), _repeat(values, heads // kv_heads)
            return causal(q, keys, values, scale)[0].transpose(0, 1)
        mask = _mask(start, n, low, end, window, q.device)
    if softcap:
        if n > 1:
            keys, values = _repeat(keys, heads // kv_heads), _repeat(values, heads // kv_heads)
        out = _capped(q, keys, values, mask, scale, softcap)
    else:
        out = scaled_dot_product_attention(q, keys, values, attn_mask=mask, scale=scale, enable_gqa=n > 1)
    return out.view(1, heads, -1) if n == 1 else out[0].transpose(0, 1)


def causal(q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, scale: float | None) -> torch.Tensor:
    """Attend with the last queries of a sequence over all of it, each up to itself, by a kernel that needs no mask in
    memory (FlashAttention). q: (1, heads, n, dim); keys, values: (1, heads, end, dim) -> (1, heads, n, dim)."""
    n, end = q.shape[2], keys.shape[2]
    if n == end:
        return scaled_dot_product_attention(q, keys, values, is_causal=True, scale=scale)
    from torch.nn.attention.bias import causal_lower_right  # imports torch's compiler: a second or two

    return scaled_dot_product_attention(q, keys, values, attn_mask=causal_lower_right(n, end), scale=scale)


def _mask(start: int, n: int, low: int, end: int, window: int | None, device: torch.device) -> torch.Tensor:
    rows = torch.arange(start, start + n, device=device)[:, None]
    columns = torch.arange(low, end, device=device)[None]
    mask = columns <= rows
    return mask & (rows - columns < window) if window else mask


def _repeat(x: torch.Tensor, times: int) -> torch.Tensor:
    return x if times == 1 else x.repeat_interleave(times, dim=1)


def _capped(
    q: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor | None,
    scale: float | None,
    cap: float,
) -> torch.Tensor:
    scores = q @ keys.transpose(-1, -2) * (scale if scale is not None else q.shape[-1] ** -0.5)
    scores = (scores / cap).tanh() * cap
    if mask is not None:
        scores = scores.masked_fill(~mask, float("-inf"))
    return scores.softmax(dim=-1, dtype=torch.float32).to(q.dtype) @ values
