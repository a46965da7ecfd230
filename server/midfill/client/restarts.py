"""How often an engine stopped, and how long to wait before the next start."""

from __future__ import annotations

import time
from collections.abc import Callable

STEADY_S = 60.0  # seconds; after an engine was ready for this long, earlier failures are forgotten
BACKOFF_S = (0.2, 1.0, 2.0, 5.0, 15.0, 30.0, 60.0)
MAX_FAILURES = 8  # failures in a row; then the next start waits for the user


class Restarts:
    """The memory of one language server. Times are monotonic seconds."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready_at: float | None = None
        self.n_failures = 0

    def ready(self) -> None:
        """The engine answers."""
        if self._ready_at is None:
            self._ready_at = self._clock()

    def lost(self) -> None:
        """The engine stopped, or did not become ready."""
        if self._ready_at is not None and self._clock() - self._ready_at >= STEADY_S:
            self.n_failures = 0
        self._ready_at = None
        self.n_failures += 1

    @property
    def wait_s(self) -> float:
        """Seconds before the next start."""
        return BACKOFF_S[min(max(0, self.n_failures - 1), len(BACKOFF_S) - 1)]

    @property
    def is_over(self) -> bool:
        """Whether engines are no longer started automatically."""
        return self.n_failures >= MAX_FAILURES

    def once_more(self) -> None:
        """The user asked: one more failure, and it is over again."""
        self.n_failures = min(self.n_failures, MAX_FAILURES - 1)
