"""How threads divide the work of a phase, and wait for each other between two phases.

Counters are int64, LINE apart: a counter that two threads add to moves from core to core with its whole cache line.
"""

from __future__ import annotations

from midfill.engine.local.forward.compiled.compiled import compiled
from midfill.engine.local.forward.compiled.intrinsics import fetch_add, load, pause, yield_core

LINE = 8  # int64 of a cache line
SPINS = 500  # loops before a waiting thread lets others run


@compiled
def take(counter: int, n: int) -> int:
    """Take the next ``n`` pieces of the work; return the number of the first."""
    first: int = fetch_add(counter, 1) * n
    return first


@compiled
def meet(counter: int, target: int) -> None:
    """Wait until ``target`` threads were here, counted since the step's start."""
    fetch_add(counter, 1)
    spins = 0
    while load(counter) < target:
        spins += 1
        if spins < SPINS:
            pause()
        else:
            yield_core()


@compiled
def wait(barrier: int, met: int, threads: int) -> int:
    """Wait for all threads; return how many have met so far."""
    if threads > 1:
        meet(barrier, met + threads)
    return met + threads
