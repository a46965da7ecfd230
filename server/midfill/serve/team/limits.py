"""What one person may ask: a number of requests per minute, and a number at once. The scheduler decides the order."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field

PER_MINUTE = 240  # a fast typist sends about 100
AT_ONCE = 8  # a window has at most two: what is shown, and what comes after it
BURST_S = 15.0  # seconds of the rate that may come at once
MAX_USERS = 10_000


class TooMany(Exception):  # noqa: N818 - named after the status
    """Too many requests; the client may ask again in ``wait_s`` seconds."""

    def __init__(self, wait_s: float) -> None:
        super().__init__(f"ask again in {math.ceil(wait_s)} s")
        self.wait_s = wait_s


@dataclass(slots=True)
class _Share:
    tokens: float
    at: float
    n_running: int = 0


@dataclass(slots=True)
class RateLimiter:
    """Shares by person, each a bucket that fills with time."""

    per_minute: float = PER_MINUTE
    at_once: int = AT_ONCE
    clock: Callable[[], float] = time.monotonic
    _shares: dict[str, _Share] = field(default_factory=dict)

    def begin(self, user: str) -> Callable[[], None]:
        """Count a request of ``user`` as running until the returned function is called. Raises TooMany."""
        share = self._of(user)
        if share.n_running >= self.at_once:
            raise TooMany(1.0)
        if share.tokens < 1:
            raise TooMany((1 - share.tokens) * 60 / self.per_minute)
        share.tokens -= 1
        share.n_running += 1

        def end() -> None:
            share.n_running -= 1

        return end

    def _of(self, user: str) -> _Share:
        now, most = self.clock(), max(1.0, self.per_minute * BURST_S / 60)
        share = self._shares.get(user)
        if share is None:
            if len(self._shares) >= MAX_USERS:
                self._shares = {name: one for name, one in self._shares.items() if one.n_running}
            share = self._shares[user] = _Share(most, now)
        share.tokens = min(most, share.tokens + (now - share.at) * self.per_minute / 60)
        share.at = now
        return share
