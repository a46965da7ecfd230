"""The tables and the plot of a typing replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from rich.table import Table

from midfill.eval.figures import Difference, compared
from midfill.eval.replay import Passage, Tally
from midfill.eval.report import COLOURS, beside, grid, ms, percent, picture
from midfill.eval.summary import ALL

Tallies = Sequence[tuple[Passage, Tally]]
# Each share, and its name in a table.
SHARES = {"saved": "keystrokes saved", "shown_acceptance": "shown acceptance", "flicker": "flicker", "wasted": "wasted"}


def total(tallies: Tallies) -> Tally:
    """Return the tally of all places together."""
    sum_of_all = Tally()
    for _, tally in tallies:
        sum_of_all.add(tally)
    return sum_of_all


def by_file(tallies: Tallies) -> dict[str, Tally]:
    """Return the tally of each file, and of all files."""
    names = dict.fromkeys(place.path for place, _ in tallies)
    found = {name: total([one for one in tallies if one[0].path == name]) for name in names}
    return {**found, "all": total(tallies)} if len(found) > 1 else found


def table(title: str, tallies: Tallies) -> Table:
    """Return a table with one row for each file."""
    rows = []
    for name, tally in by_file(tallies).items():
        figures = tally.figures()
        rows.append((
            name.rpartition("/")[2], str(tally.n_keys), str(tally.n_pressed), percent(figures["saved"]),
            str(tally.n_shown),
            f"{tally.n_accepted} ({tally.n_whole}/{tally.n_line}/{tally.n_word})",
            percent(figures["shown_acceptance"]), percent(figures["flicker"]),
            f"{tally.n_superseded} of {tally.n_asked}", str(tally.n_refused), str(tally.n_decoded),
            percent(figures["wasted"]), ms(figures["shown_s_p50"], figures["shown_s_p95"]),
        ))  # fmt: skip
    return grid(
        title,
        (
            "", "keys", "pressed", "saved", "shown", "taken (whole/line/word)", "of shown", "flicker", "superseded",
            "refused", "tokens decoded", "wasted", "key to text p50/p95",
        ),
        rows,
    )  # fmt: skip


def paired(runs: Sequence[Tallies]) -> list[Difference]:
    """Return the differences of the shares over places where both runs have one: means over places, intervals by
    file."""
    first, second = ({(place.path, place.start): tally.figures() for place, tally in run} for run in runs)
    found = []
    for share in SHARES:
        pairs = {
            at: (a, b) for at in first if (a := first[at][share]) is not None and (b := second[at][share]) is not None
        }
        by_file = len({path for path, _ in pairs}) > 1
        values = [(path if by_file else f"{path}:{at}", a, b) for (path, at), (a, b) in pairs.items()]
        found += [compared(ALL, share, values, 10_000)] if values else []
    return found


def plot(runs: Mapping[str, Tallies], file: Path) -> None:
    """Plot the keystrokes saved at each place, and how soon text came. Raises MidfillError. Call ``need_matplotlib``
    first."""
    with picture("midfill replay", file) as (bars, curve):
        for i, ((name, tallies), colour) in enumerate(zip(runs.items(), COLOURS, strict=False)):
            rows = [(place, tally.figures()["saved"] or 0.0) for place, tally in tallies]
            places, height = beside(len(rows), i, len(runs))
            bars.barh(places, [100 * saved for _, saved in rows], height, color=colour, label=name)
            bars.set_yticks(range(len(rows)), [f"{place.path}, {place.start}" for place, _ in rows], fontsize=7)
            if times := [time for _, tally in tallies for time in tally.shown_s]:
                curve.ecdf([1000 * time for time in times], color=colour)
        bars.set_xlabel("per cent of the keystrokes saved, by place")
        curve.set_xlabel("milliseconds from the key to new text")
        curve.set_ylabel("share of the suggestions")
