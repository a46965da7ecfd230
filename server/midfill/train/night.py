"""One night of training while the user is away: when it starts, when it gives way, when its time is used up.

Time is that of the monotonic clock, added up from look to look, and no look adds more than a little: a clock that is
set, or a machine that sleeps, adds nothing to the budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

LOOK_S = 0.3  # between two looks while it trains; with STOP_S, training is gone within a second
WAIT_LOOK_S = 5.0  # between two looks while it waits
STOP_S = 0.5  # time that training gets to save its state before it is ended
GAP_S = 30.0  # if a look comes later than this, the machine slept


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits in seconds: training in a night, idleness before it begins, total waiting while the machine runs."""

    budget_s: float = 3600.0
    quiet_s: float = 300.0
    patience_s: float = 12 * 3600.0


class Training(Protocol):
    """The training that a night starts and stops."""

    def start(self) -> bool:
        """Begin, or resume where it was stopped; return False if another training runs."""

    def status(self) -> int | None:
        """Return its exit status once it has ended by itself, else None."""

    def stop(self) -> int | None:
        """End it now; it resumes from its checkpoint at the next start. Return its exit status
        if it had finished, else None."""


@dataclass(frozen=True, slots=True)
class NightOutcome:
    """How the night ended. ``status``: the exit status of the training if it finished."""

    why: Literal["done", "budget", "patience"]
    status: int | None
    trained_s: float
    n_stops: int  # how often it gave way


def spend(
    training: Training, reason: Callable[[], str], limits: Limits, *, clock: Callable[[], float],
    sleep: Callable[[float], None], say: Callable[[str], None] = lambda line: None,
) -> NightOutcome:  # fmt: skip
    """Wait for idleness, train, give way, resume. ``reason`` returns why training has to wait, "" if it need not.

    When this returns or raises, no training runs any more.
    """
    trained_s = waited_s = 0.0
    quiet_from: float | None = None  # a value of waited_s
    n_stops, runs, last, said = 0, False, clock(), ""
    try:
        while trained_s < limits.budget_s and waited_s < limits.patience_s:
            now = clock()
            passed, last = now - last, now
            slept, passed = passed > GAP_S, min(max(0.0, passed), GAP_S)
            waited_s += passed
            trained_s += passed if runs and not slept else 0.0
            why = reason() or ("the machine slept" if slept else "")
            if runs and (status := training.status()) is not None:
                runs = False
                return NightOutcome("done", status, trained_s, n_stops)
            if why != said:
                said = why
                say(why or "idle")
            if why:
                quiet_from = None
                if runs:
                    runs, n_stops, status = False, n_stops + 1, training.stop()
                    if status is not None:
                        return NightOutcome("done", status, trained_s, n_stops)
            elif not runs:
                quiet_from = waited_s if quiet_from is None else quiet_from
                runs = waited_s - quiet_from >= limits.quiet_s and training.start()
            sleep(LOOK_S if runs else WAIT_LOOK_S)
        return NightOutcome("budget" if trained_s >= limits.budget_s else "patience", None, trained_s, n_stops)
    finally:
        if runs:
            training.stop()
