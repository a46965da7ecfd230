"""Training gives way to all other work of the machine."""

from __future__ import annotations

import contextlib
import os

LOWEST_NICE = 19


def lower_priority() -> str:
    """Run from now on at idle priority; return what was done, in words for the user.

    Linux has a scheduling class for it; elsewhere the lowest priority has to do. In both cases its time counts as that
    of a nice process, so idleness.py can tell it from the user's work.
    """
    done = "normal priority"
    with contextlib.suppress(OSError, AttributeError):
        os.nice(LOWEST_NICE)
        done = f"nice {LOWEST_NICE}"
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
        done = "idle class"
    return done
