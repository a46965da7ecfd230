"""``midfill eval languages``: holes of many languages, cut once, answered by any checkout, scored from
saved answers."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.commands import answering
from midfill.commands.options import configured, model_options
from midfill.config import Config
from midfill.eval import report, summary
from midfill.eval.about import commit, rounded
from midfill.eval.holes import Hole
from midfill.eval.languages.answers import holes_from, records_of, write_holes
from midfill.eval.languages.cut import holes_of, in_turns
from midfill.eval.languages.new_files import new_file_holes
from midfill.eval.languages.table import of_groups, other_languages, table
from midfill.eval.repository import read_text
from midfill.eval.run import Record, writer
from midfill.types import MidfillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill eval languages``."""
    steps = parser.add_subparsers(dest="step", required=True, metavar="cut|answer|report")
    cutting = steps.add_parser(
        "cut", help="cut holes into the projects in DIR/<group>/<project>, and take the starts of new files"
    )
    cutting.add_argument("folder", nargs="?", metavar="DIR", help="without it, only new files are used")
    cutting.add_argument("--per-group", type=int, default=24, metavar="N", help="holes of each group of languages (24)")
    cutting.add_argument("--no-new-files", action="store_true", help="leave out the starts of new files")
    cutting.add_argument("--seed", type=int, default=1, help="(1)")
    cutting.add_argument("--out", required=True, metavar="HOLES", help="the file of JSON lines to write")
    cutting.set_defaults(run=cut)
    asking = steps.add_parser("answer", help="ask for a suggestion at each hole; continues an earlier run")
    asking.add_argument("holes", metavar="HOLES")
    asking.add_argument("--out", required=True, metavar="ANSWERS", help="the file to add the answers to")
    asking.add_argument("--trigger", choices=("automatic", "invoked"), default="invoked", help="(invoked)")
    asking.add_argument("--limit", type=int, metavar="N", help="answer at most this many holes now")
    model_options(asking)
    asking.set_defaults(run=configured(answer))
    reporting = steps.add_parser(
        "report", help="print the table by language; of two files of answers also the paired differences"
    )
    reporting.add_argument("holes", metavar="HOLES")
    reporting.add_argument("answers", nargs="+", metavar="ANSWERS")
    reporting.add_argument("--out", metavar="FILE", help="write every answer with its findings as JSON lines")
    reporting.set_defaults(run=show)


def cut(arguments: argparse.Namespace) -> int:
    """Write the holes of a folder of projects, and of new files, to --out; return the exit code."""
    holes: list[Hole] = [] if arguments.no_new_files else new_file_holes()
    if arguments.folder is not None:
        root = paths.expanded(arguments.folder)
        if not root.is_dir():
            raise MidfillError(f"{root} is not a folder", "fetch the projects first: scripts/eval_languages/README.md")
        holes += in_turns(holes_of(_texts(root), arguments.per_group, arguments.seed))
    if not holes:
        raise MidfillError("there are no holes to cut", "name a folder with <group>/<project>/...")
    n = write_holes(holes, paths.expanded(arguments.out))
    print(json.dumps({"eval": "languages cut", "n_holes": n, "seed": arguments.seed, "commit": commit()}))
    return 0


def _texts(root: Path) -> dict[str, str]:
    """Return the files of every project, by path from the project's name on. ``root`` holds <group>/<project>/..."""
    found: dict[str, str] = {}
    for project in sorted(path for group in root.iterdir() if group.is_dir() for path in group.iterdir()):
        for file in sorted(project.rglob("*")):
            if text := read_text(file):
                found[f"{project.name}/{file.relative_to(project).as_posix()}"] = text
    return found


def answer(arguments: argparse.Namespace, config: Config) -> int:
    """Ask for the missing answers; return the exit code."""
    holes, out = paths.expanded(arguments.holes), paths.expanded(arguments.out)
    n = answering.run(holes, out, config, arguments.trigger, arguments.limit)
    print(json.dumps({"eval": "languages answer", "n_answered": n, "commit": commit()}))
    return 0


def show(arguments: argparse.Namespace) -> int:
    """Print the table of one file of answers, or of two with their paired differences; return the exit code."""
    holes = holes_from(answering.read_lines(paths.expanded(arguments.holes)))
    files = [paths.expanded(name) for name in arguments.answers]
    if len(set(files)) < len(files):
        raise MidfillError("the same file of answers is named twice", "name each file once")
    are_alike = len({file.name for file in files}) < len(files)
    runs = {str(file) if are_alike else file.name: _records(holes, file) for file in files}
    console = report.console()
    line: dict[str, Any] = {"eval": "languages", "files": [str(file) for file in files], "commit": commit()}
    line["figures"] = {}
    for name, records in runs.items():
        console.print(table(name, records))
        if other := other_languages(records):
            console.print(other)
        line["figures"][name] = rounded(summary.of(records))
    if len(files) == 2:
        found = summary.paired(*runs.values())
        console.print(of_groups(list(runs), found))
        line["paired"] = rounded([dataclasses.asdict(one) for one in found])
    if arguments.out is not None:
        _write(runs, paths.expanded(arguments.out))
    print(json.dumps(line))
    return 0


def _records(holes: Mapping[str, Hole], file: Path) -> list[Record]:
    records = records_of(holes, answering.read_lines(file))
    if not records:
        raise MidfillError(
            f"{file.name} has no answer to any of the holes", "name the file of holes that these answers belong to"
        )
    return records


def _write(runs: Mapping[str, list[Record]], file: Path) -> None:
    with file.open("w", encoding="utf-8") as opened:
        write = writer(opened)
        for name, records in runs.items():
            for record in records:
                write({"who": name, **record})
