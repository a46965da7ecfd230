"""Training gives way to whatever else the machine does."""

from __future__ import annotations

import contextlib
import os

LEAST_NICE = 19


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
