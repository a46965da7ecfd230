"""The forward pass of a plain decoder, compiled.

Every thread runs the same function; what a phase has to do is shared out by a counter, so a thread that the system held
up keeps nobody waiting for more than the piece it took.

A row's numbers depend neither on the rows beside it nor on who computed them, so a token is the same bit for bit
whether it was drafted or decoded (test).

A model's weights are reached by their addresses in int64 tables: numba would take longer to unpack some hundred arrays
than a layer takes. What an address points to is held by ``step.NativeStep``.
"""

from __future__ import annotations

import numpy as np
from numba import carray

from midfill.engine.local.native.attention import attend_block, write_keys
from midfill.engine.local.native.compiled import Array, compiled, exp, floats
from midfill.engine.local.native.intrinsics import address_of, pointer
from midfill.engine.local.native.products import chunk_of, panels_between, quantise_row, steps_of
from midfill.engine.local.native.sharing import LINE, take, wait
from midfill.engine.local.native.tiles import OUTPUTS
from midfill.engine.local.native.work import Shape, Work

# The products of a layer. Each has three addresses: of weights, scales and biases (0: none).
QKV, OUTPUT, GATE_UP, DOWN = range(4)
N_PRODUCTS = 4
# An adapter's part of a product: where ``a`` (low, in) is, how many rows it has, how many blocks follow; a block: its
# first output, its last, its first low row, its last, where ``b`` (outputs, low) is.
MAX_BLOCKS, BLOCK = 3, 5
N_LORA = 3 + MAX_BLOCKS * BLOCK
QUERIES = 24  # that are attended together


@compiled
def step(
    thread: int, shape: Shape, scale: float, eps: float, products: Array, norms: Array, lora: Array, slots: Array,
    first: int, last: int, work: Work,
) -> None:  # fmt: skip
    """The layers from ``first`` to ``last`` over the rows ``work.x``, which they change; after all of them the head.

    ``products``: (layers + 1, N_PRODUCTS, 3) addresses, the head's in the last row's first; ``norms``: (layers + 1, 2),
    those of their weights, and of the one before the head; ``lora``: (layers + 1, N_PRODUCTS, N_LORA); ``slots``:
    (layers, slots, 3), where keys and values begin and how far their heads are apart.
    """
    x, n, threads = work.x, len(work.x), shape.threads
    rows = max(1, QUERIES * shape.kv_heads // shape.heads)
    units = (n + rows - 1) // rows * shape.kv_heads
    barrier, met = address_of(work.counters), 0
    counter = barrier
    for number in range(first, last):
        layer, its = products[number], lora[number]
        _norm_rows(thread, threads, x, floats(norms[number, 0], shape.hidden), eps, work.normed)
        rounded = _round_rows(thread, threads, work.normed, its[QKV], work)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project(layer[QKV], its[QKV], rounded, work.qkv, work, counter, threads)
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

        rounded = _round_rows(thread, threads, work.seen, its[OUTPUT], work)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_onto(layer[OUTPUT], its[OUTPUT], rounded, x, work, counter, threads)
        met = wait(barrier, met, threads)

        _norm_rows(thread, threads, x, floats(norms[number, 1], shape.hidden), eps, work.normed)
        rounded = _round_rows(thread, threads, work.normed, its[GATE_UP], work)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_gated(layer[GATE_UP], its[GATE_UP], rounded, work, counter, threads)
        met = wait(barrier, met, threads)

        rounded = _round_rows(thread, threads, work.inner, its[DOWN], work)
        met = wait(barrier, met, threads)
        counter += LINE * 8
        _project_onto(layer[DOWN], its[DOWN], rounded, x, work, counter, threads)
        met = wait(barrier, met, threads)
    if last == shape.layers and len(work.kept):
        kept, weight = work.normed[: len(work.kept)], floats(norms[last, 0], shape.hidden)
        for row in range(thread, len(kept), threads):
            _norm(x[work.kept[row]], weight, eps, kept[row])
        rounded = _round_rows(thread, threads, kept, lora[last, 0], work)
        met = wait(barrier, met, threads)
        _project(products[last, 0], lora[last, 0], rounded, work.logits, work, counter + LINE * 8, threads)
        wait(barrier, met, threads)


@compiled
def _norm_rows(thread: int, threads: int, x: Array, weight: Array, eps: float, out: Array) -> None:
    """Root mean square norm (Zhang and Sennrich 2019, arXiv:1910.07467) of this thread's part of the rows."""
    for row in range(thread, len(x), threads):
        _norm(x[row], weight, eps, out[row])


@compiled
def _norm(x: Array, weight: Array, eps: float, out: Array) -> None:
    """Root mean square norm of a row."""
    total = np.float32(0)
    for i in range(len(x)):
        total += x[i] * x[i]
    factor = np.float32(1) / np.sqrt(total / np.float32(len(x)) + np.float32(eps))
    for i in range(len(x)):
        out[i] = x[i] * factor * weight[i]


@compiled
def _round_rows(thread: int, threads: int, rows: Array, lora: Array, work: Work) -> Array:
    """Round this thread's part of ``rows`` (n, depth) for the next product; all rounded rows, once the others are done.

    What an adapter makes of them is left in ``work.low``.
    """
    n, depth = rows.shape
    rounded = work.rounded[: n * depth].reshape(n, depth)
    steps = steps_of(depth)
    for row in range(thread, n, threads):
        work.factors[row] = quantise_row(rows[row], rounded[row], steps)
        _lower(rows[row], lora, work.low[row])
    return rounded


@compiled
def _project(product: Array, lora: Array, rounded: Array, out: Array, work: Work, counter: int, threads: int) -> None:
    """``out`` = the product of the ``rounded`` rows, shared out."""
    panels = out.shape[1] // OUTPUTS
    chunk = chunk_of(panels, rounded.shape[1], threads)
    start = take(counter, chunk)
    while start < panels:
        _product(product, lora, work, rounded, start, min(panels, start + chunk), out)
        start = take(counter, chunk)


@compiled
def _project_onto(
    product: Array, lora: Array, rounded: Array, x: Array, work: Work, counter: int, threads: int
) -> None:
    """Add the product of the ``rounded`` rows to ``x``."""
    panels = x.shape[1] // OUTPUTS
    chunk = chunk_of(panels, rounded.shape[1], threads)
    start = take(counter, chunk)
    while start < panels:
        end = min(panels, start + chunk)
        _product(product, lora, work, rounded, start, end, work.normed)  # which nobody reads now
        for row in range(len(x)):
            target, added = x[row, start * OUTPUTS : end * OUTPUTS], work.normed[row, start * OUTPUTS : end * OUTPUTS]
            for i in range(len(target)):
                target[i] += added[i]
        start = take(counter, chunk)


@compiled
def _project_gated(product: Array, lora: Array, rounded: Array, work: Work, counter: int, threads: int) -> None:
    """``work.inner`` = SiLU of the gate's outputs times the others."""
    out, both = work.inner, work.both
    panels = out.shape[1] // OUTPUTS
    chunk = chunk_of(panels, 2 * rounded.shape[1], threads)
    start = take(counter, chunk)
    while start < panels:
        end = min(panels, start + chunk)
        _product(product, lora, work, rounded, start, end, both)
        _product(product, lora, work, rounded, panels + start, panels + end, both)
        for row in range(len(out)):
            _gate(
                both[row, start * OUTPUTS : end * OUTPUTS],
                both[row, (panels + start) * OUTPUTS : (panels + end) * OUTPUTS],
                out[row, start * OUTPUTS : end * OUTPUTS],
            )
        start = take(counter, chunk)


@compiled
def _gate(gate: Array, up: Array, out: Array) -> None:
    for i in range(len(out)):
        out[i] = gate[i] / (np.float32(1) + exp(-gate[i])) * up[i]


@compiled
def _product(product: Array, lora: Array, work: Work, x: Array, start: int, end: int, out: Array) -> None:
    """The outputs of the panels from ``start`` to ``end`` with bias and adapter."""
    panels_between(x, work.factors, product[0], product[1], start, end, out)
    first, last = start * OUTPUTS, end * OUTPUTS
    if product[2] != 0:
        bias = floats(product[2] + first * 4, last - first)
        for row in range(len(out)):
            mine = out[row, first:last]
            for o in range(len(mine)):
                mine[o] += bias[o]
    _add_adapter(lora, work.low, first, last, out)


@compiled
def _lower(row: Array, lora: Array, low: Array) -> None:
    """What the adapter's ``a`` makes of a row."""
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
    """Add what the adapter's ``b`` makes of ``low`` to the outputs from ``start`` to ``end``."""
    if lora[0] == 0:
        return
    for number in range(lora[2]):
        at = 3 + number * BLOCK
        first, last, left, right = lora[at], lora[at + 1], lora[at + 2], lora[at + 3]
        rank = right - left
        b = carray(pointer(lora[at + 4]), (last - first, rank), np.float32)
        for row in range(len(out)):
            for o in range(max(start, first), min(end, last)):
                total = np.float32(0)
                for j in range(rank):
                    total += low[row, left + j] * b[o - first, j]
                out[row, o] += total
