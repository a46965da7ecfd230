"""What each position of the knob comes to, over the same sessions: the table that the defaults were chosen by."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from midfill.eval.keys import added
from midfill.eval.replay import Pause, Tally
from midfill.eval.replay_report import Tallies, paired, total

MIN_RIGHT = 4  # characters that have to be right, or all there are


@dataclass(slots=True)
class Looks:
    """What was seen in pauses to think."""

    n: int = 0
    n_right: int = 0  # something stood there, and its beginning is what was typed next
    n_wrong: int = 0  # something else was typed
    n_nothing: int = 0
    n_would_be_wrong: int = 0  # what the model said, shown or not, is not what was typed next
    n_quiet: int = 0  # of these, nothing was shown

    @property
    def quiet(self) -> float | None:
        """Where the model was wrong, how often nothing was shown: 0 to 1."""
        return self.n_quiet / self.n_would_be_wrong if self.n_would_be_wrong else None


def is_right(said: str, follows: str) -> bool:
    """Whether the first line of ``said`` begins as what is typed next: MIN_RIGHT characters of it, or all."""
    first = said.lstrip("\n")
    end = said.find("\n", len(said) - len(first))
    line = (said if end < 0 else said[:end]).rstrip()
    return bool(line) and len(line) - len(added(follows, line)) >= min(MIN_RIGHT, len(line))


def looks(runs: Mapping[str, Tallies]) -> dict[str, Looks]:
    """By run. What the model says at a place that one run did not ask about is known from the others."""
    said = {
        (place.path, place.start, pause.at): pause.said
        for tallies in runs.values()
        for place, tally in tallies
        for pause in tally.pauses
        if pause.said
    }
    found = {}
    for name, tallies in runs.items():
        found[name] = seen = Looks()
        for place, tally in tallies:
            for pause in tally.pauses:
                _look(seen, pause, pause.said or said.get((place.path, place.start, pause.at)))
    return found


def _look(seen: Looks, pause: Pause, said: str | None) -> None:
    right = is_right(pause.shown, pause.follows)
    seen.n += 1
    seen.n_right += right
    seen.n_wrong += bool(pause.shown) and not right
    seen.n_nothing += not pause.shown
    if said and not is_right(said, pause.follows):
        seen.n_would_be_wrong += 1
        seen.n_quiet += not pause.shown


def figures(runs: Mapping[str, Tallies]) -> dict[str, dict[str, Any]]:
    """Every figure of the table, by run."""
    seen = looks(runs)
    return {name: _figures(total(tallies), seen[name]) for name, tallies in runs.items()}


def _figures(tally: Tally, seen: Looks) -> dict[str, Any]:
    known = tally.figures()
    names = ("n_keys", "saved", "shown_per_100", "shown_acceptance", "kept_30", "kept_300", "n_decoded")
    per_100 = 100 / tally.n_keys if tally.n_keys else 0.0
    return {
        **{name: known[name] for name in names},
        "retained_30_per_100": tally.n_kept_30 * per_100,
        "retained_300_per_100": tally.n_kept_300 * per_100,
        "pauses": seen.n,
        "right": seen.n_right / seen.n if seen.n else None,
        "wrong": seen.n_wrong / seen.n if seen.n else None,
        "nothing": seen.n_nothing / seen.n if seen.n else None,
        "quiet_where_wrong": seen.quiet,
        "would_be_wrong": seen.n_would_be_wrong,
    }


def table(runs: Mapping[str, Tallies]) -> Table:
    """A row a position."""
    made = Table(
        title="the knob, over the same sessions; retained: characters for 100 keys, and the share of what was taken"
    )
    for column in (
        "", "keys", "saved", "shown per 100 keys", "taken", "retained 30 s", "retained 5 min", "pauses",
        "right", "wrong", "nothing", "quiet where wrong", "tokens",
    ):  # fmt: skip
        made.add_column(column, justify="right" if column else "left")
    for name, one in figures(runs).items():
        made.add_row(
            name, str(one["n_keys"]), _percent(one["saved"]), f"{one['shown_per_100'] or 0:.1f}",
            _percent(one["shown_acceptance"]),
            f"{one['retained_30_per_100']:.0f} ({_percent(one['kept_30'])})",
            f"{one['retained_300_per_100']:.0f} ({_percent(one['kept_300'])})",
            str(one["pauses"]), _percent(one["right"]), _percent(one["wrong"]), _percent(one["nothing"]),
            f"{_percent(one['quiet_where_wrong'])} of {one['would_be_wrong']}", str(one["n_decoded"]),
        )  # fmt: skip
    return made


def against(runs: Mapping[str, Tallies], base: str) -> dict[str, list[dict[str, Any]]]:
    """The paired differences of every other position to ``base``."""
    others: Sequence[str] = [name for name in runs if name != base]
    return {name: paired([runs[base], runs[name]]) for name in others}


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.0%}"
