"""How a person types: which keys, and how long after one another."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence

GAP_S, GAP_SPREAD = 0.15, 0.4  # log-normal
PAUSE_S, PAUSE_SPREAD = 1.0, 0.5
PAUSES = {"\n": 0.3, "(": 0.1}  # how often a key is followed by thinking; other keys:
PAUSE_ELSEWHERE = 0.03


def keys_of(text: str) -> list[str]:
    """The keystrokes that write ``text``: editors indent a new line by themselves."""
    return re.findall(r"\n[\n\t ]*|.", text)


def gaps(keys: Sequence[str], rng: random.Random) -> list[float]:
    """Seconds after each key: quick and uneven, now and then a pause to think."""
    found = []
    for key in keys:
        gap = rng.lognormvariate(math.log(GAP_S), GAP_SPREAD)
        if rng.random() < PAUSES.get(key[0], PAUSE_ELSEWHERE):
            gap += rng.lognormvariate(math.log(PAUSE_S), PAUSE_SPREAD)
        found.append(gap)
    return found


def added(before: str, now: str) -> str:
    """What ``now`` says that ``before`` did not: all behind the beginning they share."""
    n_shared = next(
        (i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b), min(len(before), len(now))
    )
    return now[n_shared:]
