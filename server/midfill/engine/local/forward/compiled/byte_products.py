"""Products of many rows by AVX-512 VNNI: activations of eight bits, one scale for each GROUP of inputs.

They are for prompts, whose time is arithmetic. Steps of few rows wait for memory and keep the 16 bits of ``products``.
A row's result does not depend on the rows beside it here either.
"""

from __future__ import annotations

import numpy as np

from midfill.engine.local.forward.compiled.byte_tiles import GROUP, LEVELS, PANELS, ZERO, tile_1, tile_2, tile_4, tile_6
from midfill.engine.local.forward.compiled.compiled import Array, compiled
from midfill.engine.local.forward.compiled.intrinsics import address_of
from midfill.engine.local.forward.compiled.tiles import OUTPUTS

BLOCK_ROWS = 36  # rows that meet PANELS panels while these are in the nearest caches


@compiled
def byte_rows(buffer: Array, n: int, depth: int) -> Array:
    """Return the int16 ``buffer`` as uint8 (n, depth)."""
    found: Array = buffer.view(np.uint8)[: n * depth].reshape(n, depth)
    return found


@compiled
def group_scales(buffer: Array, n: int, depth: int) -> Array:
    """Return the float32 ``buffer`` as (n, groups)."""
    found: Array = buffer[: n * (depth // GROUP)].reshape(n, depth // GROUP)
    return found


@compiled
def quantise_groups(row: Array, out: Array, scales: Array) -> None:
    """Quantise each GROUP of ``row`` to LEVELS levels of its largest magnitude.

    ``out``: uint8 around ZERO; ``scales``: the value of one level.
    """
    for group in range(len(scales)):
        some, to = row[group * GROUP : (group + 1) * GROUP], out[group * GROUP : (group + 1) * GROUP]
        largest = np.float32(1e-12)
        for i in range(GROUP):
            largest = max(largest, abs(some[i]))
        factor = np.float32(LEVELS) / largest
        for i in range(GROUP):
            to[i] = np.uint8(np.int32(np.rint(some[i] * factor)) + ZERO)
        scales[group] = largest / np.float32(LEVELS)


@compiled
def offsets_of(thread: int, threads: int, packed: Array, offsets: Array) -> None:
    """Write ``offsets``, int32 (panels, groups, OUTPUTS): minus ZERO times the sum of each output's weights in a group
    of the ``packed`` panels. They cancel what unsigned activations add to a product."""
    for panel in range(thread, len(packed), threads):
        for group in range(offsets.shape[1]):
            for output in range(OUTPUTS):
                total = np.int32(0)
                for step in range(group * GROUP // packed.shape[3], (group + 1) * GROUP // packed.shape[3]):
                    for i in range(packed.shape[3]):
                        total += packed[panel, step, output, i]
                offsets[panel, group, output] = -ZERO * total


@compiled
def byte_panels(
    x: Array, scales: Array, weights: int, offsets: int, weight_scales: int, start: int, end: int, out: Array
) -> None:  # fmt: skip
    """Write the products of the quantised rows ``x`` (n, depth) with the panels from ``start`` to ``end``.

    Both are multiples of PANELS; ``weights``, ``offsets``, ``weight_scales``: addresses.
    """
    n, depth = x.shape
    groups = depth // GROUP
    size, its_offsets = depth * OUTPUTS, groups * OUTPUTS * 4
    for first in range(0, n, BLOCK_ROWS):
        last = min(n, first + BLOCK_ROWS)
        for panel in range(start, end, PANELS):
            row = first
            while row < last:
                rows = 6 if last - row >= 6 else 4 if last - row >= 4 else 2 if last - row >= 2 else 1
                arguments = (
                    address_of(x) + row * depth, depth, address_of(scales) + row * groups * 4, groups * 4, groups,
                    weights + panel * size, size, offsets + panel * its_offsets, its_offsets,
                    weight_scales + panel * OUTPUTS * 4,
                    address_of(out) + row * out.shape[1] * 4 + panel * OUTPUTS * 4, out.shape[1] * 4,
                )  # fmt: skip
                if rows == 6:
                    tile_6(*arguments)
                elif rows == 4:
                    tile_4(*arguments)
                elif rows == 2:
                    tile_2(*arguments)
                else:
                    tile_1(*arguments)
                row += rows


@compiled
def multiply(rows: Array, packed: Array, offsets: Array, scale: Array, x: Array, scales: Array, out: Array) -> None:
    """Write ``out`` (n, outputs) = ``rows`` (n, depth) by the packed weights times
    ``scale``; ``x``, ``scales``: buffers."""
    n, depth = rows.shape
    quantised, its_scales = byte_rows(x, n, depth), group_scales(scales, n, depth)
    for row in range(n):
        quantise_groups(rows[row], quantised[row], its_scales[row])
    byte_panels(
        quantised, its_scales, address_of(packed), address_of(offsets), address_of(scale), 0, len(packed), out
    )  # fmt: skip
