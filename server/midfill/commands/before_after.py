"""What users see before and after: two configurations answer held-out holes in turns, as the gate of training asks."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.table import Table

from midfill.commands.session import session
from midfill.config import Config
from midfill.eval.ask import bare
from midfill.eval.figures import Difference
from midfill.eval.holes import Hole
from midfill.eval.run import Record, evaluate
from midfill.train import gate

SAY_EVERY = 20  # holes between two lines of progress, without a terminal


def answered(holes: Sequence[Hole], before: Config, after: Config, console: Console) -> tuple[list[Record], str]:
    """Return both configurations' answers, from the engine that would serve them, and its number format.

    Raises EngineError.
    """
    return asyncio.run(_answered(holes, {gate.BEFORE: before, gate.AFTER: after}, console))


async def _answered(
    holes: Sequence[Hole], configs: Mapping[str, Config], console: Console
) -> tuple[list[Record], str]:  # fmt: skip
    seen: set[str] = set()
    async with contextlib.AsyncExitStack() as stack:
        askers = {}
        for name, config in configs.items():
            plain = dataclasses.replace(bare(config), max_tokens=gate.MAX_TOKENS)
            completers = [await stack.enter_async_context(session(one)) for one in (config, plain)]
            askers[name] = gate.Gate(*completers)
        status = stack.enter_context(console.status("")) if console.is_terminal else None

        def on_record(record: Record) -> None:
            is_whole = record["id"] in seen  # both have answered
            seen.add(record["id"])
            if status is not None:
                status.update(f"before and after: hole {len(seen)} of {len(holes)}")
            elif is_whole and len(seen) % SAY_EVERY == 0:
                console.print(f"  before and after: {len(seen)} of {len(holes)} holes")

        return await evaluate(holes, askers, gate.judge, gate.see, on_record), completers[0].info.dtype


def shown(differences: Sequence[Difference], names: tuple[str, str] = ("before", "after")) -> Table:
    """Return the table for users."""
    table = Table(title="Before and after, on files that were held out", title_justify="left")
    for column in ("measure", "holes", *names, "difference", "95 % interval"):
        table.add_column(column, justify="left" if column == "measure" else "right")
    for one in differences:
        is_share = one.metric in gate.DECIDING
        a, b, d, low, high = (
            f"{value * 100:{sign}.1f} %" if is_share else f"{value:{sign}.1f}"
            for value, sign in ((one.a, ""), (one.b, ""), (one.difference, "+"), (one.low, "+"), (one.high, "+"))
        )
        style = "bold" if one.is_sure else ""
        table.add_row(gate.name_of(one), str(one.n), a, b, d, f"{low} to {high}", style=style)
    return table
