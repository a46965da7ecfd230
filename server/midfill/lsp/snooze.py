"""A pause of some minutes in which nothing comes by itself."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from midfill.types import Refusal

MAX_SNOOZE_S = 7 * 86400.0


class Timer(Protocol):
    """What calling later gives."""

    def cancel(self) -> None: ...  # noqa: D102


class Snooze:
    """A pause in which nothing comes by itself. By the clock on the wall: it ends though a laptop sleeps."""

    def __init__(
        self,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        """``changed`` is called when it begins and when it ends; ``clock`` in seconds."""
        self._changed, self._clock = changed, clock
        self._call_later = call_later or (lambda after_s, call: asyncio.get_running_loop().call_later(after_s, call))
        self._until = 0.0
        self._timer: Timer | None = None

    @property
    def left_s(self) -> int:
        """Whole seconds until its end, the last one begun counted; 0 when there is none."""
        return max(0, math.ceil(self._until - self._clock()))

    def start(self, minutes: float) -> None:
        """Begin one that lasts ``minutes`` from now, whatever ran before; 0 ends it."""
        self.stop()
        seconds = min(minutes * 60, MAX_SNOOZE_S)
        self._until = self._clock() + seconds if seconds else 0.0
        self._look()

    def stop(self) -> None:
        """Forget the timer; the session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._call_later(self.left_s, self._look) if self.left_s else None
        self._changed()

    @property
    def refusal(self) -> Refusal | None:
        """Why nothing comes by itself, if it is for this."""
        if not (left_s := self.left_s):
            return None
        n, unit = (left_s, "second") if left_s < 60 else (math.ceil(left_s / 60), "minute")
        left = f"{n} {unit}{'s' if n > 1 else ''}"
        return Refusal("snoozed", f"automatic suggestions are snoozed for another {left}; ask by hand and they come")
