"""What the machine computes beside the contender whose turn it is.

A busy machine does not slow all contenders alike: threads that wait for each other by spinning suffer most. So a turn
begins when the other contenders are idle, and the run reports how much of the machine other programs took.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

# All contenders are idle if they have computed this little for this long, which is longer than our idle engine waits
# before it reads a shifted suffix again.
CALM_S, CALM_CPU_S = 0.7, 0.04
BUSY = 0.1  # if other programs use a larger part of the machine, the ratios are doubtful


async def until_quiet(pids: Sequence[int], limit_s: float = 10.0) -> None:
    """Wait until none of the processes computes: background work of one contender must not slow the next one's turn."""
    deadline = time.monotonic() + limit_s
    before = cpu_s(pids)
    while time.monotonic() < deadline:
        await asyncio.sleep(CALM_S)
        now = cpu_s(pids)
        if now - before <= CALM_CPU_S:
            return
        before = now


class Strangers:
    """What other programs compute in all turns together; nothing if the system does not report it."""

    def __init__(self) -> None:
        self._busy_s = self._elapsed_s = 0.0

    @contextlib.contextmanager
    def watched(self, pids: Sequence[int]) -> Iterator[None]:
        """Watch a turn in which ``pids`` and this process may compute."""
        start, before = time.monotonic(), _machine_cpu_s() - _known_cpu_s(pids)
        yield
        self._busy_s += max(0.0, _machine_cpu_s() - _known_cpu_s(pids) - before)
        self._elapsed_s += time.monotonic() - start

    def share(self) -> float | None:
        """The part of the machine that they took."""
        if not self._elapsed_s or not _machine_cpu_s():
            return None
        return self._busy_s / self._elapsed_s / (os.cpu_count() or 1)


def _known_cpu_s(pids: Sequence[int]) -> float:
    return cpu_s(pids) + time.process_time()


def _machine_cpu_s() -> float:
    """Return the seconds that all cores have computed (Linux), otherwise 0."""
    try:
        fields = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:]
    except OSError:
        return 0.0
    user, nice, system, _idle, _iowait, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / _ticks()


def cpu_s(pids: Sequence[int]) -> float:
    """Return the seconds that the processes have computed since they started, if the system reports them (Linux),
    otherwise 0."""
    return sum(_each_cpu_s(pids))


def _each_cpu_s(pids: Sequence[int]) -> Iterator[float]:
    for pid in pids:
        with contextlib.suppress(OSError, ValueError, IndexError):
            fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
            yield (int(fields[11]) + int(fields[12])) / _ticks()


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")
