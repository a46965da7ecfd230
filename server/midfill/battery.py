"""Whether to save power: asked for at every key, so the system is asked in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from midfill import power

EVERY_S = 20.0  # a plug is seen so soon


class Battery:
    """The last thing that is known of the power: a battery's controller may take its time to answer."""

    def __init__(
        self,
        charge: Callable[[], float | None] = power.charge,
        clock: Callable[[], float] = time.monotonic,
        *,
        wait: bool = False,
    ) -> None:
        """``charge``: what is left of the battery that is being used, None on mains; ``wait`` for it, for tests."""
        self._charge, self._clock, self._wait = charge, clock, wait
        self._asked_at = float("-inf")
        self._known = False

    @property
    def in_use(self) -> bool:
        """Whether the machine runs on it, as of EVERY_S seconds ago at most where that is asked all the time."""
        now = self._clock()
        if now - self._asked_at >= EVERY_S:
            self._asked_at = now
            if self._wait:
                self._ask()
            else:
                threading.Thread(target=self._ask, name="midfill-battery", daemon=True).start()
        return self._known

    def _ask(self) -> None:
        self._known = self._charge() is not None


BATTERY = Battery()  # this machine's
