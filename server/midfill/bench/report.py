"""The table, the plot and the line of JSON at the end of a run."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from midfill.bench.figures import ANSWER, COLD, CONTENDERS, KEY, OURS, TOKEN, Samples, prefill
from midfill.bench.goals import GoalResult
from midfill.bench.load import BUSY
from midfill.bench.replay import Replay
from midfill.eval.about import commit, machine, need_matplotlib, versions
from midfill.eval.figures import Difference, percentile
from midfill.eval.report import beside, grid, ms, picture

COLOURS = dict(zip(CONTENDERS, ("#1f77b4", "#9ecae1", "#ff7f0e", "#7f7f7f"), strict=True))


@dataclass(slots=True)
class Report:
    """Everything that one run measured."""

    settings: dict[str, Any]
    samples: Samples
    tokens_per_s: dict[str, float]
    quality: Difference | None
    replay: Replay | None
    verdicts: Sequence[GoalResult]
    versions: dict[str, str] = field(default_factory=dict)
    n_tokens: dict[str, float] = field(default_factory=dict)
    load_average: dict[str, list[float]] = field(default_factory=dict)  # before the run, and at its end
    disturbed_s: dict[str, float] = field(default_factory=dict)  # what the others computed during a contender's turns
    strangers: float | None = None  # the part of the machine that other programs took meanwhile

    def metrics(self) -> list[tuple[str, str]]:
        """Return (metric, its name for users) of those that were measured."""
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
        """Return every number, for JSON."""
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
    """Print the tables."""
    out.print(_times(report))
    if report.replay is not None:
        out.print(_replay(report.replay))
    out.print(goals(report.verdicts))
    if report.strangers is not None and report.strangers > BUSY:
        says = f"other programs took {report.strangers:.0%} of the machine: it does not slow everyone alike"
        out.print(f"[yellow]{says}; run again on an idle one[/]")


def _names(report: Report) -> list[str]:
    """Return the names of the contenders that were measured."""
    return [name for name in CONTENDERS if any(name in row for row in report.samples.values.values())]


def _times(report: Report) -> Table:
    names = _names(report)
    rows = [(label, *(_cell(report.samples, metric, name) for name in names)) for metric, label in report.metrics()]
    rates = (f"{rate:.1f}/s" if (rate := report.tokens_per_s.get(name)) else "" for name in names)
    title = "medians, and our part of each rival's time"
    return grid(title, ("", *names), [*rows, ("tokens at the holes", *rates)])


def _cell(samples: Samples, metric: str, name: str) -> str:
    p50 = samples.p50(metric, name)
    if p50 is None:
        return ""
    ratio = samples.ratio(metric, name) if name != OURS else None
    return _ms(p50) + (f" ({ratio:.2f} x)" if ratio is not None else "")


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms" if seconds < 0.1 else ms(seconds)


def _replay(replay: Replay) -> Table:
    figures = replay.figures()
    table = Table(title="typing replay", show_header=False)
    table.add_row("keystrokes, of which ghost text followed", f"{replay.n_keys}, {figures['n_keys_with_text']}")
    table.add_row("keystroke to ghost text, p50 / p95", ms(figures["p50_s"], figures["p95_s"]))
    table.add_row("tokens decoded / shown / wasted", f"{replay.n_decoded} / {replay.n_shown} / {replay.n_wasted}")
    return table


def goals(verdicts: Sequence[GoalResult]) -> Table:
    """Return a table of the goals and what was measured."""
    says = {True: "[green]reached[/]", False: "[red]missed[/]", None: ""}
    rows = [(one.name, one.goal, one.measured, says[one.passed]) for one in verdicts]
    return grid("goals", ("goal", "wanted", "measured", ""), rows, "left")


def plot(report: Report, file: Path) -> None:
    """Plot every metric as bars, and how soon the replay's ghost text came. Raises MidfillError."""
    need_matplotlib("say --plot none")
    about = machine()
    title = f"midfill bench: {about['cpu']}, {about['cores']} cores, {report.settings['model']}"
    with picture(title, file, height=5) as (bars, curve):
        _bars(bars, report)
        _curve(curve, report.replay)


def _bars(axes: Any, report: Report) -> None:
    metrics, names = report.metrics(), _names(report)
    for i, name in enumerate(names):
        places, height = beside(len(metrics), i, len(names))
        p50s = [report.samples.p50(metric, name) for metric, _ in metrics]
        rows = [(at, p50 * 1000) for at, p50 in zip(places, p50s, strict=True) if p50 is not None]
        drawn = axes.barh(*zip(*rows, strict=True), height, label=name, color=COLOURS[name])
        axes.bar_label(drawn, fmt="%.0f", padding=2, fontsize=7)
    axes.set_xscale("log")
    axes.set_xlabel("milliseconds, medians of one interleaved run (less is better)")
    axes.set_yticks(range(len(metrics)), [label for _, label in metrics])
    axes.margins(x=0.15)
    axes.set_xlim(left=10)


def _curve(axes: Any, replay: Replay | None) -> None:
    axes.set_title("typing replay: keystroke to ghost text", fontsize=10)
    axes.set_xlabel("milliseconds")
    axes.set_ylabel("share of the keys that got ghost text")
    if replay is not None and replay.shown_s:
        axes.ecdf([time * 1000 for time in replay.shown_s], color=COLOURS[OURS])
    axes.set_ylim(0, 1)
