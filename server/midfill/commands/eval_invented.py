"""``midfill eval invented``: how many suggestions of two configurations name a member that does not exist."""

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
    """Add the arguments of ``midfill eval invented``."""
    parser.add_argument(
        "files",
        nargs="+",
        metavar="DIR ANSWERS",
        help="a repository, and the file that `midfill eval repo DIR --out FILE` wrote for it",
    )
    parser.add_argument(
        "--pyright", default="pyright", metavar="PROGRAM", help="the program that checks Python (pyright)"
    )
    parser.add_argument("--tsc", default="tsc", metavar="PROGRAM", help="the program that checks TypeScript (tsc)")
    parser.add_argument("--out", metavar="FILE", help="write every answer with the members that do not exist")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the shares; return the exit code."""
    if len(arguments.files) % 2:
        raise MidfillError("a folder is given without answers", "give DIR ANSWERS [DIR ANSWERS ...]")
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
        raise MidfillError("none of these answers can be checked", "only Python and TypeScript can be checked")
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
    """Return for each kind of hole and for all: holes, suggestions, and those with a member that does not exist."""
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
