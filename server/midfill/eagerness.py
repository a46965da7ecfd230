"""One knob with three positions: how sure the model must be, how long a pause must last, and how long suggestions are.

It applies to automatic suggestions. Explicit requests are the same in every position.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from midfill.config import SCOPES, Config
from midfill.postprocess import AcceptanceHabits, Place
from midfill.postprocess.confidence import DEFAULTS, MAX_HIDDEN, AdaptiveThresholds, Thresholds
from midfill.triggers import Debounce
from midfill.types import Snapshot, Trigger

# Explicit requests may generate this many times ``max_tokens``: a block, not only a line.
INVOKED = 3


@dataclass(frozen=True, slots=True)
class Level:
    """What one position means (docs/log.md has the table they were chosen by)."""

    name: str
    thresholds: Thresholds  # where learning begins; a line below these is not shown
    max_hidden: float  # at most this part of the model's output is hidden, 0 to 1
    debounce: float  # times ``max_debounce_s``
    steady: bool  # every key waits that long, however long the answer takes
    length: float  # times ``max_tokens``
    one_line: bool
    disabled_scopes: tuple[str, ...] = ()  # in addition to the setting of that name

    @property
    def more(self) -> str:
        """The position that shows more; "" if there is none."""
        return {"quiet": "balanced", "balanced": "eager"}.get(self.name, "")


QUIET = Level("quiet", Thresholds(-0.5, -0.5, math.log(0.5)), 0.7, 3.0, True, 0.5, True, ("comment",))
BALANCED = Level("balanced", DEFAULTS["automatic"], MAX_HIDDEN, 1.0, False, 1.0, False)
EAGER = Level("eager", Thresholds(-2.5, -1.6, math.log(0.05)), 0.15, 0.4, False, 2.0, False)
LEVELS: Mapping[str, Level] = MappingProxyType({level.name: level for level in (QUIET, BALANCED, EAGER)})


class Knob:
    """The knob in its current position, and what depends on it. On battery power it is at quiet if the setting says
    so."""

    def __init__(
        self,
        config_of: Callable[[], Config],
        habits: Callable[[Trigger], AcceptanceHabits] = lambda _trigger: AcceptanceHabits(),
        on_battery: Callable[[], bool] = lambda: False,
        most_tokens: int = sys.maxsize,
    ) -> None:
        """``habits``: what became of earlier suggestions; ``on_battery``: whether the machine runs on its battery;
        ``most_tokens``: the most tokens that the engine generates."""
        self._config_of, self._habits, self._on_battery = config_of, habits, on_battery
        self._most_tokens = most_tokens
        self._gates: dict[str, AdaptiveThresholds] = {}  # by level; "" for explicit requests

    def __str__(self) -> str:
        """Return a text that differs for each way of choosing what is shown."""
        return f"{self.level.name}/{self._config_of().lines}"

    @property
    def on_battery(self) -> bool:
        """Whether the machine runs on battery power, and the setting makes that matter."""
        return self._config_of().quiet_on_battery and self._on_battery()

    @property
    def level(self) -> Level:
        """The position in effect."""
        return QUIET if self.on_battery else LEVELS[self._config_of().eagerness]

    @property
    def ahead(self) -> bool:
        """Whether the engine may work in advance."""
        return self._config_of().ahead and not self.on_battery

    def pause(self, debounce: Debounce, uri: str) -> float:
        """Return how many seconds a request for a document waits for the next key."""
        longest_s = self._config_of().max_debounce_s * self.level.debounce
        return longest_s if self.level.steady else debounce.pause(uri, longest_s)

    @property
    def disabled_scopes(self) -> tuple[str, ...]:
        """The scopes without automatic suggestions."""
        return (*self._config_of().disabled_scopes, *self.level.disabled_scopes)

    def max_tokens(self, trigger: Trigger) -> int:
        """Return the longest middle in tokens."""
        times = INVOKED if trigger == "invoked" else self.level.length
        return min(self._most_tokens, max(1, round(self._config_of().max_tokens * times)))

    def one_line(self, trigger: Trigger) -> bool:
        """Whether a suggestion ends with its line: the setting applies to explicit requests too, a quiet knob only to
        others."""
        return self._config_of().lines == "one" or (trigger == "automatic" and self.level.one_line)

    def gate(self, trigger: Trigger) -> AdaptiveThresholds:
        """Return what decides whether a line is sure enough."""
        level = self.level
        name = level.name if trigger == "automatic" else ""
        if name not in self._gates:
            known = self._habits(trigger)
            automatic = (level.thresholds, level.max_hidden, known.shifts) if name else ()
            self._gates[name] = AdaptiveThresholds(trigger, known.outcomes, *automatic)
        return self._gates[name]

    def why_hidden(self, trigger: Trigger, rules: Collection[str], confidence: float | None) -> str:
        """Return why the model's output is not shown, and how to see more: the rest of "Nothing was shown: ..."; "" if
        another of the applied ``rules`` hid it."""
        if "confidence" in rules:
            return self._why_weak(trigger, confidence)
        if "one_line" not in rules:
            return ""
        if self._config_of().lines == "one":
            return 'what the model said begins in another line, and lines = "one"; lines = "auto" shows it'
        return f"what the model said begins in another line, and {self._how_to_see_more()}"

    def _why_weak(self, trigger: Trigger, confidence: float | None) -> str:
        sure = "" if confidence is None else f" ({confidence:.0%})"
        if trigger == "invoked":
            return f"the model was not sure enough of anything{sure}"
        return f"the model was not sure enough{sure}: {self._how_to_see_more()}"

    def _how_to_see_more(self) -> str:
        if self.on_battery:
            return "the knob is at quiet on battery power; quiet_on_battery = false ends that"
        level = self.level
        more = f'eagerness = "{level.more}" shows more' if level.more else "ask by hand to see it"
        return f'the knob is at eagerness = "{level.name}"; {more}'


def scope_of(snapshot: Snapshot) -> str:
    """Return where the cursor stands: one of config.SCOPES, or code."""
    kind = Place.of(snapshot).kind
    return kind if kind in SCOPES else "code"
