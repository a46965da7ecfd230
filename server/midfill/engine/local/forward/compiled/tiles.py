"""The inner loops of products, in LLVM's vectors, and how keys are transposed for them.

They use plain vectors and no CPU's own instructions: LLVM finds those that fit (``vpmaddwd``
on AVX2, as its output shows).
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils

from midfill.engine.local.forward.compiled.intrinsics import F32, I8, I16, I32, I64, at, intrinsic

OUTPUTS = 8  # of a tile
DEPTH = 4  # inputs of an output that are stored beside each other
ROWS = 6  # of the highest tile: with 12 sums, two weights and a row 15 of AVX2's 16 registers
COLUMNS = 16  # of a tile of floats
TRANSPOSED = 8  # keys that are transposed at once

_LANES = 16  # products of a vector
# An instruction with its own flags does not get its function's fastmath: tiles of all heights must round alike.
_IN_ORDER = ("nsz",)


def _vector(kind: ir.Type, n: int) -> ir.VectorType:
    return ir.VectorType(kind, n)


def _tile(n_rows: int) -> Any:
    @intrinsic
    def tile(
        _context: Any, x: Any, x_stride: Any, weights: Any, blocks: Any, scale: Any, row_scales: Any, out: Any,
        out_stride: Any, ahead: Any, pace: Any,
    ) -> Any:  # fmt: skip
        """Multiply ``n_rows`` int16 rows by a panel (blocks, OUTPUTS, DEPTH) of int8 weights, each output by its
        ``scale`` and each row by its ``row_scales``, float32 both, into ``out``, float32 (n_rows, OUTPUTS).

        All are addresses; strides are bytes from row to row. Sums wrap at 32 bits. Meanwhile weights from ``ahead`` on
        are fetched into the cache, ``pace`` bytes per step: the core's own prefetching ends with each page and stops
        while many rows are multiplied.
        """
        del x, x_stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace
        return types.void(*[types.int64] * 10), _generate_tile(n_rows)

    return tile


def _generate_tile(n_rows: int) -> Any:
    sums, half = _vector(I32, _LANES // 2), _vector(I16, _LANES)

    def pairs(builder: Any, a: Any, b: Any) -> Any:
        """Return the products of the int16 in a and b, each two neighbours added."""
        wide = _vector(I32, _LANES)
        product = builder.mul(builder.sext(a, wide), builder.sext(b, wide))
        even, odd = (ir.Constant(sums, list(range(first, _LANES, 2))) for first in (0, 1))
        return builder.add(
            builder.shuffle_vector(product, product, even), builder.shuffle_vector(product, product, odd)
        )

    def broadcast(builder: Any, address: Any) -> Any:
        """Return the DEPTH int16 at ``address``, repeated to fill a vector."""
        four = _load(builder, address, I64)
        lane = builder.insert_element(ir.Constant(_vector(I64, 4), ir.Undefined), four, I32(0))
        return builder.bitcast(builder.shuffle_vector(lane, lane, ir.Constant(_vector(I32, 4), [0] * 4)), half)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        x, x_stride, weights, blocks, scale, row_scales, out, out_stride, ahead, pace = arguments
        kind = ir.FunctionType(ir.VoidType(), [I8.as_pointer(), I32, I32, I32])
        fetch = cgutils.get_or_insert_function(builder.module, kind, "llvm.prefetch.p0")
        totals = [cgutils.alloca_once_value(builder, ir.Constant(sums, [0] * 8)) for _ in range(2 * n_rows)]
        with cgutils.for_range(builder, blocks, intp=I64) as loop:
            offset = builder.mul(loop.index, I64(OUTPUTS * DEPTH))
            source = builder.add(weights, offset)
            next_line = builder.add(ahead, builder.mul(loop.index, pace))
            builder.call(fetch, [at(builder, next_line, I8), I32(0), I32(3), I32(1)])
            loaded = [_load(builder, builder.add(source, I64(_LANES * h)), _vector(I8, _LANES)) for h in range(2)]
            panel = [builder.sext(part, half) for part in loaded]
            column = builder.add(x, builder.mul(loop.index, I64(2 * DEPTH)))
            for row in range(n_rows):
                inputs = broadcast(builder, builder.add(column, builder.mul(x_stride, I64(row))))
                for part, total in zip(panel, totals[2 * row : 2 * row + 2], strict=True):
                    builder.store(builder.add(builder.load(total), pairs(builder, part, inputs)), total)
        floats = _vector(F32, OUTPUTS)
        output_scales = _load(builder, scale, floats)
        for row in range(n_rows):
            low, high = (builder.load(total) for total in totals[2 * row : 2 * row + 2])
            even, odd = (ir.Constant(sums, list(range(first, _LANES, 2))) for first in (0, 1))
            total = builder.add(builder.shuffle_vector(low, high, even), builder.shuffle_vector(low, high, odd))
            factor = builder.load(at(builder, builder.add(row_scales, I64(4 * row)), F32))
            lane = builder.insert_element(ir.Constant(floats, ir.Undefined), factor, I32(0))
            same = builder.shuffle_vector(lane, lane, ir.Constant(sums, [0] * OUTPUTS))
            scaled = builder.fmul(
                builder.fmul(builder.sitofp(total, floats), output_scales, flags=_IN_ORDER), same, flags=_IN_ORDER
            )
            target = at(builder, builder.add(out, builder.mul(out_stride, I64(row))), floats)
            builder.store(scaled, target).align = 4
        return context.get_dummy_value()

    return generate


def _load(builder: Any, address: Any, kind: ir.Type) -> Any:
    loaded = builder.load(at(builder, address, kind))
    loaded.align = 1
    return loaded


tile_1, tile_2, tile_3, tile_4, tile_6 = (_tile(n_rows) for n_rows in (1, 2, 3, 4, 6))


def _float_tile(n_rows: int) -> Any:
    @intrinsic
    def tile(_context: Any, a: Any, a_stride: Any, n: Any, b: Any, b_stride: Any, c: Any, c_stride: Any) -> Any:
        """Add to c, float32 (n_rows, COLUMNS), the product of a (n_rows, n) and b (n, COLUMNS), one column of a after
        another. All are addresses; strides are bytes from row to row."""
        del a, a_stride, n, b, b_stride, c, c_stride
        return types.void(*[types.int64] * 7), _generate_float_tile(n_rows)

    return tile


def _generate_float_tile(n_rows: int) -> Any:
    half = COLUMNS // 2
    floats, first = _vector(F32, half), ir.Constant(_vector(I32, half), [0] * half)

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        a, a_stride, n, b, b_stride, c, c_stride = arguments
        add = cgutils.get_or_insert_function(
            builder.module, ir.FunctionType(floats, [floats] * 3), f"llvm.fmuladd.v{half}f32"
        )  # fmt: skip
        places = [
            builder.add(builder.add(c, builder.mul(c_stride, I64(row))), I64(4 * half * part))
            for row in range(n_rows) for part in range(2)
        ]  # fmt: skip
        totals = [cgutils.alloca_once_value(builder, _load(builder, place, floats)) for place in places]
        with cgutils.for_range(builder, n, intp=I64) as loop:
            line = builder.add(b, builder.mul(loop.index, b_stride))
            columns = [_load(builder, builder.add(line, I64(4 * half * part)), floats) for part in range(2)]
            ones = builder.add(a, builder.mul(loop.index, I64(4)))
            for row in range(n_rows):
                one = builder.load(at(builder, builder.add(ones, builder.mul(a_stride, I64(row))), F32))
                lane = builder.insert_element(ir.Constant(floats, ir.Undefined), one, I32(0))
                same = builder.shuffle_vector(lane, lane, first)
                for column, total in zip(columns, totals[2 * row : 2 * row + 2], strict=True):
                    builder.store(builder.call(add, [same, column, builder.load(total)]), total)
        for total, place in zip(totals, places, strict=True):
            builder.store(builder.load(total), at(builder, place, floats)).align = 4
        return context.get_dummy_value()

    return generate


float_tile_1, float_tile_2, float_tile_3, float_tile_4, float_tile_6 = (_float_tile(n) for n in (1, 2, 3, 4, 6))


@intrinsic
def transpose(_context: Any, keys: Any, stride: Any, blocks: Any, out: Any, out_stride: Any) -> Any:
    """bfloat16 keys (TRANSPOSED, 8 * blocks) -> float32 (8 * blocks, TRANSPOSED). Addresses; strides in bytes."""
    del keys, stride, blocks, out, out_stride
    eight = _vector(I16, TRANSPOSED)

    def zipped(builder: Any, a: Any, b: Any, width: int) -> list[Any]:
        """Return groups of ``width`` of a and b in turns: the first halves of both, and the last."""
        halves = []
        for start in (0, 4):
            order = [
                o + i for first in range(start, start + 4, width) for o in (0, 8) for i in range(first, first + width)
            ]
            halves.append(builder.shuffle_vector(a, b, ir.Constant(_vector(I32, 8), order)))
        return halves

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        keys, stride, blocks, out, out_stride = arguments
        with cgutils.for_range(builder, blocks, intp=I64) as loop:
            source = builder.add(keys, builder.mul(loop.index, I64(16)))
            rows = [_load(builder, builder.add(source, builder.mul(stride, I64(i))), eight) for i in range(TRANSPOSED)]
            a, b, c, d = (zipped(builder, rows[i], rows[i + 1], 1) for i in (0, 2, 4, 6))
            first = [pair for i in range(2) for pair in zipped(builder, a[i], b[i], 2)]
            second = [pair for i in range(2) for pair in zipped(builder, c[i], d[i], 2)]
            transposed = [row for i in range(4) for row in zipped(builder, first[i], second[i], 4)]
            to = builder.add(out, builder.mul(builder.mul(out_stride, I64(8)), loop.index))
            for i, row in enumerate(transposed):
                bits = builder.shl(builder.zext(row, _vector(I32, 8)), ir.Constant(_vector(I32, 8), [16] * 8))
                target = builder.add(to, builder.mul(out_stride, I64(i)))
                builder.store(builder.bitcast(bits, _vector(F32, 8)), at(builder, target, _vector(F32, 8))).align = 4
        return context.get_dummy_value()

    return types.void(*[types.int64] * 5), generate
