"""Progress in a terminal."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeElapsedColumn


@contextlib.contextmanager
def stages(*, quiet: bool = False) -> Iterator[Callable[[str, float], None]]:
    """Call it with (stage, fraction): one bar a stage, on standard error.

    Where that is no terminal: plain lines, or nothing if ``quiet``.
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
        present: tuple[str, TaskID] | None = None

        def report(stage: str, fraction: float) -> None:
            nonlocal present
            if present is None or present[0] != stage:
                if present is not None:
                    bars.update(present[1], completed=1.0)
                present = stage, bars.add_task(stage, total=1.0)
            bars.update(present[1], completed=fraction)

        yield report
        if present is not None:
            bars.update(present[1], completed=1.0)


def _plain(console: Console) -> Callable[[str, float], None]:
    last = ""

    def report(stage: str, fraction: float) -> None:
        nonlocal last
        if stage != last:
            last = stage
            console.print(f"  {stage}…", highlight=False)

    return report
