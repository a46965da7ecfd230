"""``midfill eval invented``: of what two configurations showed, how much names members that there are not."""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Sequence

from midfill import paths
from midfill.commands.options import opened
from midfill.eval import invented, report, summary
from midfill.eval.about import commit, rounded
from midfill.eval.run import Record, read_records, writer
from midfill.types import MidfillError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``midfill eval invented`` can be told."""
    parser.add_argument(
        "files", nargs="+", metavar="DIR ANSWERS", help="a repository and what `midfill eval repo DIR --out` wrote"
    )
    parser.add_argument("--pyright", default="pyright", metavar="PROGRAM", help="checks Python (pyright)")
    parser.add_argument("--tsc", default="tsc", metavar="PROGRAM", help="checks TypeScript (tsc)")
    parser.add_argument("--out", metavar="FILE", help="every answer with the members that there are not")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the shares; the exit code."""
    if len(arguments.files) % 2:
        raise MidfillError("a folder has no answers", "give DIR ANSWERS [DIR ANSWERS ...]")
    checks = {invented.PYTHON: invented.pyright(arguments.pyright), invented.SCRIPT: invented.tsc(arguments.tsc)}
    records: list[Record] = []
    with opened(arguments.out) as out:
        write = writer(out)
        for folder, answers in _pairs(arguments.files):
            root = paths.expanded(folder).resolve()
            for record in invented.judged(root, read_records(paths.expanded(answers)), checks):
                named = {**record, "id": f"{root.name}/{record['id']}", "source": f"{root.name}/{record['source']}"}
                records.append(named)
                write(named)
    if not records:
        raise MidfillError("no answer can be checked", "Python and TypeScript can")
    names = list(dict.fromkeys(record["who"] for record in records))
    runs = {name: [record for record in records if record["who"] == name] for name in names}
    figures = {name: _figures(those) for name, those in runs.items()}
    console = report.console()
    for name, one in figures.items():
        for kind, row in one.items():
            console.print(
                f"{name}: {kind}: {row['n_invented']} of {row['n_shown']} shown ({row['share']:.1%}), {row['n']} holes"
            )
    line = {"eval": "invented", "files": list(arguments.files), "commit": commit(), "figures": rounded(figures)}
    print(json.dumps(line))
    return 0


def _pairs(files: Sequence[str]) -> list[tuple[str, str]]:
    return list(zip(files[::2], files[1::2], strict=True))


def _figures(records: Sequence[Record]) -> dict[str, dict[str, float]]:
    """Of each kind of hole and of all: holes, suggestions, and those with a member that there is not."""
    groups = {summary.ALL: list(records)}
    for record in records:
        groups.setdefault(record["kind"], []).append(record)
    return {kind: _row(those) for kind, those in groups.items()}


def _row(records: Sequence[Record]) -> dict[str, float]:
    found = [record["metrics"][invented.METRIC] for record in records if invented.METRIC in record["metrics"]]
    right = [record["metrics"]["first_line"] for record in records]
    return {
        "n": len(records), "n_shown": len(found), "n_invented": int(sum(found)),
        "share": sum(found) / max(len(found), 1), "first_line": statistics.fmean(right),
    }  # fmt: skip
