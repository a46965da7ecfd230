"""The tables, the plots and the line of JSON of evaluations, and how every table and plot is made."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console, JustifyMethod
from rich.table import Table

from midfill.config import DEFAULT, Config
from midfill.eval.about import commit, machine, rounded, versions
from midfill.eval.figures import Difference
from midfill.eval.run import LATENCIES, Record
from midfill.eval.summary import ALL
from midfill.types import MidfillError, ModelInfo

WIDTH = 180  # if no terminal reports its width
# Each metric, and its name in a table.
COLUMNS = {
    "passed": "pass@1",
    "oracle": "cut right",
    "first_line": "first line",
    "whole": "whole",
    "similarity": "similarity",
    "names": "needed name",
    "shown": "shown",
    "repeats_suffix": "repeats suffix",
    "control_tokens": "control tokens",
}
COSTS = {"total_s": "seconds", "n_decoded": "tokens"}
COLOURS = ("#1f77b4", "#ff7f0e")

NO_NAMES: Mapping[str, str] = {}

Figures = Mapping[str, Mapping[str, Any]]


def console(*, quiet: bool = False) -> Console:
    """Return a console that is wide enough for the tables, also when it writes to a file."""
    made = Console(highlight=False, quiet=quiet)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def grid(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], justify: JustifyMethod = "right") -> Table:
    """Return a table; columns without a name are left-aligned."""
    made = Table(title=title)
    for column in columns:
        made.add_column(column, justify=justify if column else "left")
    for row in rows:
        made.add_row(*row)
    return made


def percent(share: float | None, digits: int = 1) -> str:
    """Return a share as text; "-" for None."""
    return "-" if share is None else f"{share:.{digits}%}"


def ms(*seconds: float | None) -> str:
    """Return times in milliseconds, separated by slashes; "-" for what was not measured."""
    return " / ".join("-" if one is None else f"{one * 1000:.0f} ms" for one in seconds)


def table(title: str, figures: Figures) -> Table:
    """Return a table with one row for each kind of hole. Shares in per cent, the first one with its 95 % interval."""
    kinds = [kind for kind in figures if kind != ALL or len(figures) != 2]
    metrics = [metric for metric in COLUMNS if any(metric in figures[kind] for kind in kinds)]
    rows = [
        (
            kind, str(row["n"]), *(_share(row, metric, with_interval=metric == metrics[0]) for metric in metrics),
            *(ms(row[f"{name}_p50"], row[f"{name}_p95"]) for name in LATENCIES),
        )
        for kind in kinds if (row := figures[kind])
    ]  # fmt: skip
    names = [COLUMNS[metric] for metric in metrics]
    return grid(title, ("", "holes", *names, "TTFT p50/p95", "answer p50/p95"), rows)


def _share(row: Mapping[str, Any], metric: str, *, with_interval: bool) -> str:
    if metric not in row:
        return ""
    low, high = row[f"{metric}_ci"]
    return f"{row[metric]:.1%}" + (f" [{low:.0%}, {high:.0%}]".replace("%,", ",") if with_interval else "")


def differences(
    names: Sequence[str], found: Sequence[Difference], metrics: Mapping[str, str], kinds: Mapping[str, str] = NO_NAMES
) -> Table:
    """Return the paired comparison of the metrics and kinds named in ``metrics`` and ``kinds``; sure differences are
    marked."""
    rows = []
    for one in found:
        form = "{:.2f}" if one.metric in COSTS else "{:.1%}"
        sign = "+" if one.difference > 0 else ""
        rows.append((
            kinds.get(one.kind, one.kind), metrics.get(one.metric, one.metric), str(one.n), form.format(one.a),
            form.format(one.b), sign + form.format(one.difference),
            f"{form.format(one.low)} to {form.format(one.high)}", "differs" if one.is_sure else "",
        ))  # fmt: skip
    title = f"{names[1]} against {names[0]}, paired, 95 % intervals"
    return grid(title, ("", "", "n", *names, "difference", "interval", ""), rows)


def of_holes(names: Sequence[str], found: Sequence[Difference]) -> Table:
    """Return the paired comparison of two runs: for single kinds, only sure differences and the first metric."""
    told = [one for one in found if one.kind == ALL or one.metric == found[0].metric or one.is_sure]
    return differences(names, told, {**COLUMNS, **COSTS})


def line(settings: Mapping[str, Any], configs: Mapping[str, Config], info: ModelInfo | None) -> dict[str, Any]:
    """Return what the line of JSON says about the run besides its figures."""
    model = {} if info is None else {name: getattr(info, name) for name in ("name", "template", "device", "dtype")}
    return rounded(  # type: ignore[no-any-return]
        {
            **settings,
            "model": model,
            "device": model.get("device", ""),
            "config": {who: changed(config) for who, config in configs.items()},
            "machine": machine(),
            "versions": versions(),
            "commit": commit(),
        }
    )


def changed(config: Config) -> dict[str, Any]:
    """Return the settings that differ from the defaults."""
    return {name: value for name, value in dataclasses.asdict(config).items() if value != getattr(DEFAULT, name)}


@contextlib.contextmanager
def picture(title: str, file: Path, height: float = 4.5) -> Iterator[tuple[Any, Any]]:
    """Yield axes for bars and for a curve, and write them to ``file`` at the end. Raises MidfillError.

    Call ``need_matplotlib`` first.
    """
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures make the same file, and letters stay letters.
    mpl.rcParams.update({"svg.hashsalt": "midfill", "svg.fonttype": "none"})
    figure, (bars, curve) = pyplot.subplots(1, 2, figsize=(12, height), width_ratios=(2, 1), layout="constrained")
    figure.suptitle(title)
    yield bars, curve
    bars.invert_yaxis()
    bars.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=4, frameon=False)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise MidfillError(f"cannot write the plot {file}: {error}", "name a .svg or .png file with --plot") from error
    pyplot.close(figure)


def beside(n_rows: int, number: int, n: int) -> tuple[list[float], float]:
    """Return the positions of the bars of the ``number``-th of ``n`` contenders in each row, and their height."""
    height = 0.8 / n
    return [at + (number - (n - 1) / 2) * height for at in range(n_rows)], height


def plot(title: str, runs: Mapping[str, Sequence[Record]], summaries: Mapping[str, Figures], file: Path) -> None:
    """Plot the shares as bars, and how soon answers came. Raises MidfillError. Call ``need_matplotlib`` first."""
    with picture(title, file) as (bars, curve):
        _bars(bars, summaries)
        curve.set_xlabel("seconds to the whole answer")
        curve.set_ylabel("share of the holes")
        for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
            curve.ecdf([record["total_s"] for record in records], color=colour, label=name)
        curve.set_xlim(left=0)


def _bars(axes: Any, summaries: Mapping[str, Figures]) -> None:
    """Draw a group for each metric and kind, with one bar and its interval for each configuration."""
    first = next(iter(summaries.values()))
    kinds = [kind for kind in first if kind != ALL or len(first) != 2]
    rows = [(kind, metric) for metric in COLUMNS for kind in kinds if metric in first[kind]]
    for i, ((name, figures), colour) in enumerate(zip(summaries.items(), COLOURS, strict=False)):
        places, height = beside(len(rows), i, len(summaries))
        values = [100 * figures[kind][metric] for kind, metric in rows]
        ends = [[100 * end for end in figures[kind][f"{metric}_ci"]] for kind, metric in rows]
        errors = [
            [max(0.0, value - low) for value, (low, _) in zip(values, ends, strict=True)],
            [max(0.0, high - value) for value, (_, high) in zip(values, ends, strict=True)],
        ]
        axes.barh(places, values, height, label=name, color=colour, xerr=errors, ecolor="#555555")
    axes.set_yticks(range(len(rows)), [f"{COLUMNS[metric]}, {kind}" for kind, metric in rows], fontsize=8)
    axes.set_xlim(0, 100)
    axes.set_xlabel("per cent of the holes, with 95 % intervals")
