"""Python's garbage collector while a process starts.

What imports create stays to the end. A full collection would look at all of it, again and again: 63,000 objects in a
language server, 200,000 in an engine, where that holds up a step for 0.1 s.
"""

from __future__ import annotations

import gc

SELDOM = 1000  # instead of 10, in `gc.set_threshold`: only young objects are collected
_usual = gc.get_threshold()


def defer() -> None:
    """Make no full collections until ``settle``. (Without any, a language server's imports leave 10 MB of garbage.)"""
    young, middle, _ = _usual
    gc.set_threshold(young, middle, SELDOM)


def is_deferred() -> bool:
    """Whether ``defer`` is in effect."""
    return gc.get_threshold()[2] == SELDOM


def settle() -> None:
    """Collect as usual from now on, but never look at what is there by now."""
    gc.freeze()
    gc.set_threshold(*_usual)
