"""A pause of some minutes without automatic suggestions."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from typing import Protocol

from midfill.types import Refusal

MAX_SNOOZE_S = 7 * 86400.0


class Timer(Protocol):
    """What calling later returns."""

    def cancel(self) -> None: ...  # noqa: D102


class Snooze:
    """A pause without automatic suggestions. It uses the wall clock, so it ends even if the laptop sleeps."""

    def __init__(
        self,
        changed: Callable[[], None],
        clock: Callable[[], float] = time.time,
        call_later: Callable[[float, Callable[[], None]], Timer] | None = None,
    ) -> None:
        """``changed`` is called when the pause begins and when it ends; ``clock`` is in seconds."""
        self._changed, self._clock = changed, clock
        self._call_later = call_later or (lambda after_s, call: asyncio.get_running_loop().call_later(after_s, call))
        self._until = 0.0
        self._timer: Timer | None = None

    @property
    def left_s(self) -> int:
        """Seconds until its end, rounded up; 0 without a pause."""
        return max(0, math.ceil(self._until - self._clock()))

    def start(self, minutes: float) -> None:
        """Start a pause of ``minutes`` from now, in place of any other; 0 ends it."""
        self.stop()
        seconds = min(minutes * 60, MAX_SNOOZE_S)
        self._until = self._clock() + seconds if seconds else 0.0
        self._look()

    def stop(self) -> None:
        """Forget the timer, because the session ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _look(self) -> None:
        self._timer = self._call_later(self.left_s, self._look) if self.left_s else None
        self._changed()

    @property
    def refusal(self) -> Refusal | None:
        """The refusal of automatic suggestions while the pause lasts."""
        if not (left_s := self.left_s):
            return None
        n, unit = (left_s, "second") if left_s < 60 else (math.ceil(left_s / 60), "minute")
        left = f"{n} {unit}{'s' if n > 1 else ''}"
        return Refusal(
            "snoozed", f"automatic suggestions are snoozed for another {left}; you can still trigger one manually"
        )
