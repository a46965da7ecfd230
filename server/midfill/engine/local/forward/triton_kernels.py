"""The operations between the products of a decoder's step of few rows, in Triton (Tillet et al. 2019): one kernel each
for what torch needs two to five for.

A step of one token is bound by memory, and a small kernel takes about as long to start as to run. Attention is split
over the positions (Flash-Decoding, Dao et al. 2023): a few rows of a few heads would leave most of a GPU idle. It reads
the length of the sequence from the device, so that one graph serves every length.

Numbers are computed in float32 and rounded when they are stored. Tensors are read row after row, so they have to be
contiguous, and are made so if they are not. Imported only if Triton is installed.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import triton
import triton.language as tl

# Positions that one program of attention reads, and how many of them at once.
SPLIT, BLOCK = 256, 64
# The operands of tl.dot have at least this many rows.
MIN_DOT = 16
# Columns of an activation that one program computes.
GATE_BLOCK = 1024
SILU, GELU_TANH, GELU = 0, 1, 2


@triton.jit  # type: ignore[untyped-decorator]
def _add_norm(x, delta, weight, out, n, eps, has_delta: tl.constexpr, size: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program per row: x += delta, out = norm(x) * weight."""
    at = tl.arange(0, size)
    inside = at < n
    place = tl.program_id(0) * n + at
    value = tl.load(x + place, mask=inside, other=0.0)
    if has_delta:
        more = tl.load(delta + place, mask=inside, other=0.0)
        value = (value.to(tl.float32) + more.to(tl.float32)).to(value.dtype)
        tl.store(x + place, value, mask=inside)
    wide = value.to(tl.float32)
    factor = 1.0 / tl.sqrt(tl.sum(wide * wide, 0) / n + eps)
    scaled = wide * factor * tl.load(weight + at, mask=inside, other=0.0).to(tl.float32)
    tl.store(out + place, scaled.to(out.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _rotate(  # type: ignore[no-untyped-def]
    qkv, cos, sin, positions, q_weight, k_weight, q, keys, values, length, q_eps, k_eps,
    n_heads: tl.constexpr, n_kv: tl.constexpr, half: tl.constexpr, has_norm: tl.constexpr, size: tl.constexpr,
):  # fmt: skip
    """One program per row and head: store rotated queries in q, rotated keys and values at their positions."""
    row, head = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, size)
    inside = at < half
    source = qkv + (row * (n_heads + 2 * n_kv) + head) * 2 * half
    first = tl.load(source + at, mask=inside, other=0.0).to(tl.float32)
    second = tl.load(source + half + at, mask=inside, other=0.0).to(tl.float32)
    position = tl.load(positions + row)
    if head >= n_heads + n_kv:
        target = values + ((head - n_heads - n_kv) * length + position) * 2 * half
        tl.store(target + at, first.to(values.dtype.element_ty), mask=inside)
        tl.store(target + half + at, second.to(values.dtype.element_ty), mask=inside)
    else:
        if has_norm:
            square = tl.sum(first * first, 0) + tl.sum(second * second, 0)
            if head < n_heads:
                factor = 1.0 / tl.sqrt(square / (2 * half) + q_eps)
                first = first * factor * tl.load(q_weight + at, mask=inside, other=0.0).to(tl.float32)
                second = second * factor * tl.load(q_weight + half + at, mask=inside, other=0.0).to(tl.float32)
            else:
                factor = 1.0 / tl.sqrt(square / (2 * half) + k_eps)
                first = first * factor * tl.load(k_weight + at, mask=inside, other=0.0).to(tl.float32)
                second = second * factor * tl.load(k_weight + half + at, mask=inside, other=0.0).to(tl.float32)
        c = tl.load(cos + row * 2 * half + at, mask=inside, other=0.0).to(tl.float32)
        s = tl.load(sin + row * 2 * half + at, mask=inside, other=0.0).to(tl.float32)
        one, other = first * c - second * s, second * c + first * s
        if head < n_heads:
            target = q + (row * n_heads + head) * 2 * half
            tl.store(target + at, one.to(q.dtype.element_ty), mask=inside)
            tl.store(target + half + at, other.to(q.dtype.element_ty), mask=inside)
        else:
            target = keys + ((head - n_heads) * length + position) * 2 * half
            tl.store(target + at, one.to(keys.dtype.element_ty), mask=inside)
            tl.store(target + half + at, other.to(keys.dtype.element_ty), mask=inside)


@triton.jit  # type: ignore[untyped-decorator]
def _attend(  # type: ignore[no-untyped-def]
    q, keys, values, positions, parts, tops, sums, n_rows, length, capacity, scale, window,
    n_heads: tl.constexpr, n_kv: tl.constexpr, dim: tl.constexpr, n_padded: tl.constexpr, split_size: tl.constexpr,
    block: tl.constexpr, has_window: tl.constexpr,
):  # fmt: skip
    """One program per head of keys and split: what its queries see there, before division by the sum of the weights."""
    kv_head, split = tl.program_id(0), tl.program_id(1)
    at = tl.arange(0, n_padded)
    row, head = at // (n_heads // n_kv), kv_head * (n_heads // n_kv) + at % (n_heads // n_kv)
    is_row = row < n_rows
    position = tl.load(positions + row, mask=is_row, other=0)
    last = tl.max(tl.where(position < capacity, position, 0), 0)  # padding rows are past the capacity
    dims = tl.arange(0, dim)
    place = row * n_heads + head
    query = tl.load(q + place[:, None] * dim + dims[None, :], mask=is_row[:, None], other=0.0)
    top = tl.full((n_padded,), float("-inf"), tl.float32)
    total = tl.zeros((n_padded,), tl.float32)
    seen = tl.zeros((n_padded, dim), tl.float32)
    for start in range(split * split_size, tl.minimum(split * split_size + split_size, last + 1), block):
        column = start + tl.arange(0, block)
        there = column <= last
        source = (kv_head * length + column)[:, None] * dim + dims[None, :]
        key = tl.load(keys + source, mask=there[:, None], other=0.0)
        scores = tl.dot(query, tl.trans(key), input_precision="ieee") * scale
        visible = there[None, :] & (column[None, :] <= position[:, None])
        if has_window:
            visible = visible & (column[None, :] > position[:, None] - window)
        scores = tl.where(visible, scores, float("-inf"))
        higher = tl.maximum(top, tl.max(scores, 1))
        base = tl.where(higher == float("-inf"), 0.0, higher)  # nothing seen yet
        weights = tl.exp(scores - base[:, None])
        shrunk = tl.exp(top - base)
        total = total * shrunk + tl.sum(weights, 1)
        value = tl.load(values + source, mask=there[:, None], other=0.0)
        seen = seen * shrunk[:, None] + tl.dot(weights.to(value.dtype), value, input_precision="ieee")
        top = higher
    n_all = n_rows * n_heads
    tl.store(tops + split * n_all + place, top, mask=is_row)
    tl.store(sums + split * n_all + place, total, mask=is_row)
    target = (split * n_all + place)[:, None] * dim + dims[None, :]
    tl.store(parts + target, seen, mask=is_row[:, None])


@triton.jit  # type: ignore[untyped-decorator]
def _combine(parts, tops, sums, out, n_splits, n_all, dim: tl.constexpr, n_padded: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program per row and head: combine its splits."""
    place = tl.program_id(0)
    split, dims = tl.arange(0, n_padded), tl.arange(0, dim)
    there = split < n_splits
    top = tl.load(tops + split * n_all + place, mask=there, other=float("-inf"))
    weights = tl.exp(top - tl.max(top, 0))
    total = tl.sum(weights * tl.load(sums + split * n_all + place, mask=there, other=0.0), 0)
    source = (split * n_all + place)[:, None] * dim + dims[None, :]
    seen = tl.load(parts + source, mask=there[:, None], other=0.0)
    both = tl.sum(tl.where(there, weights, 0.0)[:, None] * seen, 0) / total
    tl.store(out + place * dim + dims, both.to(out.dtype.element_ty))


@triton.jit  # type: ignore[untyped-decorator]
def _gate(gate_up, out, inner, kind: tl.constexpr, size: tl.constexpr):  # type: ignore[no-untyped-def]
    """One program per row and GATE_BLOCK columns: activation(gate) * up."""
    row = tl.program_id(0)
    at = tl.program_id(1) * size + tl.arange(0, size)
    inside = at < inner
    gate = tl.load(gate_up + row * 2 * inner + at, mask=inside, other=0.0).to(tl.float32)
    up = tl.load(gate_up + row * 2 * inner + inner + at, mask=inside, other=0.0).to(tl.float32)
    if kind == 0:
        active = gate / (1.0 + tl.exp(-gate))
    elif kind == 1:  # tanh(z) is 2 / (1 + exp(-2 z)) - 1
        active = gate / (1.0 + tl.exp(-1.5957691216057308 * (gate + 0.044715 * gate * gate * gate)))
    else:
        active = 0.5 * gate * (1.0 + tl.erf(gate * 0.7071067811865476))
    tl.store(out + row * inner + at, (active * up).to(out.dtype.element_ty), mask=inside)


def add_norm(x: torch.Tensor, delta: torch.Tensor | None, weight: torch.Tensor, eps: float) -> torch.Tensor:
    """Add ``delta`` to x, in place, and return its root mean square norm times ``weight``: (rows, features) each."""
    assert x.is_contiguous(), "it is changed in place"
    delta = None if delta is None else delta.contiguous()
    out, n = torch.empty_like(x), x.shape[1]
    _add_norm[(len(x),)](
        x, x if delta is None else delta, weight, out, n, eps, has_delta=delta is not None,
        size=triton.next_power_of_2(n),
    )  # fmt: skip
    return out


def rotate(
    qkv: torch.Tensor, cos: torch.Tensor, sin: torch.Tensor, positions: torch.Tensor, keys: torch.Tensor,
    values: torch.Tensor, n_heads: int, norms: tuple[Any, Any] | None = None,
) -> torch.Tensor:  # fmt: skip
    """Return the queries of ``qkv``, rotated: (rows, heads, dim). Its rotated keys and its values are stored at
    ``positions`` of ``keys`` and ``values``, (kv_heads, length, dim).

    qkv: (rows, (heads + 2 * kv_heads) * dim); cos, sin: (rows, dim); ``norms``: of each head of queries and of keys.
    """
    n_kv, length, dim = keys.shape
    qkv, cos, sin = qkv.contiguous(), cos.contiguous(), sin.contiguous()
    q = torch.empty((len(qkv), n_heads, dim), dtype=keys.dtype, device=qkv.device)
    q_norm, k_norm = norms if norms is not None else (None, None)
    _rotate[(len(qkv), n_heads + 2 * n_kv)](
        qkv, cos, sin, positions, qkv if q_norm is None else q_norm.weight, qkv if k_norm is None else k_norm.weight,
        q, keys, values, length, 0.0 if q_norm is None else q_norm.eps, 0.0 if k_norm is None else k_norm.eps,
        n_heads=n_heads, n_kv=n_kv, half=dim // 2, has_norm=norms is not None, size=triton.next_power_of_2(dim // 2),
    )  # fmt: skip
    return q


def attend(
    q: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, positions: torch.Tensor, capacity: int, scale: float,
    window: int | None,
) -> torch.Tensor:  # fmt: skip
    """Attend with q, (rows, heads, dim), each row over the positions up to its own of ``keys`` and
    ``values``, (kv_heads, length, dim) -> (rows, heads * dim). Rows at or after ``capacity`` are
    padding; their results mean nothing."""
    n_rows, n_heads, dim = q.shape
    n_kv, length, _ = keys.shape
    n_splits, n_all = -(-capacity // SPLIT), n_rows * n_heads
    parts = torch.empty((n_splits, n_all, dim), dtype=torch.float32, device=q.device)
    tops, sums = torch.empty((2, n_splits, n_all), dtype=torch.float32, device=q.device)
    _attend[(n_kv, n_splits)](
        q, keys, values, positions, parts, tops, sums, n_rows, length, capacity, scale, window or 0,
        n_heads=n_heads, n_kv=n_kv, dim=dim, n_padded=max(MIN_DOT, triton.next_power_of_2(n_rows * n_heads // n_kv)),
        split_size=SPLIT, block=BLOCK, has_window=window is not None,
    )  # fmt: skip
    out = torch.empty((n_rows, n_heads * dim), dtype=q.dtype, device=q.device)
    _combine[(n_all,)](parts, tops, sums, out, n_splits, n_all, dim=dim, n_padded=triton.next_power_of_2(n_splits))
    return out


def gate(gate_up: torch.Tensor, kind: int) -> torch.Tensor:
    """Return activation(gate) * up. gate_up: (rows, 2 * inner) -> (rows, inner); ``kind``: SILU, GELU_TANH or GELU."""
    n, inner, gate_up = len(gate_up), gate_up.shape[1] // 2, gate_up.contiguous()
    out = torch.empty((n, inner), dtype=gate_up.dtype, device=gate_up.device)
    _gate[(n, triton.cdiv(inner, GATE_BLOCK))](gate_up, out, inner, kind=kind, size=GATE_BLOCK)
    return out


assert math.isclose(1.5957691216057308, 2 * math.sqrt(2 / math.pi))
