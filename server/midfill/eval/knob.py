"""What each position of the knob achieves over the same sessions: the table by which the defaults were chosen."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rich.table import Table

from midfill.eval.figures import Difference
from midfill.eval.keys import n_shared
from midfill.eval.replay import Pause, Tally
from midfill.eval.replay_report import Tallies, paired, total
from midfill.eval.report import grid, percent

MIN_RIGHT = 4  # characters that have to be right, or the whole line if it is shorter


@dataclass(slots=True)
class Looks:
    """What was shown during pauses to think."""

    n: int = 0
    n_right: int = 0  # a suggestion was shown, and its beginning was typed next
    n_wrong: int = 0  # something else was typed
    n_nothing: int = 0
    n_would_be_wrong: int = 0  # the model's text, shown or not, was not typed next
    n_quiet: int = 0  # of these, nothing was shown

    @property
    def quiet(self) -> float | None:
        """How often nothing was shown when the model was wrong: 0 to 1."""
        return self.n_quiet / self.n_would_be_wrong if self.n_would_be_wrong else None


def is_right(said: str, follows: str) -> bool:
    """Whether the first line of ``said`` begins like what is typed next: MIN_RIGHT characters of it, or all."""
    first = said.lstrip("\n")
    end = said.find("\n", len(said) - len(first))
    line = (said if end < 0 else said[:end]).rstrip()
    return bool(line) and n_shared(follows, line) >= min(MIN_RIGHT, len(line))


def looks(runs: Mapping[str, Tallies]) -> dict[str, Looks]:
    """Return the looks by run. If one run did not ask the model at a place, its answer is taken from the other runs."""
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
    """Return every figure of the table, by run."""
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
    """Return the table, one row for each position."""
    rows = [
        (
            name, str(one["n_keys"]), percent(one["saved"], 0), f"{one['shown_per_100'] or 0:.1f}",
            percent(one["shown_acceptance"], 0),
            f"{one['retained_30_per_100']:.0f} ({percent(one['kept_30'], 0)})",
            f"{one['retained_300_per_100']:.0f} ({percent(one['kept_300'], 0)})",
            str(one["pauses"]), *(percent(one[seen], 0) for seen in ("right", "wrong", "nothing")),
            f"{percent(one['quiet_where_wrong'], 0)} of {one['would_be_wrong']}", str(one["n_decoded"]),
        )
        for name, one in figures(runs).items()
    ]  # fmt: skip
    return grid(
        "the knob, over the same sessions; retained: characters for 100 keys, and the share of what was taken",
        (
            "", "keys", "saved", "shown per 100 keys", "taken", "retained 30 s", "retained 5 min", "pauses", "right",
            "wrong", "nothing", "quiet where wrong", "tokens",
        ),
        rows,
    )  # fmt: skip


def against(runs: Mapping[str, Tallies], base: str) -> dict[str, list[Difference]]:
    """Return the paired differences between every other position and ``base``."""
    return {name: paired([runs[base], runs[name]]) for name in runs if name != base}
