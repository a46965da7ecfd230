"""Which products prompts use on this CPU: measured once, then kept beside the machine code.

``vpdpbusd`` on bytes does twice the work of the 16-bit product on the CPU that was measured (docs/log.md).
On others the clock decides.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path

import llvmlite.binding
import numba
import numpy as np

from midfill.engine.local.forward.compiled import byte_products, products
from midfill.engine.local.forward.compiled.byte_tiles import GROUP, PANELS, has_vnni
from midfill.engine.local.forward.compiled.compiled import Array
from midfill.engine.local.forward.compiled.sharing import LINE
from midfill.engine.local.forward.compiled.team import n_threads, team
from midfill.engine.local.forward.compiled.tiles import DEPTH, OUTPUTS

log = logging.getLogger(__name__)
FILE = "prompt-products.json"
ROWS, SHAPE = 96, (1024, 896)  # of the product that is measured
TURNS = 5
WORTH = 0.9  # of the time with 16 bits: bytes cost a little quality
# The thread's own time, as others may use the core meanwhile; Windows counts it in steps of 16 ms.
CLOCK = time.perf_counter if sys.platform == "win32" else time.thread_time
WRONG = 0.02  # relative error of a product that quantising cannot explain


def takes_bytes(packed: Array) -> bool:
    """Whether a weight's panels fill the groups and tiles of ``byte_products``."""
    panels, blocks = packed.shape[:2]
    return bool(panels % PANELS == 0 and blocks * DEPTH % GROUP == 0)


def offsets_for(packed: Array) -> Array:
    """Return the ``byte_products.offsets_of`` a weight in panels."""
    offsets = np.empty((len(packed), packed.shape[1] * DEPTH // GROUP, OUTPUTS), np.int32)
    threads = n_threads()
    team.run(byte_products.offsets_of, threads, packed, offsets, threads=threads)
    return offsets


def bytes_are_faster() -> bool:
    """Whether prompts use activations of bytes on this CPU."""
    if not has_vnni():
        return False
    file, cpu = Path(numba.config.CACHE_DIR) / FILE, llvmlite.binding.get_host_cpu_name()
    try:
        kept = json.loads(file.read_text(encoding="utf-8"))
        if kept["cpu"] == cpu:
            return bool(kept["bytes"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    ratio = measure()
    chosen = ratio < WORTH
    log.info("prompts: bytes take %.2f times as long as 16 bits on %s", ratio, cpu)
    try:
        beside = file.with_suffix(f".{os.getpid()}")
        beside.write_text(json.dumps({"cpu": cpu, "bytes": chosen, "ratio": round(ratio, 3)}), encoding="utf-8")
        beside.replace(file)
    except OSError as error:
        log.warning("what was measured is not kept: %s", error.strerror)
    return chosen


def measure() -> float:
    """Return the time of a product with bytes divided by that of one with 16 bits; infinite if its result is wrong."""
    chance = np.random.default_rng(1)
    weight = chance.integers(-127, 128, SHAPE, dtype=np.int8)
    rows, scale = chance.standard_normal((ROWS, SHAPE[1]), np.float32), np.ones(SHAPE[0], np.float32)
    packed = np.empty((SHAPE[0] // OUTPUTS, SHAPE[1] // DEPTH, OUTPUTS, DEPTH), np.int8)
    products.pack(0, 1, weight, packed)
    offsets, out = offsets_for(packed), np.empty((ROWS, SHAPE[0]), np.float32)
    x, row_scales = np.empty((ROWS, SHAPE[1]), np.int16), np.empty(ROWS * (SHAPE[1] // GROUP), np.float32)
    given, levels = np.ones(ROWS, np.float32), products.levels_of(SHAPE[1])

    def wide() -> None:
        counters = np.zeros((2, LINE), np.int64)
        products.multiply(0, 1, rows, given, levels, packed, scale, x, row_scales, out, counters)

    def narrow() -> None:
        byte_products.multiply(rows, packed, offsets, scale, x.reshape(-1), row_scales, out)

    narrow()
    expected = rows @ weight.T.astype(np.float32)
    if not np.linalg.norm(out - expected) < WRONG * np.linalg.norm(expected):
        return float("inf")
    taken: dict[Callable[[], None], float] = {wide: float("inf"), narrow: float("inf")}
    wide()
    for _ in range(TURNS):
        for product in taken:
            start = CLOCK()
            product()
            taken[product] = min(taken[product], CLOCK() - start)
    return taken[narrow] / taken[wide]
