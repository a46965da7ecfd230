"""Attention of a few rows over a slot's keys and values in bfloat16, up to each row's own position."""

from __future__ import annotations

import numpy as np
from numba import carray

from midfill.engine.local.forward.compiled.compiled import Array, bfloat, compiled, exp, of_bfloat
from midfill.engine.local.forward.compiled.intrinsics import address_of, pointer
from midfill.engine.local.forward.compiled.products import rows_of_tile
from midfill.engine.local.forward.compiled.tiles import (
    COLUMNS,
    TRANSPOSED,
    float_tile_1,
    float_tile_2,
    float_tile_3,
    float_tile_4,
    float_tile_6,
    transpose,
)
from midfill.engine.local.forward.compiled.work import StepShape, Work


@compiled
def write_keys(shape: StepShape, row: int, work: Work, place: Array) -> None:
    """Rotate a row's keys and store them and its values in its slot (RoPE, Su et al. 2021, arXiv:2104.09864)."""
    half, cos, sin = shape.dim // 2, work.cos[row], work.sin[row]
    for head in range(shape.kv_heads):
        offset = (head * place[2] + work.positions[row] * shape.dim) * 2
        keys = carray(pointer(place[0] + offset), (shape.dim,), np.uint16)
        values = carray(pointer(place[1] + offset), (shape.dim,), np.uint16)
        k = work.qkv[row, (shape.heads + head) * shape.dim :]
        v = work.qkv[row, (shape.heads + shape.kv_heads + head) * shape.dim :]
        for i in range(half):
            keys[i] = bfloat(k[i] * cos[i] - k[i + half] * sin[i])
            keys[i + half] = bfloat(k[i + half] * cos[i + half] + k[i] * sin[i + half])
        for i in range(shape.dim):
            values[i] = bfloat(v[i])


@compiled
def attend_block(shape: StepShape, scale: float, unit: int, rows: int, work: Work, slots: Array) -> None:
    """Compute one part of a layer's attention: at most ``rows`` rows, one head of keys."""
    row, last = unit // shape.kv_heads * rows, min(len(work.x), (unit // shape.kv_heads + 1) * rows)
    while row < last:
        end = row + 1
        while end < last and work.places[end] == work.places[row]:
            end += 1
        _attend(shape, scale, unit % shape.kv_heads, row, end, work, slots[work.places[row]])
        row = end


@compiled
def _attend(shape: StepShape, scale: float, kv_head: int, first: int, last: int, work: Work, place: Array) -> None:
    """Attend with the rows from ``first`` to ``last`` of one slot, for all heads that share ``kv_head``.

    Positions after a row's own get the weight zero, so it does not matter which rows are computed together.
    """
    group, dim = shape.heads // shape.kv_heads, shape.dim
    length = work.positions[last - 1] + 1
    padded = (length + COLUMNS - 1) // COLUMNS * COLUMNS
    q, out = np.empty(((last - first) * group, dim), np.float32), np.empty(((last - first) * group, dim), np.float32)
    scores = np.empty((len(q), padded), np.float32)
    for i in range(len(q)):
        _rotated(shape, scale, work, first + i // group, kv_head * group + i % group, q[i])
    offset = kv_head * place[2] * 2
    _score(q, place[0] + offset, length, np.empty((dim, COLUMNS), np.float32), scores)
    for i in range(len(q)):
        seen = work.positions[first + i // group] + 1
        _softmax(scores[i, :seen])
        scores[i, seen:] = 0
    _mix(scores, place[1] + offset, length, np.empty((2 * COLUMNS, dim), np.float32), out)
    for i in range(len(q)):
        head = kv_head * group + i % group
        work.attention_output[first + i // group, head * dim : (head + 1) * dim] = out[i]


@compiled
def _rotated(shape: StepShape, scale: float, work: Work, row: int, head: int, out: Array) -> None:
    """Write a row's query of ``head`` to ``out``, rotated and scaled."""
    half, cos, sin = shape.dim // 2, work.cos[row], work.sin[row]
    mine = work.qkv[row, head * shape.dim :]
    for i in range(half):
        out[i] = (mine[i] * cos[i] - mine[i + half] * sin[i]) * scale
        out[i + half] = (mine[i + half] * cos[i + half] + mine[i] * sin[i + half]) * scale


@compiled
def _score(q: Array, keys: int, length: int, transposed: Array, scores: Array) -> None:
    """Write ``scores`` (queries, length rounded up to COLUMNS): q (queries, dim) times the
    bfloat16 keys (length, dim)."""
    dim = q.shape[1]
    scores[:] = 0
    for start in range(0, length, COLUMNS):
        for part in range(0, COLUMNS, TRANSPOSED):
            left = length - start - part
            if left >= TRANSPOSED:
                source = keys + (start + part) * dim * 2
                transpose(source, dim * 2, dim // 8, address_of(transposed) + part * 4, COLUMNS * 4)
                continue
            some = carray(pointer(keys), (length, dim), np.uint16)
            for lane in range(TRANSPOSED):
                for i in range(dim):
                    known = lane < left
                    transposed[i, part + lane] = of_bfloat(some[start + part + lane, i]) if known else np.float32(0)
        to = address_of(scores) + start * 4
        _float_product(
            len(q), address_of(q), dim * 4, dim, address_of(transposed), COLUMNS * 4, to, scores.shape[1] * 4
        )


@compiled
def _softmax(scores: Array) -> None:
    largest = np.float32(-3e38)
    for j in range(len(scores)):
        largest = max(largest, scores[j])
    total = np.float32(0)
    for j in range(len(scores)):
        scores[j] = exp(scores[j] - largest)
        total += scores[j]
    factor = np.float32(1) / total
    for j in range(len(scores)):
        scores[j] *= factor


@compiled
def _mix(scores: Array, values: int, length: int, floats: Array, out: Array) -> None:
    """Write ``out`` (queries, dim): the bfloat16 values (length, dim), weighted by the ``scores`` of each query."""
    dim, wide = out.shape[1], len(floats)
    known = carray(pointer(values), (length, dim), np.uint16)
    out[:] = 0
    for start in range(0, length, wide):
        n = min(wide, length - start)
        for j in range(n):
            source, target = known[start + j], floats[j]
            for i in range(dim):
                target[i] = of_bfloat(source[i])
        for column in range(0, dim, COLUMNS):
            _float_product(
                len(out), address_of(scores) + start * 4, scores.shape[1] * 4, n, address_of(floats) + column * 4,
                dim * 4, address_of(out) + column * 4, dim * 4,
            )  # fmt: skip


@compiled
def _float_product(n: int, a: int, a_stride: int, depth: int, b: int, b_stride: int, c: int, c_stride: int) -> None:
    """c (n, COLUMNS) += a (n, depth) b (depth, COLUMNS); addresses, strides in bytes."""
    row = 0
    while row < n:
        rows = rows_of_tile(n - row)
        x, y = a + row * a_stride, c + row * c_stride
        if rows == 6:
            float_tile_6(x, a_stride, depth, b, b_stride, y, c_stride)
        elif rows == 4:
            float_tile_4(x, a_stride, depth, b, b_stride, y, c_stride)
        elif rows == 3:
            float_tile_3(x, a_stride, depth, b, b_stride, y, c_stride)
        elif rows == 2:
            float_tile_2(x, a_stride, depth, b, b_stride, y, c_stride)
        else:
            float_tile_1(x, a_stride, depth, b, b_stride, y, c_stride)
        row += rows
