"""The tables and the plot of a typing replay."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from midfill.eval.figures import interval
from midfill.eval.replay import Place, Tally
from midfill.eval.report import COLOURS, save

Tallies = Sequence[tuple[Place, Tally]]
# Share, and what a table calls it.
SHARES = {"saved": "keystrokes saved", "shown_acceptance": "shown acceptance", "flicker": "flicker", "wasted": "wasted"}


def total(tallies: Tallies) -> Tally:
    """All places together."""
    sum_of_all = Tally()
    for _, tally in tallies:
        sum_of_all.add(tally)
    return sum_of_all


def by_file(tallies: Tallies) -> dict[str, Tally]:
    """The places of each file together, and all of them."""
    names = dict.fromkeys(place.path for place, _ in tallies)
    found = {name: total([one for one in tallies if one[0].path == name]) for name in names}
    return {**found, "all": total(tallies)} if len(found) > 1 else found


def table(title: str, tallies: Tallies) -> Table:
    """A row for each file."""
    made = Table(title=title)
    for column in (
        "", "keys", "pressed", "saved", "shown", "taken (whole/line/word)", "of shown", "flicker", "superseded",
        "refused", "tokens decoded", "wasted", "key to text p50/p95",
    ):  # fmt: skip
        made.add_column(column, justify="right" if column else "left")
    for name, tally in by_file(tallies).items():
        figures = tally.figures()
        made.add_row(
            name.rpartition("/")[2], str(tally.n_keys), str(tally.n_pressed), _percent(figures["saved"]),
            str(tally.n_shown),
            f"{tally.n_accepted} ({tally.n_whole}/{tally.n_line}/{tally.n_word})",
            _percent(figures["shown_acceptance"]), _percent(figures["flicker"]),
            f"{tally.n_superseded} of {tally.n_asked}", str(tally.n_refused), str(tally.n_decoded),
            _percent(figures["wasted"]), f"{_ms(figures['shown_s_p50'])} / {_ms(figures['shown_s_p95'])}",
        )  # fmt: skip
    return made


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.0f} ms"


def paired(runs: Sequence[Tallies]) -> list[dict[str, Any]]:
    """The differences of the shares, second less first, over places where both have one; intervals by file."""
    first, second = ({(place.path, place.start): tally.figures() for place, tally in run} for run in runs)
    found = []
    for share in SHARES:
        pairs = {
            at: (first[at][share], second[at][share])
            for at in first
            if first[at][share] is not None and second[at][share] is not None
        }
        if not pairs:
            continue
        groups: dict[str, list[float]] = {}
        for (path, _), (a, b) in pairs.items():
            groups.setdefault(path, []).append(b - a)
        low, high = interval(
            list(groups.values()) if len(groups) > 1 else [[one] for one in next(iter(groups.values()))]
        )
        n = len(pairs)
        a, b = sum(a for a, _ in pairs.values()) / n, sum(b for _, b in pairs.values()) / n
        found.append({"share": share, "n": n, "a": a, "b": b, "difference": b - a, "low": low, "high": high})
    return found


def differences(names: Sequence[str], found: Sequence[Mapping[str, Any]]) -> Table:
    """The paired comparison; means over places, where the tables above are over all keys."""
    made = Table(title=f"{names[1]} against {names[0]}, means over places, paired, 95 % intervals")
    for column in ("", "places", *names, "difference", "interval"):
        made.add_column(column, justify="right" if column else "left")
    for one in found:
        shares = (_percent(one[key]) for key in ("a", "b", "difference"))
        span = f"{one['low']:.1%} to {one['high']:.1%}"
        made.add_row(SHARES[one["share"]], str(one["n"]), *shares, span)
    return made


def plot(runs: Mapping[str, Tallies], file: Path) -> None:
    """Keystrokes saved at each place, and how soon text came. Raises MidfillError. Call ``need_matplotlib`` first."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures make the same file, and letters stay letters.
    mpl.rcParams.update({"svg.hashsalt": "midfill", "svg.fonttype": "none"})
    figure, (bars, curve) = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(2, 1), layout="constrained")
    figure.suptitle("midfill replay")
    height = 0.8 / len(runs)
    for i, ((name, tallies), colour) in enumerate(zip(runs.items(), COLOURS, strict=False)):
        rows = [(place, tally.figures()["saved"] or 0.0) for place, tally in tallies]
        at = [row + (i - (len(runs) - 1) / 2) * height for row in range(len(rows))]
        bars.barh(at, [100 * saved for _, saved in rows], height, color=colour, label=name)
        bars.set_yticks(range(len(rows)), [f"{place.path}, {place.start}" for place, _ in rows], fontsize=7)
        if times := [time for _, tally in tallies for time in tally.shown_s]:
            curve.ecdf([1000 * time for time in times], color=colour)
    bars.invert_yaxis()
    bars.set_xlabel("per cent of the keystrokes saved, by place")
    bars.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(runs), frameon=False)
    curve.set_xlabel("milliseconds from the key to new text")
    curve.set_ylabel("share of the suggestions")
    save(figure, file)
    pyplot.close(figure)
