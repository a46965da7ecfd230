"""``midfill explain``: why a suggestion came, or did not, step by step."""

from __future__ import annotations

import argparse
import asyncio
import json
from pathlib import Path

from midfill import records
from midfill.commands.complete import file_of, read_project, read_snapshot
from midfill.commands.options import configured, model_options
from midfill.commands.session import session
from midfill.config import Config
from midfill.trace import Trace, from_plain, story, trace_of
from midfill.types import MidfillError, Snapshot, Trigger


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill explain``."""
    parser.add_argument(
        "place",
        nargs="?",
        metavar="FILE:LINE[:COL]",
        help="make a new request there; without it, explain your editor's last request (without its text)",
    )
    parser.add_argument("--invoked", action="store_true", help="as if you had triggered it manually")
    parser.add_argument("--json", action="store_true", help="print the trace as one line of JSON")
    model_options(parser)
    parser.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Explain a new request at a place, or without one the last request of a language server."""
    if arguments.place:
        trigger: Trigger = "invoked" if arguments.invoked else "automatic"
        file = file_of(arguments.place)
        trace = asyncio.run(_request(read_snapshot(arguments.place), file, trigger, config))
    else:
        trace = _last()
    print(json.dumps(trace.plain()) if arguments.json else story(trace))
    return 0


async def _request(snapshot: Snapshot, file: Path, trigger: Trigger, config: Config) -> Trace:
    """Make a request as an editor would: with the project's context, and with the same refusals."""
    n = config.candidates if trigger == "invoked" else 1
    async with session(config) as completer:
        workspace, snapshot = await asyncio.to_thread(read_project, snapshot, file, config, completer.snippet_budget)
        completer.sources = (workspace,)
        completion = await completer.last(snapshot, trigger=trigger, n=n)
    trace = trace_of(completion)
    trace.answer_s = completion.stats.total_s if completion.stats else 0.0
    return trace


def _last() -> Trace:
    try:
        values = records.last_trace()
    except RecursionError as error:
        raise MidfillError(f"{records.trace_file()} is damaged", "run: midfill stats --clear") from error
    if values is None:
        raise MidfillError(
            "no request is recorded", "midfill keeps the last one if records = true; or name FILE:LINE[:COL]"
        )
    try:
        trace = from_plain(values)
        story(trace)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise MidfillError(f"{records.trace_file()} is damaged", "run: midfill stats --clear") from error
    return trace
