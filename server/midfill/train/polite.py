"""Training gives way: to everything else on the machine on a CPU, and on a GPU to the engine while it generates."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable

LEAST_NICE = 19
LOOK_S = 0.02
MAX_WAIT_S = 5.0  # a machine that never rests still gets its adapter


def lower_priority() -> str:
    """Take only processor time that nobody else wants; what was done, for people.

    Linux has a scheduling class for it; elsewhere the lowest priority has to do.
    """
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        return "idle class"
    with contextlib.suppress(OSError, AttributeError):
        os.nice(LEAST_NICE)
        return f"nice {LEAST_NICE}"
    return "normal priority"


def wait_while(is_busy: Callable[[], bool]) -> float:
    """Wait until the engine rests, at most MAX_WAIT_S; seconds waited."""
    start = time.monotonic()
    while is_busy() and time.monotonic() - start < MAX_WAIT_S:
        time.sleep(LOOK_S)
    return time.monotonic() - start
