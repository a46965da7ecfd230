"""Products of quantised activations and packed int8 weights.

An activation row is quantised to as many levels as its sums allow without overflowing 32 bits; a weight has panels of
OUTPUTS rows, which a tile reads from beginning to end. A row's result does not depend on the rows beside it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from midfill.engine.local.forward.compiled.compiled import Array, compiled
from midfill.engine.local.forward.compiled.intrinsics import address_of
from midfill.engine.local.forward.compiled.sharing import LINE, meet, take
from midfill.engine.local.forward.compiled.tiles import DEPTH, OUTPUTS, ROWS, tile_1, tile_2, tile_3, tile_4, tile_6

CHUNK_BYTES = 1 << 16  # of weights that a thread takes at once
SHARES = 4  # shares per thread of a product, if chunks would be larger
BLOCK_ROWS = 18  # rows that meet a panel while it is in the nearest cache
MAX_LEVELS = 32767
MAX_SUM = (1 << 31) - 1
MAX_WEIGHT = 127


@compiled
def levels_of(depth: int) -> int:
    """Return how many levels an activation of a product of ``depth`` inputs is quantised to, so
    that its sums do not overflow."""
    return min(MAX_LEVELS, MAX_SUM // (MAX_WEIGHT * depth))


@compiled
def pack(thread: int, threads: int, weight: Array, packed: Array) -> None:
    """int8 (out, in) -> (panels, in / DEPTH, OUTPUTS, DEPTH), padded with zeros."""
    outputs, inputs = weight.shape
    for panel in range(thread, packed.shape[0], threads):
        packed[panel] = 0
        for lane in range(min(OUTPUTS, outputs - panel * OUTPUTS)):
            row = weight[panel * OUTPUTS + lane]
            for i in range(inputs):
                packed[panel, i // DEPTH, lane, i % DEPTH] = row[i]


@compiled
def quantise_row(row: Array, out: Array, levels: int) -> Any:
    """Round ``row`` to ``levels`` levels of its largest magnitude; return the value of one level."""
    largest = np.float32(1e-12)
    for i in range(len(row)):
        largest = max(largest, abs(row[i]))
    factor = np.float32(levels) / largest
    for i in range(len(row)):
        out[i] = np.int16(np.int32(np.rint(row[i] * factor)))
    return largest / np.float32(levels)


@compiled
def panels_between(x: Array, row_scales: Array, weights: int, scale: int, start: int, end: int, out: Array) -> None:
    """Write the products of the rows ``x`` with the panels from ``start`` to ``end``;
    ``weights``, ``scale``: addresses."""
    n, stride, out_stride = len(x), x.shape[1] * 2, out.shape[1] * 4
    blocks = x.shape[1] // DEPTH
    size = blocks * OUTPUTS * DEPTH
    for first in range(0, n, BLOCK_ROWS):
        last = min(n, first + BLOCK_ROWS)
        pace = OUTPUTS * DEPTH * ROWS // max(ROWS, last - first)  # all tiles of a panel together fetch the next panel
        for panel in range(start, end):
            row, ahead, w = first, weights + (panel + 1) * size, weights + panel * size
            while row < last:
                rows = rows_of_tile(last - row)
                _tile(
                    rows, address_of(x) + row * stride, stride, w, blocks, scale + panel * OUTPUTS * 4,
                    address_of(row_scales) + row * 4, address_of(out) + row * out_stride + panel * OUTPUTS * 4,
                    out_stride, ahead, pace,
                )  # fmt: skip
                row += rows
                ahead += pace * blocks


@compiled
def rows_of_tile(left: int) -> int:
    """Return how many of the remaining rows the next tile takes: no tile of one row beside a full one."""
    if left <= 4:
        return left
    if left == 7 or left == 8:
        return 4
    return ROWS if left >= ROWS else 3


@compiled
def _tile(
    rows: int, x: int, stride: int, weights: int, blocks: int, scale: int, row_scales: int, out: int, out_stride: int,
    ahead: int, pace: int,
) -> None:  # fmt: skip
    if rows == 6:
        tile_6(x, stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace)
    elif rows == 4:
        tile_4(x, stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace)
    elif rows == 3:
        tile_3(x, stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace)
    elif rows == 2:
        tile_2(x, stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace)
    else:
        tile_1(x, stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace)


@compiled
def chunk_of(panels: int, depth: int, threads: int) -> int:
    """Return the number of panels that a thread takes at once."""
    return max(1, min(CHUNK_BYTES // (depth * OUTPUTS), panels // (threads * SHARES)))


@compiled
def multiply(
    thread: int, threads: int, rows: Array, given: Array, levels: int, packed: Array, scale: Array, x: Array,
    row_scales: Array, out: Array, counters: Array,
) -> None:  # fmt: skip
    """Write ``out`` (n, outputs) = ``rows`` (n, in), quantised into ``x``, times the packed weights, times ``scale``
    and each row's ``given`` factor."""
    for row in range(thread, len(rows), threads):
        row_scales[row] = quantise_row(rows[row], x[row, : rows.shape[1]], levels) * given[row]
        x[row, rows.shape[1] :] = 0
    meet(address_of(counters), threads)
    panels, counter = packed.shape[0], address_of(counters) + LINE * 8
    chunk = chunk_of(panels, x.shape[1], threads)
    start = take(counter, chunk)
    while start < panels:
        panels_between(x, row_scales, address_of(packed), address_of(scale), start, min(panels, start + chunk), out)
        start = take(counter, chunk)
