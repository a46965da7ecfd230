"""``midfill replay``: types real files through the server and reports what that would have saved."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TextIO

from midfill import config as configuration
from midfill import paths
from midfill.commands.options import common_options, configured, opened, settings
from midfill.commands.session import session
from midfill.completer import Completer
from midfill.config import DEFAULT, Config
from midfill.context.project import project_of
from midfill.eval import knob, replay_report, report
from midfill.eval.about import commit, need_matplotlib, rounded
from midfill.eval.context import ProjectContext
from midfill.eval.pace import Memory, Pace, Remembering
from midfill.eval.replay import WAYS, Habits, Passage, Tally, Typist, counter, places
from midfill.eval.repository import read_text
from midfill.syntax import languages
from midfill.types import MidfillError, ModelInfo

MAX_FILES, MAX_CHARS, MAX_PLACES = 1000, 100_000, 1000


@dataclass(slots=True)
class ConfigResults:
    """The results of one configuration, place by place."""

    config: Config
    tallies: list[tuple[Passage, Tally]] = field(default_factory=list)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill replay``."""
    parser.add_argument("files", nargs="+", metavar="FILE")
    parser.add_argument("--chars", type=int, default=400, metavar="N", help="characters to type at each place (400)")
    parser.add_argument("--places", type=int, default=3, metavar="N", help="places in each file (3)")
    parser.add_argument(
        "--accept",
        default="whole,line,word",
        help="which parts of a suggestion the typist accepts, separated by commas (whole,line,word)",
    )
    parser.add_argument(
        "--least",
        type=int,
        default=4,
        metavar="N",
        help="shortest suggestion that the typist accepts, in characters (4)",
    )
    parser.add_argument("--real-time", action="store_true", help="sleep between the keys, as a person does")
    parser.add_argument(
        "--wait", action="store_true", help="wait for every answer: the upper bound of what could be saved"
    )
    parser.add_argument(
        "--growth", action="store_true", help="behave like an editor that shows suggestions while they grow"
    )
    parser.add_argument(
        "--pace",
        metavar="FIRST,TOKEN",
        help="assume that the engine needs these seconds for its first token and for each later one",
    )
    parser.add_argument(
        "--hasty", action="store_true", help="accept suggestions that begin well, and delete the wrong end"
    )
    parser.add_argument(
        "--knob", action="store_true", help="replay with --hasty at each eagerness in turn, and print one table"
    )
    common_options(parser)
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Type, and show the results; return the exit code."""
    commit()
    if arguments.plot is not None:
        need_matplotlib()
    habits, found = _habits(arguments), _places(arguments)
    runs = {name: ConfigResults(one) for name, one in _configs(arguments, config).items()}
    start = time.monotonic()
    with opened(arguments.out) as out:
        info = asyncio.run(_type(runs, found, habits, out))
    _report(arguments, habits, runs, info, time.monotonic() - start)
    return 0


def _configs(arguments: argparse.Namespace, config: Config) -> dict[str, Config]:
    if (
        not arguments.real_time and not arguments.knob
    ):  # the keys have a clock of their own: the server would measure the wrong gaps
        config = dataclasses.replace(config, max_debounce_s=0.0)
    base = configuration.merged(config, settings(arguments.set), "--set")
    if arguments.knob:
        return {name: dataclasses.replace(base, eagerness=name) for name in configuration.EAGERNESS}
    if arguments.against is None:
        return {"server": base}
    other = configuration.merged(base, settings(arguments.against.split(";")), "--against")
    return {"server": base, str(arguments.against): other}


def _habits(arguments: argparse.Namespace) -> Habits:
    ways = tuple(way for way in WAYS if way in arguments.accept.split(","))
    for way in arguments.accept.split(","):
        if way not in WAYS:
            raise MidfillError(f"unknown way of accepting: {way!r}", f"use {', '.join(WAYS)}")
    for name, high in (("least", 1000), ("chars", MAX_CHARS), ("places", MAX_PLACES)):
        if not 1 <= getattr(arguments, name) <= high:
            raise MidfillError(f"--{name} {getattr(arguments, name)} is out of range", f"use 1 to {high}")
    if arguments.knob and arguments.against is not None:
        raise MidfillError("--knob compares all positions with each other", "leave --against out")
    hasty = arguments.hasty or arguments.knob
    pace = _pace(arguments.pace) if arguments.pace is not None else None
    return Habits(
        arguments.least, ways, arguments.real_time, arguments.wait, arguments.growth, arguments.seed, hasty, pace
    )  # fmt: skip


def _pace(text: str) -> Pace:
    """Read ``FIRST,TOKEN`` in seconds. Raises MidfillError."""
    try:
        first_s, token_s = map(float, text.split(","))
    except ValueError:
        first_s = token_s = -1.0
    if not (0 <= first_s <= 60 and 0 <= token_s <= 60):
        raise MidfillError(f"--pace {text[:40]} is not a pair of seconds", "for example 0.25,0.02")
    return Pace(first_s, token_s)


def _places(arguments: argparse.Namespace) -> list[Passage]:
    """Return the places to type at. Raises MidfillError."""
    if len(arguments.files) > MAX_FILES:
        raise MidfillError(f"{len(arguments.files)} files are too many", f"name at most {MAX_FILES}")
    found: list[Passage] = []
    for name in arguments.files:
        file = paths.expanded(name)
        if not (text := read_text(file)).strip():
            raise MidfillError(f"{name} is not a small regular file of UTF-8 text", "midfill replay types source files")
        root = project_of(file := file.resolve())
        path = file.relative_to(root).as_posix()
        found += places(root, path, languages.of_path(path), text, arguments.places, arguments.chars)
    return found


async def _type(
    runs: Mapping[str, ConfigResults], found: Sequence[Passage], habits: Habits, out: TextIO | None
) -> ModelInfo:
    """Type every place by every configuration in turn; each time another one begins."""
    async with AsyncExitStack() as stack:
        completers = {name: await stack.enter_async_context(session(one.config)) for name, one in runs.items()}
        count, names, start = counter(next(iter(completers.values())).info), list(runs), time.monotonic()
        if habits.pace is not None:  # the most eager first: the others need only the start of its answer
            names, memory = names[::-1], Memory()
            for completer in completers.values():
                completer.engine = Remembering(completer.engine, memory)
        for turn, place in enumerate(found):
            first = 0 if habits.pace is not None else turn % len(names)
            for name in names[first:] + names[:first]:
                tally = await _type_one(completers[name], place, habits, count, _events(out, name))
                runs[name].tallies.append((place, tally))
            print(f"[{time.monotonic() - start:6.0f} s] {turn + 1} of {len(found)}: {place.path}", file=sys.stderr)
        return next(iter(completers.values())).info


async def _type_one(
    completer: Completer, place: Passage, habits: Habits, count: Callable[[str], int],
    on_event: Callable[[dict[str, Any]], None],
) -> Tally:  # fmt: skip
    """Type in a project that was read before the first key."""
    completer.resident = True  # as in the language server
    context = ProjectContext(completer, place.folder)
    typist = Typist(completer, place, habits, count, on_event, context.changed)
    try:
        await asyncio.to_thread(context.open, typist.snapshot())
        return await typist.type()
    finally:
        context.close()


def _events(out: TextIO | None, who: str) -> Callable[[dict[str, Any]], None]:
    def write(event: dict[str, Any]) -> None:
        if out is not None:
            out.write(json.dumps({"who": who, **event}) + "\n")

    return write


def _report(
    arguments: argparse.Namespace, habits: Habits, runs: Mapping[str, ConfigResults], info: ModelInfo, seconds: float
) -> None:
    console = report.console()
    totals = {name: replay_report.total(one.tallies) for name, one in runs.items()}
    for name, one in runs.items():
        console.print(replay_report.table(f"typing replay: {name}", one.tallies))
    names = [file.name for file in map(Path, arguments.files)]
    about = {"eval": "replay", "files": names, "chars": arguments.chars, "places": arguments.places}
    about |= {**dataclasses.asdict(habits), "seconds": seconds}
    line = report.line(about, {name: one.config for name, one in runs.items()}, info)
    line["figures"] = rounded({name: tally.figures() for name, tally in totals.items()})
    if arguments.knob:
        tallies = {name: one.tallies for name, one in runs.items()}
        console.print(knob.table(tallies))
        line["knob"], line["paired"] = rounded(knob.figures(tallies)), {}
        for name, found in knob.against(tallies, DEFAULT.eagerness).items():
            console.print(report.differences((DEFAULT.eagerness, name), found, replay_report.SHARES))
            line["paired"][name] = rounded([dataclasses.asdict(one) for one in found])
    if len(runs) == 2:
        compared = replay_report.paired([one.tallies for one in runs.values()])
        console.print(report.differences(list(runs), compared, replay_report.SHARES))
        line["paired"] = rounded([dataclasses.asdict(one) for one in compared])
    if arguments.plot is not None:
        file = paths.expanded(arguments.plot)
        replay_report.plot({name: one.tallies for name, one in runs.items()}, file)
        console.print(f"plot: {file}")
    print(json.dumps(line))
