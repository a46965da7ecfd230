"""``midfill eval``: suites of holes through the whole server path, and comparisons of two runs."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import dataclasses
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from midfill import config as configuration
from midfill import paths
from midfill.commands import eval_invented, eval_languages, scoring
from midfill.commands.options import common_options, configured, opened, settings
from midfill.commands.session import session
from midfill.completer import Completer
from midfill.config import Config
from midfill.eval import humaneval, report, repository, sandbox, summary
from midfill.eval.about import commit, need_matplotlib, rounded
from midfill.eval.ask import Asker, Bare, EndToEnd, bare
from midfill.eval.context import ProjectContext
from midfill.eval.holes import Hole, chosen
from midfill.eval.run import ByTests, Record, Scorer, See, evaluate, judge_text, read_records, writer
from midfill.eval.servers import LanguageServer
from midfill.types import MidfillError, ModelInfo, Trigger

RAW = "raw"
SAY_EVERY = 10  # holes between two lines of progress


@dataclass(frozen=True, slots=True)
class Suite:
    """The holes of a run, how they are seen and scored, and what the line of JSON says of them."""

    name: str
    holes: Sequence[Hole]
    judge: Scorer
    see: See
    about: Mapping[str, Any]
    folder: Path | None = None  # of the project that the holes are in
    server: LanguageServer | None = None  # of the editor, for these files


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill eval``."""
    suites = parser.add_subparsers(
        dest="kind", required=True, metavar="humaneval|repo|languages|adapter|invented|compare"
    )
    human_eval = suites.add_parser("humaneval", help="HumanEval infilling, scored by running the tests")
    human_eval.add_argument("--suite", default="single", metavar="single|multi|random", help="kind of holes (single)")
    human_eval.add_argument("--data", metavar="FILE", help="HumanEval.jsonl.gz, if not the installed package's")
    human_eval.add_argument(
        "--no-run", dest="run_tests", action="store_false", help="do not run the tests: text metrics only, no pass@1"
    )
    _run_options(human_eval, split="dev")
    human_eval.set_defaults(run=configured(run))
    repo = suites.add_parser("repo", help="holes cut from any repository, compared with the original text")
    repo.add_argument("folder", metavar="DIR")
    repo.add_argument(
        "--kinds",
        default="rest-of-line,line,block,call-arguments,mid-word,cross-file",
        help="kinds of holes, separated by commas",
    )
    repo.add_argument(
        "--language-server", metavar="COMMAND", help="says names as an editor's would: 'pyright-langserver --stdio'"
    )
    _run_options(repo, split="all", limit=120)
    repo.set_defaults(run=configured(run))
    eval_languages.add_arguments(
        suites.add_parser("languages", help="holes in many languages, and what goes wrong in each")
    )
    scoring.add_arguments(
        suites.add_parser("adapter", help="compare two adapters by their loss at a repository's held-out middles")
    )
    eval_invented.add_arguments(
        suites.add_parser("invented", help="count the answers that name a member that does not exist")
    )
    comparing = suites.add_parser("compare", help="compare two files of --out, hole by hole")
    comparing.add_argument("files", nargs=2, metavar="FILE")
    comparing.set_defaults(run=compare)


def _run_options(parser: argparse.ArgumentParser, split: str, limit: int | None = None) -> None:
    """Add the arguments that every suite of `midfill eval` has."""
    parser.add_argument(
        "--limit", type=int, default=limit, metavar="N", help=f"number of holes, chosen by the seed ({limit or 'all'})"
    )
    parser.add_argument(
        "--split", choices=("dev", "test", "all"), default=split, help=f"tune on dev, report test ({split})"
    )
    parser.add_argument(
        "--raw", action="store_true", help="the output of a bare FIM endpoint: nothing cut, no context from other files"
    )
    parser.add_argument("--trigger", choices=("invoked", "automatic"), default="invoked", help="(invoked)")
    common_options(parser, against="KEY=VALUE[;...]|raw")


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Evaluate or compare; return the exit code."""
    commit()
    if arguments.plot is not None:
        need_matplotlib()
    with _suite(arguments) as suite, opened(arguments.out) as out:
        if not suite.holes:
            raise MidfillError("the suite has no holes like that", "choose another split, seed or kind")
        start = time.monotonic()
        configs = _configs(arguments, config)
        runs, info = asyncio.run(_evaluate(suite, configs, out, arguments.trigger))
        _report(suite, arguments, configs, runs, info, time.monotonic() - start)
    return 0


def compare(arguments: argparse.Namespace) -> int:
    """Compare two files of records in pairs; return the exit code."""
    files = [paths.expanded(name) for name in arguments.files]
    a, b = (_first(read_records(file)) for file in files)
    found = summary.paired(a, b)
    if not found:
        raise MidfillError("the two runs have no hole in common", "compare runs of the same suite and seed")
    names = [f"{letter}: {file.name}" for letter, file in zip("AB", files, strict=True)]
    report.console().print(report.of_holes(names, found))
    about = {"eval": "compare", "files": [str(file) for file in files]}
    print(json.dumps(rounded({**about, "paired": [dataclasses.asdict(one) for one in found]})))
    return 0


def _first(records: Sequence[Record]) -> list[Record]:
    """Return the records of the first configuration, if a run had two."""
    return [record for record in records if record.get("who") == records[0].get("who")]


@contextlib.contextmanager
def _suite(arguments: argparse.Namespace) -> Iterator[Suite]:
    """Return the suite in the arguments. Raises MidfillError."""
    if arguments.limit is not None and arguments.limit < 1:
        raise MidfillError(f"--limit {arguments.limit} leaves no holes", "use 1 or more")
    drawn = {"split": arguments.split, "limit": arguments.limit, "seed": arguments.seed}
    if arguments.kind == "humaneval":
        yield _humaneval(arguments, drawn)
        return
    root, kinds = paths.expanded(arguments.folder).resolve(), _kinds(arguments.kinds)
    with repository.copied(root) as workspace:
        holes = repository.Cutter(workspace.texts, arguments.split).cut(arguments.limit, kinds, arguments.seed)
        about = {"eval": "repo", "folder": root.name, "kinds": kinds, **drawn}
        about["server"] = arguments.language_server or ""
        name, command = f"holes in {root.name}", shlex.split(arguments.language_server or "")
        server = LanguageServer(command, workspace.folder) if command else None
        try:
            yield Suite(name, holes, judge_text, workspace.see, about, workspace.folder, server)
        finally:
            if server is not None:
                server.stop()


def _humaneval(arguments: argparse.Namespace, drawn: dict[str, Any]) -> Suite:
    tasks = humaneval.load(paths.expanded(arguments.data) if arguments.data else None)
    holes = chosen(humaneval.holes(tasks, arguments.suite), **drawn)
    judge: Scorer = judge_text
    if arguments.run_tests:
        sandbox.need()
        judge = ByTests({task.id: task for task in tasks})
    about = {"eval": "humaneval", "suite": arguments.suite, **drawn}
    return Suite(f"HumanEval infilling, {arguments.suite}", holes, judge, Hole.snapshot, about)


def _kinds(given: str) -> list[str]:
    kinds = [kind.strip() for kind in given.split(",") if kind.strip()]
    for kind in kinds:
        if kind not in repository.ALL_KINDS:
            raise MidfillError(f"unknown kind of hole {kind!r}", f"use {', '.join(repository.ALL_KINDS)}")
    return kinds


def _configs(arguments: argparse.Namespace, config: Config) -> dict[str, tuple[Config, bool]]:
    """Return (configuration, whether it is the bare endpoint) by name: one, or two to compare."""
    raw = bool(arguments.raw)
    base = configuration.merged(config, settings(arguments.set), "--set")
    configs = {RAW if raw else "server": (bare(base) if raw else base, raw)}
    if arguments.against is not None:
        other = arguments.against
        if other == RAW:
            if raw:
                raise MidfillError("--raw --against raw compares a configuration with itself", "leave one of them out")
            configs[RAW] = (bare(base), True)
        else:
            changed = configuration.merged(base, settings(other.split(";")), "--against")
            configs[other] = (bare(changed) if raw else changed, raw)
    return configs


async def _evaluate(
    suite: Suite, configs: Mapping[str, tuple[Config, bool]], out: TextIO | None, trigger: Trigger
) -> tuple[dict[str, list[Record]], ModelInfo]:
    async with contextlib.AsyncExitStack() as stack:
        askers: dict[str, Asker] = {}
        for name, (config, raw) in configs.items():
            completer = await stack.enter_async_context(session(config))
            askers[name] = Bare(completer) if raw else _server(completer, suite, trigger, stack)
        say, write = _progress(len(suite.holes), list(askers)), writer(out)

        def take(record: Record) -> None:
            write(record)
            say(record)

        records = await evaluate(suite.holes, askers, suite.judge, suite.see, take)
        runs = {name: [record for record in records if record["who"] == name] for name in askers}
        return runs, completer.info


def _server(completer: Completer, suite: Suite, trigger: Trigger, stack: contextlib.AsyncExitStack) -> EndToEnd:
    if suite.folder is None:
        return EndToEnd(completer, trigger)
    context = ProjectContext(completer, suite.folder, suite.server)
    stack.callback(context.close)
    return EndToEnd(completer, trigger, context.open)


def _progress(n_holes: int, names: Sequence[str]) -> Callable[[Record], None]:
    """Print a line now and then: how far, and how good so far."""
    start, done = time.monotonic(), dict.fromkeys(names, 0)
    sums: dict[str, float] = dict.fromkeys(names, 0.0)

    def say(record: Record) -> None:
        who, metrics = record["who"], record["metrics"]
        done[who] += 1
        metric = "passed" if "passed" in metrics else "first_line"
        sums[who] += metrics[metric]
        if all(n == done[who] for n in done.values()) and (done[who] % SAY_EVERY == 0 or done[who] == n_holes):
            shares = ", ".join(f"{name} {report.COLUMNS[metric]} {sums[name] / done[name]:.0%}" for name in names)
            print(
                f"[{time.monotonic() - start:6.0f} s] {done[who]} of {n_holes}: {shares}", file=sys.stderr, flush=True
            )

    return say


def _report(
    suite: Suite, arguments: argparse.Namespace, configs: Mapping[str, tuple[Config, bool]],
    runs: Mapping[str, Sequence[Record]], info: ModelInfo, seconds: float,
) -> None:  # fmt: skip
    console = report.console()
    figures = {name: summary.of(records) for name, records in runs.items()}
    for name, rows in figures.items():
        console.print(report.table(f"{suite.name}: {name}", rows))
    line = report.line({**suite.about, "seconds": seconds}, {name: one for name, (one, _) in configs.items()}, info)
    line["figures"] = rounded(figures)
    names = list(runs)
    if len(names) == 2:
        found = summary.paired(runs[names[0]], runs[names[1]])
        console.print(report.of_holes(names, found))
        line["paired"] = rounded([dataclasses.asdict(one) for one in found])
    if arguments.plot is not None:
        file = Path(paths.expanded(arguments.plot))
        report.plot(suite.name, runs, figures, file)
        console.print(f"plot: {file}")
    print(json.dumps(line))
