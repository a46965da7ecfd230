"""Whether to save power. midfill needs this at every key, so a thread asks the system in the background."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from midfill import power

EVERY_S = 20.0  # seconds between two looks, and until a plug is noticed


class Battery:
    """The last known state of the power supply: a battery's controller may be slow to answer."""

    def __init__(
        self,
        charge: Callable[[], float | None] = power.charge,
        clock: Callable[[], float] = time.monotonic,
        *,
        wait: bool = False,
    ) -> None:
        """``charge`` returns what is left of the battery in use, None on mains power; ``wait`` for it, for tests."""
        self._charge, self._clock, self._wait = charge, clock, wait
        self._asked_at = float("-inf")
        self._known = False

    @property
    def in_use(self) -> bool:
        """Whether the machine runs on its battery, as of at most EVERY_S seconds ago if asked all the time."""
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


BATTERY = Battery()  # the battery of this machine
