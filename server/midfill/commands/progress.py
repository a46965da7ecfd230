"""Progress in a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from midfill import starting
from midfill.starting import StartProgress


@contextlib.contextmanager
def stages(*, quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """Return a function of (stage, fraction) that shows one bar over all stages, on standard error.

    Without a terminal it prints plain lines, or nothing if ``quiet``.
    """
    console = Console(file=sys.stderr)
    if not console.is_terminal:
        yield (lambda stage, fraction: None) if quiet else _plain(console)
        return
    columns = (
        TextColumn("  {task.description:<28}"),
        BarColumn(32),
        TextColumn("{task.percentage:>3.0f} %"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bars:
        start, bar = StartProgress(starting.last()), bars.add_task("starting", total=1.0, visible=False)

        def report(stage: str, fraction: float) -> None:
            start.report(stage, fraction)
            left = f", {start.left_s:.0f} s left" if start.left_s >= 1 else ""
            bars.update(bar, description=f"{stage}{left}", completed=start.fraction, visible=True)

        yield report
        start.done()
        bars.update(bar, completed=start.fraction)


def _plain(console: Console) -> Callable[[str, float], None]:
    last = ""

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        if stage != last:
            last = stage
            console.print(f"  {stage}…", highlight=False)

    return report
