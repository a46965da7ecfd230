"""The table, the plot and the line of JSON that a run ends with."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from midfill.bench.figures import (
    ANSWER,
    COLD,
    CONTENDERS,
    KEY,
    OURS,
    TOKEN,
    Samples,
    prefill,
)
from midfill.bench.goals import Verdict
from midfill.bench.load import BUSY
from midfill.bench.replay import Replay
from midfill.eval.about import commit, machine, need_matplotlib, versions
from midfill.eval.figures import Paired, percentile
from midfill.types import MidfillError

COLOURS = dict(zip(CONTENDERS, ("#1f77b4", "#9ecae1", "#ff7f0e", "#7f7f7f"), strict=True))


@dataclass(slots=True)
class Report:
    """Everything that one run measured."""

    settings: dict[str, Any]
    samples: Samples
    tokens_per_s: dict[str, float]
    quality: Paired | None
    replay: Replay | None
    verdicts: Sequence[Verdict]
    versions: dict[str, str] = field(default_factory=dict)
    n_tokens: dict[str, float] = field(default_factory=dict)
    load_average: dict[str, list[float]] = field(default_factory=dict)  # before the run, and at its end
    disturbed_s: dict[str, float] = field(default_factory=dict)  # what others computed during a contender's turns
    strangers: float | None = None  # the part of the machine that other programs took meanwhile

    def metrics(self) -> list[tuple[str, str]]:
        """(metric, what a person calls it), of those that were measured."""
        context = self.settings["context_tokens"]
        named = [(prefill(size), f"prefill {size} tokens") for size in self.settings["sizes"]]
        named += [
            (TOKEN, f"one token after {context}, no speculation"),
            (COLD, f"TTFT, cold, {context} tokens"),
            (KEY, "TTFT after a keystroke"),
            (ANSWER, f"{self.settings['answer_tokens']} tokens after a keystroke"),
        ]
        return [(metric, name) for metric, name in named if metric in self.samples.values]

    def line(self) -> dict[str, Any]:
        """Every number, for JSON."""
        values = self.samples.values
        rivals = [name for name in CONTENDERS if name != OURS]
        return {
            "bench": "midfill",
            **self.settings,
            "p50": {metric: {name: self.samples.p50(metric, name) for name in row} for metric, row in values.items()},
            "p95": {metric: {n: percentile(found, 0.95) for n, found in row.items()} for metric, row in values.items()},
            "ratio": {
                rival: {m: ratio for m in values if (ratio := self.samples.ratio(m, rival)) is not None}
                for rival in rivals
            },
            "n_tokens": self.n_tokens,
            "disturbed_s": self.disturbed_s,
            "strangers": self.strangers,
            "tokens_per_s": self.tokens_per_s,
            "quality": dataclasses.asdict(self.quality) if self.quality else None,
            "replay": self.replay.figures() if self.replay else None,
            "goals": [dataclasses.asdict(verdict) for verdict in self.verdicts],
            "samples": values,
            "machine": {**machine(), "load_average": self.load_average},
            "versions": {**versions(), **self.versions},
            "commit": commit(),
        }


def show(report: Report, out: Console) -> None:
    """The tables for a person."""
    out.print(_times(report))
    if report.replay is not None:
        out.print(_replay(report.replay))
    out.print(goals(report.verdicts))
    if report.strangers is not None and report.strangers > BUSY:
        says = f"other programs took {report.strangers:.0%} of the machine: it does not slow everyone alike"
        out.print(f"[yellow]{says}; run again on an idle one[/]")


WIDTH = 130  # where no terminal says how wide it is


def console(*, quiet: bool) -> Console:
    """Wide enough for the tables, also in a file."""
    made = Console(highlight=False, quiet=quiet)
    if not made.is_terminal:
        made.width = WIDTH
    return made


def _times(report: Report) -> Table:
    names = [name for name in CONTENDERS if any(name in row for row in report.samples.values.values())]
    table = Table(title="medians, and our part of each rival's time")
    for column in ("", *names):
        table.add_column(column, justify="left" if not column else "right")
    for metric, label in report.metrics():
        table.add_row(label, *(_cell(report.samples, metric, name) for name in names))
    rates = (f"{rate:.1f}/s" if (rate := report.tokens_per_s.get(name)) else "" for name in names)
    table.add_row("tokens at the holes", *rates)
    return table


def _cell(samples: Samples, metric: str, name: str) -> str:
    p50 = samples.p50(metric, name)
    if p50 is None:
        return ""
    ratio = samples.ratio(metric, name) if name != OURS else None
    return _ms(p50) + (f" ({ratio:.2f} x)" if ratio is not None else "")


def _ms(seconds: float | None) -> str:
    return "-" if seconds is None else f"{seconds * 1000:.1f} ms" if seconds < 0.1 else f"{seconds * 1000:.0f} ms"


def _replay(replay: Replay) -> Table:
    figures = replay.figures()
    table = Table(title="typing replay", show_header=False)
    table.add_row("keystrokes, of which ghost text followed", f"{replay.n_keys}, {figures['n_keys_with_text']}")
    table.add_row("keystroke to ghost text, p50 / p95", f"{_ms(figures['p50_s'])} / {_ms(figures['p95_s'])}")
    table.add_row("tokens decoded / shown / wasted", f"{replay.n_decoded} / {replay.n_shown} / {replay.n_wasted}")
    return table


def goals(verdicts: Sequence[Verdict]) -> Table:
    """What was to be reached, and what was."""
    table = Table(title="goals")
    for column in ("goal", "wanted", "measured", ""):
        table.add_column(column)
    for verdict in verdicts:
        says = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}[verdict.passed]
        table.add_row(verdict.name, verdict.goal, verdict.measured, says)
    return table


def plot(report: Report, file: Path) -> None:
    """Bars of every metric, and how soon the replay's ghost text came. Raises MidfillError."""
    need_matplotlib("say --plot none")
    import matplotlib as mpl

    mpl.use("svg")
    from matplotlib import pyplot

    # The same figures make the same file, and letters stay letters.
    mpl.rcParams.update({"svg.hashsalt": "midfill", "svg.fonttype": "none"})
    figure, (bars, curve) = pyplot.subplots(1, 2, figsize=(12, 5), width_ratios=(2, 1), layout="constrained")
    _bars(bars, report)
    _curve(curve, report.replay)
    machine_of = machine()
    figure.suptitle(f"midfill bench: {machine_of['cpu']}, {machine_of['cores']} cores, {report.settings['model']}")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(file, metadata={"Date": None} if file.suffix == ".svg" else None)
    except (OSError, ValueError) as error:
        raise MidfillError(f"cannot write the plot {file}: {error}", "name a .svg or .png file with --plot") from error
    pyplot.close(figure)


def _bars(axes: Any, report: Report) -> None:
    metrics = report.metrics()
    names = [name for name in CONTENDERS if any(name in row for row in report.samples.values.values())]
    height = 0.8 / len(names)
    for i, name in enumerate(names):
        rows = [(at, p50) for at, (m, _) in enumerate(metrics) if (p50 := report.samples.p50(m, name)) is not None]
        places = [at + (i - (len(names) - 1) / 2) * height for at, _ in rows]
        drawn = axes.barh(places, [p50 * 1000 for _, p50 in rows], height, label=name, color=COLOURS[name])
        axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, medians of one interleaved run (less is better)")
    axes.set_yticks(range(len(metrics)), [label for _, label in metrics])
    axes.invert_yaxis()
    axes.margins(x=0.15)
    axes.set_xlim(left=10)
    axes.legend(fontsize=8, ncols=len(names), loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)


def _curve(axes: Any, replay: Replay | None) -> None:
    axes.set_title("typing replay: keystroke to ghost text", fontsize=10)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of the keys that got ghost text")
    if replay is not None and replay.shown_s:
        axes.ecdf([time * 1000 for time in replay.shown_s], color=COLOURS[OURS])
    axes.set_ylim(0, 1)
