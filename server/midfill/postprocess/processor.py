"""One request's post-processor: reads the place once, then follows the middle as it grows."""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace

from midfill.postprocess.arguments import drop_unfit_arguments
from midfill.postprocess.boundary import awaits_body, lacks, stop_boundary
from midfill.postprocess.confidence import AdaptiveThresholds, Lines, Thresholds
from midfill.postprocess.invented import drop_invented
from midfill.postprocess.other_language import drop_other_language
from midfill.postprocess.place import Place
from midfill.postprocess.repeats import run_end
from midfill.postprocess.rule import Rule
from midfill.postprocess.rules import FINISH, LAYOUT, NAMES, PIPELINE, end_run, first_unit, whole_lines
from midfill.postprocess.sure import closed, common, sure, whole_arguments, words
from midfill.syntax.calls import Certain
from midfill.types import Snapshot

# Log probability of the end token below which the model was not sure that the middle ends (docs/log.md).
UNSURE = math.log(0.9)
GO_ON = "go_on"  # a middle by hand goes on until the text below follows (going_on.py)
# Everything that can be switched off.
RULES = NAMES | {"whole_lines", "confidence", GO_ON}


@dataclass(frozen=True, slots=True)
class Applied:
    """A rule that changed a middle, and how many characters it removed."""

    rule: str
    n_removed: int


class PostProcessor:
    """Decides when a middle is complete, and what of it is shown."""

    def __init__(
        self,
        snapshot: Snapshot,
        off: Collection[str] = (),
        gate: AdaptiveThresholds | None = None,
        *,
        one_line: bool = False,
    ) -> None:
        """``off``: names of rules that are not applied; without a ``gate`` no line is too weak. ``one_line``: nothing
        is shown past the end of the cursor's own line."""
        self.place = Place.of(snapshot)
        self.applied: list[Applied] = []
        self._off, self._one_line = frozenset(off), one_line
        self._lines = Lines()
        self._gate = None if "confidence" in self._off else gate
        self._thresholds = self._gate.at(snapshot.language, self.place.kind) if self._gate is not None else Thresholds()

    def know(self, known: Certain) -> None:
        """Take what is known by now of the names near the cursor."""
        if known != self.place.known:
            self.place = replace(self.place, known=known)

    def note(self, text: str, logprobs: Sequence[float], offsets: Sequence[int] = ()) -> None:
        """Take the next piece of the middle with its tokens' log probabilities and beginnings, if the engine reports
        them."""
        self._lines.push(text, logprobs, offsets, self._thresholds.total)

    def ends(self, raw: str) -> str:
        """Return why nothing more would be shown: "unit", "run", "line", "invented", "language", "weak"; "" if the
        model may continue."""
        complete = raw[: raw.rfind("\n") + 1]  # a line that still grows may turn out to be right
        if "first_unit" not in self._off and stop_boundary(raw, self.place) is not None:
            return "unit"
        if "end_run" not in self._off and run_end(complete, self.place) is not None:
            return "run"
        for drop in (drop_invented, drop_unfit_arguments):
            if drop.__name__ not in self._off and drop(raw, self.place) != raw:
                return "invented"
        if "drop_other_language" not in self._off and drop_other_language(complete, self.place) != complete:
            return "language"
        if self._one_line and "\n" in raw:
            return "line"
        is_weak = self._lines.first_weak(self._thresholds, finished=False) is not None
        return "weak" if is_weak or self._doubt(raw) is not None else ""

    def stopped_early(self, raw: str, stop_logprob: float) -> bool:
        """Whether ``raw``, at whose end the model stopped by itself, is incomplete: because something is missing, or
        because the model was not sure that it ends there (``stop_logprob``)."""
        if "first_unit" in self._off or self._one_line or self.place.kind != "block" or not raw.strip():
            return False
        is_weak = self._lines.first_weak(self._thresholds, finished=True) is not None
        if is_weak or self._doubt(raw) is not None:  # it ends there anyway
            return False
        return stop_boundary(raw + "\n", self.place) is None and (stop_logprob < UNSURE or lacks(raw, self.place))

    @property
    def awaits_body(self) -> bool:
        """Whether the cursor's line opens a block that has no lines below yet."""
        return "first_unit" not in self._off and not self._one_line and awaits_body(self.place)

    def over(self) -> None:
        """The middle is finished: its confidence counts for the next ones."""
        if self._gate is not None:
            self._gate.note(self._lines.confidence)

    @property
    def confidence(self) -> float | None:
        """Confidence of the first line, 0 to 1; None if unknown."""
        return self._lines.confidence

    def shown(self, raw: str, *, cut_short: bool = False, finished: bool = False) -> str:
        """Return what is shown of ``raw``; ``applied`` then holds the rules. ``cut_short``: it was broken off, so its
        last line may be incomplete. ``finished``: no more comes."""
        self.applied = []
        is_over = finished or cut_short
        middle = self._note("confidence", raw, self._strong(raw, finished=is_over))
        if self._one_line:
            middle = self._note("one_line", middle, middle.split("\n", 1)[0])
        if cut_short and middle == raw and "whole_lines" not in self._off and stop_boundary(raw, self.place) is None:
            cut = whole_lines if "\n" in raw.strip("\n") else self._whole_arguments
            middle = self._note("whole_lines", middle, cut(middle, self.place))
        is_ended = finished and not cut_short and self._doubt(raw) is None
        if is_ended:
            middle = self._note("first_unit", middle, self._ended(middle))
        rules = PIPELINE + FINISH if is_ended else PIPELINE
        for rule in rules + LAYOUT if is_over else rules:
            if rule.__name__ not in self._off:
                middle = self._note(rule.__name__, middle, rule(middle, self.place))
        # Before code, an incomplete line would become a part of that line.
        return middle if is_over or not self.place.joint else ""

    def sure(self, raw: str, *, is_near_limit: bool = False) -> str:
        """Return what is shown of the growing ``raw``: the start that no rule will take back, as far as that can be
        known. ``is_near_limit``: it may be broken off at any moment, and then ends with its last complete line."""
        if self.place.joint:
            return ""
        lines = raw.split("\n")[: 1 if self._one_line else None]
        n_strong = self._lines.n_strong(self._thresholds)
        grows = n_strong >= len(lines)
        if is_near_limit and grows:
            lines = whole_arguments(raw, self.place).split("\n") if len(lines) == 1 else lines[:-1]
        part = "\n".join(lines[:n_strong])
        may_doubt = self._thresholds.total > -math.inf and self._lines.confidence is not None
        if grows and may_doubt and "\n" not in part.lstrip():
            part = words(part, self.place)  # a doubt would take back the rest
        as_it_stands, as_it_would_end = (self._ruled(text, PIPELINE) for text in (part, self._ended(part)))
        return sure(common(as_it_stands, as_it_would_end), self.place, grows=grows)

    def kept(self, shown: str, *, cut_short: bool) -> str:
        """Return a suggestion that still begins with what was ``shown`` of it, though the rules would now take that
        back."""
        return closed(shown, self.place) if cut_short and "balance" not in self._off else shown

    @property
    def goes_on(self) -> bool:
        """Whether a middle may go on past its end."""
        return not self._one_line and not {GO_ON, "first_unit"} & self._off

    def longer(self, middle: str) -> str:
        """Return what is shown of a finished ``middle`` that goes on past its end because the text below follows."""
        return self._ruled(middle, [rule for rule in PIPELINE if rule not in (first_unit, end_run)])

    def _whole_arguments(self, middle: str, place: Place) -> str:
        cut = whole_arguments(middle, place)
        is_called = cut != middle and not cut.endswith(("(", "["))
        return self.kept(cut, cut_short=True) if is_called else cut

    def _ruled(self, middle: str, rules: Sequence[Rule]) -> str:
        for rule in rules:
            if rule.__name__ not in self._off:
                middle = rule(middle, self.place)
        return middle

    def _strong(self, raw: str, *, finished: bool) -> str:
        weak = self._lines.first_weak(self._thresholds, finished=finished)
        if weak is None and (at := self._doubt(raw)) is not None:  # before code, a part of a line is none
            return "" if self.place.joint else words(raw[:at], self.place, raw[at : at + 1])
        if weak is None:
            return raw
        kept = "\n".join(raw.split("\n")[:weak])
        if kept.strip() and stop_boundary(raw, self.place) is None:
            return whole_lines(kept + "\n", self.place)
        return kept

    def _doubt(self, raw: str) -> int | None:
        """Return where the first line is no longer sure, if the middle does not end before that."""
        at = self._lines.doubt
        end = stop_boundary(raw, self.place) if at is not None and "first_unit" not in self._off else None
        return None if at is None or (end is not None and end <= at) else at

    def _ended(self, raw: str) -> str:
        """Return ``raw`` without a last line that, now that it is complete, is past the stop boundary."""
        end = stop_boundary(raw + "\n", self.place) if "first_unit" not in self._off and raw.strip() else None
        return raw if end is None else raw[:end]

    def _note(self, rule: str, before: str, after: str) -> str:
        if before != after:
            self.applied.append(Applied(rule, len(before) - len(after)))
        return after
