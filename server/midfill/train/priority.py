"""Training gives way to whatever else the machine does."""

from __future__ import annotations

import contextlib
import os

LOWEST_NICE = 19


def lower_priority() -> str:
    """Take runs at idle priority; what was done, for people.

    Linux has a scheduling class for it; elsewhere the lowest priority has to do. Either way its time counts as that of
    a nice process, by which idleness.py tells it from work.
    """
    done = "normal priority"
    with contextlib.suppress(OSError, AttributeError):
        os.nice(LOWEST_NICE)
        done = f"nice {LOWEST_NICE}"
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        done = "idle class"
    return done
