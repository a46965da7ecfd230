"""How a person types: which keys, and with which gaps between them."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Sequence

GAP_S, GAP_SPREAD = 0.15, 0.4  # log-normal
PAUSE_S, PAUSE_SPREAD = 1.0, 0.5
PAUSES = {"\n": 0.3, "(": 0.1}  # how often a pause to think follows a key; other keys:
PAUSE_ELSEWHERE = 0.03


def keys_of(text: str) -> list[str]:
    """Return the keystrokes that write ``text``: editors indent a new line by themselves."""
    return re.findall(r"\n[\n\t ]*|.", text)


def gaps(keys: Sequence[str], rng: random.Random) -> list[float]:
    """Return the seconds after each key: quick and uneven, now and then a pause to think."""
    found = []
    for key in keys:
        gap = rng.lognormvariate(math.log(GAP_S), GAP_SPREAD)
        if rng.random() < PAUSES.get(key[0], PAUSE_ELSEWHERE):
            gap += rng.lognormvariate(math.log(PAUSE_S), PAUSE_SPREAD)
        found.append(gap)
    return found


def n_shared(a: str, b: str) -> int:
    """Return how many characters both texts share at their beginning."""
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
