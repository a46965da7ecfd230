"""One request's judge: reads the place once, then follows the middle as it grows."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from midfill.postprocess.place import Place
from midfill.postprocess.rules import PIPELINE, whole_lines
from midfill.postprocess.unit import unit_end
from midfill.types import Snapshot


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule that changed a middle, and by how many characters it became shorter."""

    rule: str
    n_removed: int


class Judge:
    """Says when a middle is whole, and what of it is shown."""

    def __init__(self, snapshot: Snapshot, off: Collection[str] = ()) -> None:
        """``off`` are names of rules that are not applied."""
        self.place = Place.of(snapshot)
        self.applied: list[Applied] = []
        self._off = frozenset(off)

    def ends(self, raw: str) -> bool:
        """Whether nothing the model could add would be shown."""
        return "first_unit" not in self._off and unit_end(raw, self.place) is not None

    def shown(self, raw: str, *, cut_short: bool = False) -> str:
        """What is shown of ``raw``; ``applied`` then tells by which rules. ``cut_short``: it was broken off, so its
        last line may be half a line."""
        self.applied = []
        middle = raw
        if cut_short and not self.ends(raw) and "\n" in raw.strip("\n"):
            middle = self._note("whole_lines", middle, whole_lines(middle, self.place))
        for rule in PIPELINE:
            if rule.__name__ not in self._off:
                middle = self._note(rule.__name__, middle, rule(middle, self.place))
        return middle

    def _note(self, rule: str, before: str, after: str) -> str:
        if before != after:
            self.applied.append(Applied(rule, len(before) - len(after)))
        return after
