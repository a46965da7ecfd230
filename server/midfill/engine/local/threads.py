"""How many threads a forward pass gets, depending on what else the machine is doing.

Two threads that share every small product must meet after each. Alone on the machine they wait for each other in a
short loop. If other processes want the cores, the waiting thread burns the time that the other one needs, and a token
takes many times as long (docs/log.md). So the engine measures how much other processes use, and takes only the cores
that they leave: beside a build, one thread, which never waits for others.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch

SAMPLE_S = 0.25
# An older sample says nothing about the present.
STALE_S = 2.0
# If other processes leave less than this of a core, the engine does only what was asked for.
MIN_FREE = 0.75
STAT = Path("/proc/stat")


def n_cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def machine_busy_s() -> float | None:
    """Return the CPU seconds that the whole machine has spent, or None if that cannot be read."""
    try:
        user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, STAT.read_text().split("\n", 1)[0].split()[1:])
    except (OSError, ValueError):
        return None
    return (user + nice + system + irq + softirq) / float(os.sysconf("SC_CLK_TCK"))


class Threads:
    """Sets torch's number of threads before a step. Only the worker's thread uses it."""

    def __init__(
        self, cores: int | None = None, busy_s: Callable[[], float | None] = machine_busy_s,
        own_s: Callable[[], float] = time.process_time, clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._cores = cores or n_cores()
        self._busy_s, self._own_s, self._clock = busy_s, own_s, clock
        self._last: tuple[float, float, float] | None = None
        self._others = 0.0  # cores that other processes used lately
        self.n = 0
        self._set(self._cores)

    def adjust(self) -> None:
        """Measure again, if the last sample is old enough."""
        now = self._clock()
        if self._last is not None and now - self._last[0] < SAMPLE_S:
            return
        busy, own = self._busy_s(), self._own_s()
        if busy is None:
            return
        if self._last is not None:
            elapsed = now - self._last[0]
            others = max(0.0, busy - self._last[1] - (own - self._last[2])) / elapsed
            self._set(self._wanted(others))
            self._others = others if elapsed <= STALE_S else 0.0
        self._last = (now, busy, own)

    @property
    def is_crowded(self) -> bool:
        """Whether other processes leave less than MIN_FREE of a core, as far as is known."""
        is_known = self._last is not None and self._clock() - self._last[0] <= STALE_S
        return is_known and self._cores - self._others < MIN_FREE

    def _wanted(self, others: float) -> int:
        """Return the threads beside processes that use ``others`` cores; more only when it is clearly
        quieter, as changes cost time."""
        slack = 0.35 if self.n < self._cores else 0.55
        return max(1, min(self._cores, self._cores - int(others + 1 - slack)))

    def _set(self, n: int) -> None:
        if n != self.n:
            self.n = n
            torch.set_num_threads(n)
