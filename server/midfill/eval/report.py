"""The tables, the plot and the line of JSON of an evaluation."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from midfill.config import DEFAULT, Config
from midfill.eval.about import commit, machine, rounded, versions
from midfill.eval.run import Record
from midfill.eval.summary import ALL, Difference
from midfill.types import MidfillError, ModelInfo

WIDTH = 180  # where no terminal says how wide it is
# Metric, and what a table calls it.
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

Figures = Mapping[str, Mapping[str, Any]]


def console(*, quiet: bool = False) -> Console:
    """Wide enough for the tables, also in a file."""
    made = Console(highlight=False, quiet=quiet)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def table(title: str, figures: Figures) -> Table:
    """A row for each kind of hole. Shares in per cent, the first one with its 95 % interval."""
    rows = [kind for kind in figures if kind != ALL or len(figures) != 2]
    metrics = [metric for metric in COLUMNS if any(metric in figures[kind] for kind in rows)]
    made = Table(title=title)
    for column in ("", "holes", *(COLUMNS[metric] for metric in metrics), "TTFT p50/p95", "answer p50/p95"):
        made.add_column(column, justify="right" if column else "left")
    for kind in rows:
        row = figures[kind]
        cells = [_share(row, metric, with_interval=metric == metrics[0]) for metric in metrics]
        made.add_row(kind, str(row["n"]), *cells, _times(row, "ttft_s"), _times(row, "total_s"))
    return made


def _share(row: Mapping[str, Any], metric: str, *, with_interval: bool) -> str:
    if metric not in row:
        return ""
    low, high = row[f"{metric}_ci"]
    return f"{row[metric]:.1%}" + (f" [{low:.0%}, {high:.0%}]".replace("%,", ",") if with_interval else "")


def _times(row: Mapping[str, Any], name: str) -> str:
    return " / ".join(
        "-" if value is None else f"{value * 1000:.0f} ms" for value in (row[f"{name}_p50"], row[f"{name}_p95"])
    )


def differences(names: Sequence[str], found: Sequence[Difference]) -> Table:
    """The paired comparison; what is surely different is marked. Of single kinds only that, and the first metric."""
    made = Table(title=f"{names[1]} against {names[0]}, paired, 95 % intervals")
    for column in ("", "", "holes", *names, "difference", "interval", ""):
        made.add_column(column, justify="left" if not column else "right")
    for one in found:
        if one.kind != ALL and one.metric != found[0].metric and not one.is_sure:
            continue
        label = {**COLUMNS, **COSTS}.get(one.metric, one.metric)
        form = "{:.2f}" if one.metric in COSTS else "{:.1%}"
        sign = "+" if one.difference > 0 else ""
        span = f"{form.format(one.low)} to {form.format(one.high)}"
        made.add_row(
            one.kind, label, str(one.n), form.format(one.a), form.format(one.b),
            sign + form.format(one.difference), span,
            "differs" if one.is_sure else "",
        )  # fmt: skip
    return made


def line(settings: Mapping[str, Any], configs: Mapping[str, Config], info: ModelInfo | None) -> dict[str, Any]:
    """What the line of JSON says of the run beside its figures."""
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
    """The settings that are not the defaults."""
    return {name: value for name, value in dataclasses.asdict(config).items() if value != getattr(DEFAULT, name)}


def plot(title: str, runs: Mapping[str, Sequence[Record]], summaries: Mapping[str, Figures], file: Path) -> None:
    """Bars of the shares, and how soon answers came. Raises MidfillError. Call ``need_matplotlib`` first."""
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures make the same file, and letters stay letters.
    mpl.rcParams.update({"svg.hashsalt": "midfill", "svg.fonttype": "none"})
    figure, (bars, curve) = pyplot.subplots(1, 2, figsize=(12, 4.5), width_ratios=(2, 1), layout="constrained")
    figure.suptitle(title)
    _bars(bars, summaries)
    curve.set_xlabel("seconds to the whole answer")
    curve.set_ylabel("share of the holes")
    for (name, records), colour in zip(runs.items(), COLOURS, strict=False):
        curve.ecdf([record["total_s"] for record in records], color=colour, label=name)
    curve.set_xlim(left=0)
    save(figure, file)
    pyplot.close(figure)


def _bars(axes: Any, summaries: Mapping[str, Figures]) -> None:
    """One group a metric and kind, one bar a configuration, with its interval."""
    first = next(iter(summaries.values()))
    kinds = [kind for kind in first if kind != ALL or len(first) != 2]
    rows = [(kind, metric) for metric in COLUMNS for kind in kinds if metric in first[kind]]
    height = 0.8 / len(summaries)
    for i, ((name, figures), colour) in enumerate(zip(summaries.items(), COLOURS, strict=False)):
        places = [at + (i - (len(summaries) - 1) / 2) * height for at in range(len(rows))]
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
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=len(summaries), frameon=False)


def save(figure: Any, file: Path) -> None:
    """Write a figure. Raises MidfillError."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise MidfillError(f"cannot write the plot {file}: {error}", "name a .svg or .png file with --plot") from error
