"""The forward pass of a plain decoder, compiled.

Every thread runs the same function; a counter divides the work of a phase, so if the system holds up a thread, the
others wait at most for the piece it took.

A row's numbers depend neither on the rows beside it nor on the thread that computed them, so a token is bit for bit the
same whether it was drafted or decoded (tested).

A model's weights are reached by their addresses in int64 tables: numba would take longer to unpack some hundred arrays
than a layer takes. ``step.CompiledStep`` keeps the arrays behind the addresses alive.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from midfill.engine.local.forward.compiled.attention import attend_block, write_keys
from midfill.engine.local.forward.compiled.byte_products import byte_panels, byte_rows, group_scales, quantise_groups
from midfill.engine.local.forward.compiled.byte_tiles import PANELS
from midfill.engine.local.forward.compiled.compiled import Array, compiled, exp, floats
from midfill.engine.local.forward.compiled.intrinsics import address_of, pointer
from midfill.engine.local.forward.compiled.products import chunk_of, levels_of, panels_between, quantise_row
from midfill.engine.local.forward.compiled.sharing import LINE, take, wait
from midfill.engine.local.forward.compiled.tiles import OUTPUTS
from midfill.engine.local.forward.compiled.work import StepShape, Work

# The products of a layer. Each has four addresses: of weights, scales, biases (0: none) and the offsets for bytes
# (byte_products.offsets_of; 0: none).
QKV, OUTPUT, GATE_UP, DOWN = range(4)
N_PRODUCTS, N_ADDRESSES = 4, 4
# An adapter's part of a product: the address of ``a`` (low, in), its number of rows, the number of blocks that follow;
# a block: its first output, its last, its first low row, its last, the address of ``b`` (low, outputs).
MAX_BLOCKS, BLOCK = 3, 5
N_LORA = 3 + MAX_BLOCKS * BLOCK
QUERIES = 24


@compiled
def step(
    thread: int, shape: StepShape, scale: float, eps: float, products: Array, norms: Array, lora: Array, slots: Array,
    first: int, last: int, work: Work,
) -> None:  # fmt: skip
    """Run the layers from ``first`` to ``last`` over the rows ``work.x``, which they change;
    after the last layer, the head.

    ``products``: (layers + 1, N_PRODUCTS, N_ADDRESSES), the head's in the last row's first; ``norms``: (layers + 1, 2),
    the addresses of their weights, and of the one before the head; ``lora``: (layers + 1, N_PRODUCTS, N_LORA);
    ``slots``: (layers, slots, 3), the addresses of keys and values and the distance between their heads.
    """
    x, n, threads = work.x, len(work.x), shape.threads
    rows = max(1, QUERIES * shape.kv_heads // shape.heads)
    units = (n + rows - 1) // rows * shape.kv_heads
    barrier, met = address_of(work.counters), 0
    counter = barrier
    for number in range(first, last):
        layer, its = products[number], lora[number]
        _norm_rows(thread, threads, x, floats(norms[number, 0], shape.hidden), eps, work.normed)
        _quantise_rows(thread, shape, work.normed, its[QKV], work, shape.bytes)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project(layer[QKV], its[QKV], shape.hidden, work.qkv, work, counter, shape, shape.bytes)
        met = wait(barrier, met, threads)

        for row in range(thread, n, threads):
            write_keys(shape, row, work, slots[number, work.places[row]])
        met = wait(barrier, met, threads)
        counter += LINE * 8
        unit = take(counter, 1)
        while unit < units:
            attend_block(shape, scale, unit, rows, work, slots[number])
            unit = take(counter, 1)
        met = wait(barrier, met, threads)

        _quantise_rows(thread, shape, work.attention_output, its[OUTPUT], work, shape.bytes)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_onto(layer[OUTPUT], its[OUTPUT], work.attention_output.shape[1], x, work, counter, shape)
        met = wait(barrier, met, threads)

        _norm_rows(thread, threads, x, floats(norms[number, 1], shape.hidden), eps, work.normed)
        _quantise_rows(thread, shape, work.normed, its[GATE_UP], work, shape.bytes)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_gated(layer[GATE_UP], its[GATE_UP], work, counter, shape)
        met = wait(barrier, met, threads)

        _quantise_rows(thread, shape, work.inner, its[DOWN], work, shape.bytes)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_onto(layer[DOWN], its[DOWN], work.inner.shape[1], x, work, counter, shape)
        met = wait(barrier, met, threads)
    if last == shape.layers and len(work.logit_rows):
        last_rows, weight = work.normed[: len(work.logit_rows)], floats(norms[last, 0], shape.hidden)
        for row in range(thread, len(last_rows), threads):
            _norm(x[work.logit_rows[row]], weight, eps, last_rows[row])
        wide = shape.bytes * 0  # 16 bits; with the literal, numba would compile all of it a second time
        _quantise_rows(thread, shape, last_rows, lora[last, 0], work, wide)
        met = wait(barrier, met, threads)
        _project(products[last, 0], lora[last, 0], shape.hidden, work.logits, work, counter + LINE * 8, shape, wide)
        wait(barrier, met, threads)


@compiled
def _norm_rows(thread: int, threads: int, x: Array, weight: Array, eps: float, out: Array) -> None:
    """Apply the root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467) to this thread's part of the rows."""
    for row in range(thread, len(x), threads):
        _norm(x[row], weight, eps, out[row])


@compiled
def _norm(x: Array, weight: Array, eps: float, out: Array) -> None:
    """Apply the root mean square norm to one row."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(total / np.float32(len(x)) + np.float32(eps))
    for i in range(len(x)):
        out[i] = x[i] * factor * weight[i]


@compiled
def _quantise_rows(thread: int, shape: StepShape, rows: Array, lora: Array, work: Work, in_bytes: int) -> None:
    """Quantise this thread's part of ``rows`` (n, depth) for the next product, into ``work.quantised``.

    The product of the rows with an adapter's ``a`` is left in ``work.lora_a``.
    """
    n, depth = rows.shape
    for row in range(thread, n, shape.threads):
        if in_bytes:
            quantise_groups(
                rows[row], byte_rows(work.quantised, n, depth)[row], group_scales(work.scales, n, depth)[row]
            )
        else:
            levels = work.quantised[row * depth : (row + 1) * depth]
            work.scales[row] = quantise_row(rows[row], levels, levels_of(depth))
        _lower(rows[row], lora, work.lora_a[row])


@compiled
def _chunk_of(panels: int, depth: int, threads: int, in_bytes: int) -> int:
    """Return the number of panels that a thread takes at once."""
    chunk = chunk_of(panels, depth, threads)
    return -(-chunk // PANELS) * PANELS if in_bytes else chunk


@compiled
def _project(
    product: Array, lora: Array, depth: int, out: Array, work: Work, counter: int, shape: StepShape, in_bytes: int
) -> None:  # fmt: skip
    """Write ``out`` = the product of the quantised rows; threads divide it."""
    panels = out.shape[1] // OUTPUTS
    chunk = _chunk_of(panels, depth, shape.threads, in_bytes)
    start = take(counter, chunk)
    while start < panels:
        _product(product, lora, work, depth, start, min(panels, start + chunk), out, in_bytes)
        start = take(counter, chunk)


@compiled
def _project_onto(
    product: Array, lora: Array, depth: int, x: Array, work: Work, counter: int, shape: StepShape
) -> None:  # fmt: skip
    """Add the product of the quantised rows to ``x``."""
    panels = x.shape[1] // OUTPUTS
    chunk = _chunk_of(panels, depth, shape.threads, shape.bytes)
    start = take(counter, chunk)
    while start < panels:
        end = min(panels, start + chunk)
        _product(product, lora, work, depth, start, end, work.normed, shape.bytes)  # its contents are not needed now
        for row in range(len(x)):
            target, added = x[row, start * OUTPUTS : end * OUTPUTS], work.normed[row, start * OUTPUTS : end * OUTPUTS]
            for i in range(len(target)):
                target[i] += added[i]
        start = take(counter, chunk)


@compiled
def _project_gated(product: Array, lora: Array, work: Work, counter: int, shape: StepShape) -> None:
    """Write ``work.inner`` = SiLU of the gate's outputs times the others."""
    out, gate_up = work.inner, work.gate_up
    panels = out.shape[1] // OUTPUTS
    chunk = _chunk_of(panels, 2 * shape.hidden, shape.threads, shape.bytes)
    start = take(counter, chunk)
    while start < panels:
        end = min(panels, start + chunk)
        _product(product, lora, work, shape.hidden, start, end, gate_up, shape.bytes)
        _product(product, lora, work, shape.hidden, panels + start, panels + end, gate_up, shape.bytes)
        for row in range(len(out)):
            _gate(
                gate_up[row, start * OUTPUTS : end * OUTPUTS],
                gate_up[row, (panels + start) * OUTPUTS : (panels + end) * OUTPUTS],
                out[row, start * OUTPUTS : end * OUTPUTS],
            )
        start = take(counter, chunk)


@compiled
def _gate(gate: Array, up: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] = gate[i] / (np.float32(1) + exp(-gate[i])) * up[i]


@compiled
def _product(
    product: Array, lora: Array, work: Work, depth: int, start: int, end: int, out: Array, in_bytes: int
) -> None:  # fmt: skip
    """Write the outputs of the panels from ``start`` to ``end`` with bias and adapter."""
    n = len(out)
    if in_bytes:
        x, scales = byte_rows(work.quantised, n, depth), group_scales(work.scales, n, depth)
        byte_panels(x, scales, product[0], product[3], product[1], start, end, out)
    else:
        quantised = work.quantised[: n * depth].reshape(n, depth)
        panels_between(quantised, work.scales, product[0], product[1], start, end, out)
    first, last = start * OUTPUTS, end * OUTPUTS
    if product[2] != 0:
        bias = floats(product[2] + first * 4, last - first)
        for row in range(len(out)):
            mine = out[row, first:last]
            for o in range(len(mine)):
                mine[o] += bias[o]
    _add_adapter(lora, work.lora_a, first, last, out)


@compiled
def _lower(row: Array, lora: Array, low: Array) -> None:
    """Write the product of a row with the adapter's ``a`` to ``low``."""
    if lora[0] == 0:
        return
    a = carray(pointer(lora[0]), (lora[1], len(row)), np.float32)
    for j in range(lora[1]):
        total = np.float32(0)
        for i in range(len(row)):
            total += row[i] * a[j, i]
        low[j] = total


@compiled
def _add_adapter(lora: Array, low: Array, start: int, end: int, out: Array) -> None:
    """Add the product of ``low`` with the adapter's ``b`` to the outputs from ``start`` to ``end``."""
    if lora[0] == 0:
        return
    for number in range(lora[2]):
        at = 3 + number * BLOCK
        first, last, left, right = lora[at], lora[at + 1], lora[at + 2], lora[at + 3]
        begin, stop = max(start, first), min(end, last)
        if begin < stop:
            lines, stride = lora[at + 4] + (begin - first) * 4, (last - first) * 4
            for row in range(len(out)):
                _add_block(low[row, left:right], lines, stride, out[row, begin:stop])


@compiled
def _add_block(low: Array, lines: int, stride: int, out: Array) -> None:
    """Add the product of low (rank) and b (rank, outputs) to ``out``; ``lines``: the address of b's first line,
    ``stride`` bytes from one line to the next. Each pass adds four lines."""
    n, rank, j = len(out), len(low), 0
    while j + 4 <= rank:
        place = lines + j * stride
        b, c, d, e = (
            floats(place, n), floats(place + stride, n), floats(place + 2 * stride, n), floats(place + 3 * stride, n)
        )  # fmt: skip
        for i in range(n):
            out[i] += low[j] * b[i] + low[j + 1] * c[i] + low[j + 2] * d[i] + low[j + 3] * e[i]
        j += 4
    while j < rank:
        b = floats(lines + j * stride, n)
        for i in range(n):
            out[i] += low[j] * b[i]
        j += 1
