"""How far the start of an engine is: one fraction over all its stages, and the seconds that are left.

A start has stages that take very different times, and some of them happen only once on a machine. Each stage counts
with the seconds it took last time, or takes on a small machine, so the fraction follows time and not the number of
stages. It never falls, and is 1 only at the end.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from midfill import paths

# In their order: seconds on two cores with the embedded model, and whether the stage happens only once.
_STAGES: tuple[tuple[str, float, bool], ...] = (
    ("", 2.0, False),  # the process starts
    ("starting", 3.0, False),
    ("fetching", 60.0, True),
    ("assembling", 2.0, True),
    ("reading", 1.0, True),
    ("converting", 8.0, True),
    ("writing", 2.0, True),
    ("quantising", 3.0, True),
    ("writing the tokenizer", 0.5, True),
    ("checking what was prepared", 3.0, True),
    ("building the model", 1.0, False),
    ("loading", 1.5, False),
    ("compiling", 20.0, True),
    ("checking", 1.0, False),
    ("loading the adapter", 1.0, False),
    ("connecting", 1.0, False),
)
# The stages of every start; the others prepare a model that is new on this machine.
EVERY_TIME = tuple(stage for stage, _, is_once in _STAGES if not is_once)
_ORDER = {stage: n for n, (stage, _, _) in enumerate(_STAGES)}
UNKNOWN_S = 2.0  # seconds of a stage that is in no table
MIN_S = 0.05
ALMOST = 0.99  # shown at most before the end
# A stage without reports is assumed to cover this part of the rest in its usual time.
NEARER = 0.85
MAX_BYTES = 16 << 10


class StartProgress:
    """Follows one start. ``took``: seconds of each stage at the last start, {} if there was none."""

    def __init__(self, took: Mapping[str, float] | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        self._took, self._clock = dict(took or {}), clock
        self._seconds: dict[str, float] = {}  # of the stages so far, the current one last
        self._stage, self._since, self._told = "", clock(), 0.0
        self._fraction = 0.0
        self._is_over = False

    def report(self, stage: str, fraction: float | None = None) -> None:
        """``stage`` has come this far: 0 to 1, None if it does not say."""
        name = _known(stage)
        if name != self._stage:
            self._leave()
            self._stage, self._since, self._told = name, self._clock(), 0.0
        if fraction is not None and fraction == fraction:  # no NaN
            self._told = max(self._told, min(1.0, fraction))

    def done(self) -> dict[str, float]:
        """The engine is ready. Returns the seconds that each stage took, for the next start."""
        self._leave()
        self._fraction, self._is_over = 1.0, True
        return {**self._took, **{stage: round(seconds, 3) for stage, seconds in self._seconds.items()}}

    @property
    def fraction(self) -> float:
        """How far the whole start is; 1 only when it is over."""
        if not self._is_over:
            done, left = self._seconds_done_and_left()
            self._fraction = max(self._fraction, min(ALMOST, done / (done + left)))
        return self._fraction

    @property
    def left_s(self) -> float:
        """The seconds that are left, as far as known."""
        return 0.0 if self._is_over else self._seconds_done_and_left()[1]

    def _leave(self) -> None:
        spent = self._clock() - self._since
        self._seconds[self._stage] = self._seconds.get(self._stage, 0.0) + spent

    def _seconds_done_and_left(self) -> tuple[float, float]:
        present = self._expected(self._stage)
        elapsed = max(0.0, self._clock() - self._since)
        part = self._told or 1 - (1 - NEARER) ** (elapsed / present)
        at = _ORDER.get(self._stage, -1)
        later = [stage for stage, n in _ORDER.items() if n > max(at, self._furthest())]
        done = sum(self._expected(stage) for stage in self._seconds if stage != self._stage)
        return done + part * present, (1 - part) * present + sum(self._to_come(stage) for stage in later)

    def _furthest(self) -> int:
        return max((_ORDER.get(stage, -1) for stage in self._seconds), default=-1)

    def _expected(self, stage: str) -> float:
        """Return the expected seconds of a stage that has begun."""
        usual = _STAGES[_ORDER[stage]][1] if stage in _ORDER else UNKNOWN_S
        return max(MIN_S, self._took.get(stage, usual))

    def _to_come(self, stage: str) -> float:
        """Return the expected seconds of a stage that has not begun. One that happens only once was part of the first
        start."""
        _, usual, is_once = _STAGES[_ORDER[stage]]
        if self._took:
            return 0.0 if is_once else max(MIN_S, self._took.get(stage, 0.0))
        return 0.0 if stage == "fetching" else usual


def _known(stage: str) -> str:
    """Return a stage's name in the table: "fetching NAME" is "fetching"."""
    return "fetching" if stage.startswith("fetching ") else stage


def _file() -> Path:
    return paths.state_dir() / "last-start.json"


def last() -> dict[str, float]:
    """Return the seconds of each stage at the last start on this machine; {} if unknown."""
    with contextlib.suppress(OSError, ValueError, RecursionError):
        with _file().open("rb") as stream:
            found = json.loads(stream.read(MAX_BYTES))
        if isinstance(found, dict):
            return {
                str(stage)[:80]: min(3600.0, max(0.0, float(seconds)))
                for stage, seconds in found.items()
                if isinstance(seconds, int | float) and seconds == seconds
            }
    return {}


def keep(took: Mapping[str, float]) -> None:
    """Remember the seconds of a start for the next one; if they cannot be written, the next one guesses."""
    with contextlib.suppress(OSError):
        folder = paths.private_dir(paths.state_dir())
        work = folder / f".last-start-{os.getpid()}.json"
        work.write_text(json.dumps(dict(took)), encoding="utf-8")
        work.replace(_file())
