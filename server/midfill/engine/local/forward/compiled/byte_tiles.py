"""The inner loop of products with many rows, by AVX-512 VNNI: unsigned bytes by signed ones.

``vpdpbusd`` multiplies twice as many numbers as the 16-bit product of ``tiles``. Eight bits for a whole row of
activations would cost quality, as a few of them are large; so each GROUP of them has its own scale, and sums are
converted to float32 group by group.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding
from llvmlite import ir
from numba import types
from numba.core import cgutils

from midfill.engine.local.forward.compiled.compiled import compiled
from midfill.engine.local.forward.compiled.intrinsics import F32, I32, I64, at, intrinsic
from midfill.engine.local.forward.compiled.tiles import DEPTH, OUTPUTS

GROUP = 64  # inputs that share a scale
LEVELS = 127  # the largest magnitude of a group is quantised to this
ZERO = 128  # the byte that represents zero
LANES = 16  # outputs of a vector
VECTORS = 2  # of outputs in a tile
PANELS = VECTORS * LANES // OUTPUTS  # in a tile
_EXACT = ("nsz",)  # no reassociation: tiles of all heights add in the same order


def has_vnni() -> bool:
    """Whether the CPU has the product that these loops need, with vectors of 256 and 512 bits."""
    features = llvmlite.binding.get_host_cpu_features()
    return all(features.get(name, False) for name in ("avx512vl", "avx512vnni", "avx512bw"))


def _vector(kind: ir.Type, n: int) -> ir.VectorType:
    return ir.VectorType(kind, n)


def _tile(n_rows: int) -> Any:
    """Return the tile of ``n_rows`` rows."""

    @intrinsic
    def tile(
        _context: Any, x: Any, x_stride: Any, scales: Any, scales_stride: Any, groups: Any, weights: Any,
        panel_stride: Any, offsets: Any, offsets_stride: Any, weight_scales: Any, out: Any, out_stride: Any,
    ) -> Any:  # fmt: skip
        """Write float32 (n_rows, VECTORS * LANES): the product of quantised rows with as many outputs of panels.

        ``x``: uint8 (n_rows, groups * GROUP) around ZERO; ``scales``: float32 (n_rows, groups); ``weights``: int8
        panels (groups * GROUP / DEPTH, OUTPUTS, DEPTH), ``panel_stride`` bytes apart; ``offsets``: for each panel int32
        (groups, OUTPUTS), minus ZERO times the sums of the weights; ``weight_scales``: float32, one per output. All are
        addresses, strides are bytes.
        """
        del x, x_stride, scales, scales_stride, groups, weights, panel_stride, offsets, offsets_stride
        del weight_scales, out, out_stride
        return types.void(*[types.int64] * 12), _generate(n_rows)

    return tile


def _generate(n_rows: int) -> Any:
    sums, floats = _vector(I32, LANES), _vector(F32, LANES)
    first, every = ir.Constant(sums, [0] * LANES), ir.Constant(sums, list(range(LANES)))

    def generate(context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        (x, x_stride, scales, scales_stride, groups, weights, panel_stride, offsets, offsets_stride, weight_scales, out,
         out_stride) = arguments  # fmt: skip
        product = _function(builder, "llvm.x86.avx512.vpdpbusd.512", sums)
        add = _function(builder, f"llvm.fma.v{LANES}f32", floats)

        def joined(address: Any, stride: Any, vector: int) -> Any:
            """Return the int32 vector number ``vector``: of two panels, which are ``stride`` bytes apart."""
            first_panel = builder.add(address, builder.mul(stride, I64(2 * vector)))
            eight = [
                _load(builder, place, _vector(I32, OUTPUTS))
                for place in (first_panel, builder.add(first_panel, stride))
            ]
            return builder.shuffle_vector(*eight, every)

        def broadcast(address: Any, kind: ir.Type) -> Any:
            one = _load(builder, address, kind)
            lane = builder.insert_element(ir.Constant(_vector(kind, LANES), ir.Undefined), one, I32(0))
            return builder.shuffle_vector(lane, lane, first)

        nothing = ir.Constant(floats, [0.0] * LANES)
        n_sums = n_rows * VECTORS
        totals = [cgutils.alloca_once_value(builder, nothing) for _ in range(n_sums)]
        whole = [cgutils.alloca_once(builder, sums) for _ in range(n_sums)]
        with cgutils.for_range(builder, groups, intp=I64) as group:
            start = builder.add(offsets, builder.mul(group.index, I64(4 * OUTPUTS)))
            begin = [joined(start, offsets_stride, vector) for vector in range(VECTORS)]
            for i, total in enumerate(whole):
                builder.store(begin[i % VECTORS], total)
            columns = builder.add(x, builder.mul(group.index, I64(GROUP)))
            panel = builder.add(weights, builder.mul(group.index, I64(GROUP * OUTPUTS)))
            with cgutils.for_range(builder, I64(GROUP // DEPTH), intp=I64) as loop:
                source = builder.add(panel, builder.mul(loop.index, I64(OUTPUTS * DEPTH)))
                loaded = [joined(source, panel_stride, vector) for vector in range(VECTORS)]
                column = builder.add(columns, builder.mul(loop.index, I64(DEPTH)))
                for row in range(n_rows):
                    inputs = broadcast(builder.add(column, builder.mul(x_stride, I64(row))), I32)
                    for part, total in zip(loaded, whole[row * VECTORS :], strict=False):
                        builder.store(builder.call(product, [builder.load(total), inputs, part]), total)
            scale = builder.add(scales, builder.mul(group.index, I64(4)))
            for row in range(n_rows):
                same = broadcast(builder.add(scale, builder.mul(scales_stride, I64(row))), F32)
                for vector in range(VECTORS):
                    i = row * VECTORS + vector
                    number = builder.sitofp(builder.load(whole[i]), floats)
                    builder.store(
                        builder.call(add, [number, same, builder.load(totals[i])], fastmath=_EXACT), totals[i]
                    )
        for vector in range(VECTORS):
            by = _load(builder, builder.add(weight_scales, I64(4 * LANES * vector)), floats)
            for row in range(n_rows):
                place = builder.add(builder.add(out, builder.mul(out_stride, I64(row))), I64(4 * LANES * vector))
                value = builder.fmul(builder.load(totals[row * VECTORS + vector]), by, flags=_EXACT)
                builder.store(value, at(builder, place, floats)).align = 4
        return context.get_dummy_value()

    return generate


def _function(builder: Any, name: str, kind: ir.Type) -> Any:
    """Return LLVM's function of three ``kind``s with one as result."""
    return cgutils.get_or_insert_function(builder.module, ir.FunctionType(kind, [kind] * 3), name)


def _load(builder: Any, address: Any, kind: ir.Type) -> Any:
    loaded = builder.load(at(builder, address, kind))
    loaded.align = 1
    return loaded


def _no_tile() -> Any:
    """Return a substitute for the tiles on a CPU without the product; it never runs, but
    numba compiles a call of it."""

    @compiled
    def tile(
        x: int, x_stride: int, scales: int, scales_stride: int, groups: int, weights: int, panel_stride: int,
        offsets: int, offsets_stride: int, weight_scales: int, out: int, out_stride: int,
    ) -> None:  # fmt: skip
        pass

    return tile


tile_1, tile_2, tile_4, tile_6 = (_tile(n_rows) if has_vnni() else _no_tile() for n_rows in (1, 2, 4, 6))
