"""``midfill eval adapter``, and the same in ``midfill train``: how likely two adapters find held-out middles, and what
they answer at held-out holes."""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.table import Table

from midfill import paths
from midfill.commands import before_after
from midfill.commands.options import configured, model_options
from midfill.commands.training import worker
from midfill.config import Config
from midfill.engine import adapter_setting
from midfill.engine.local.store import models
from midfill.train import gate
from midfill.train.middles import ALL, Likelihood, Scored, ScoreJob, as_figures, table
from midfill.train.part import RepositoryPart
from midfill.train.worker import held_out_files
from midfill.types import MidfillError

WIDTH = 110  # columns without a terminal
SAY_EVERY = 25  # middles between two lines of progress, without a terminal


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill eval adapter``."""
    parser.add_argument("a", metavar="A", help="a registered name, a sum (team+mine), ./a/folder, embedded or none")
    parser.add_argument("b", metavar="B", help="the adapter to compare it with")
    parser.add_argument(
        "--repo", nargs="+", default=["."], metavar="DIR", help="repositories, read as training reads them (.)"
    )
    parser.add_argument(
        "--held-out", nargs="+", metavar="DIR", help="measure on these folders, not on held-out files of DIR"
    )
    parser.add_argument(
        "--all-files", action="store_true", help="measure on all files, not only on those that training holds out"
    )
    part_options(parser, "measure")
    parser.add_argument("--middles", type=int, default=200, metavar="N", help="number of held-out middles (200)")
    parser.add_argument(
        "--holes", type=int, default=60, metavar="N",
        help="number of holes that both adapters answer as users would see it; 0: only the loss (60)",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="(1)")
    parser.add_argument("--out", metavar="FILE", help="write every middle, and every answer, as a line of JSON")
    model_options(parser)
    parser.set_defaults(run=configured(run))


def part_options(parser: argparse.ArgumentParser, verb: str) -> None:
    """Add the options that name a part of a repository."""
    parser.add_argument("--language", default="", metavar="A,B", help=f"{verb} only files in these languages")
    parser.add_argument(
        "--folder", default="", metavar="GLOB", help=f"{verb} only files below this folder of DIR, or that match a glob"
    )


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Compare two adapters on a repository's held-out files; return the exit code."""
    console = Console(file=sys.stderr, highlight=False)
    if not console.is_terminal:
        console.width = WIDTH
    folders = [folders_of(setting, config) for setting in (arguments.a, arguments.b)]
    job = job_of(config, folders[0], folders[1], arguments.repo, arguments.held_out or ())
    part = RepositoryPart.of(arguments.language, arguments.folder)
    job = dataclasses.replace(job, languages=part.languages, glob=part.glob)
    job = dataclasses.replace(job, all_files=arguments.all_files, n=arguments.middles, seed=arguments.seed)
    scored = watch(job, console)
    rows, names = table(scored), (arguments.a, arguments.b)
    console.print(shown(rows, names))
    console.print(says(rows))
    said = {"eval": "adapter", "a": arguments.a, "b": arguments.b, "rows": as_figures(rows)}
    lines = [dataclasses.asdict(one) for one in scored]
    if arguments.holes:
        before, after = (dataclasses.replace(config, adapter=name, adapters=(), records=False) for name in names)
        holes = gate.holes(held_out_files(job), arguments.holes, arguments.seed)
        records, _ = before_after.answered(holes, before, after, console)
        verdict = gate.decide(records, rows)
        console.print(before_after.shown(verdict.differences, names))
        console.print(f"by the gate's rules {'' if verdict.promoted else 'not better: '}{verdict.reason}")
        said |= {"answers": gate.as_figures(verdict)["rows"], "better": verdict.promoted}
        lines += records
    if arguments.out:
        text = "".join(json.dumps(one) + "\n" for one in lines)
        paths.expanded(arguments.out).write_text(text, encoding="utf-8")
    print(json.dumps(said))
    return 0


def folders_of(setting: str, config: Config) -> tuple[Path, ...]:
    """Return the folders of what settings name, several if it is a sum; none: the base model alone. Raises
    MidfillError."""
    found = adapter_setting.folders_of(setting, models.resolve(config.model).name)
    return found[1] if found is not None else ()


def job_of(
    config: Config, before: Sequence[Path], after: Sequence[Path], roots: Sequence[str], held_out: Sequence[str]
) -> ScoreJob:  # fmt: skip
    """Return the job for scoring: with the model, device and number format that serve."""
    return ScoreJob(
        config.model, config.device, config.dtype, config.template, config.order, tuple(map(str, before)),
        tuple(map(str, after)), _absolute(roots), _absolute(held_out),
    )  # fmt: skip


def _absolute(folders: Sequence[str]) -> tuple[str, ...]:
    return tuple(str(paths.expanded(folder).absolute()) for folder in folders)


def watch(job: ScoreJob, console: Console) -> list[Scored]:
    """Run the scoring process to its end. Raises MidfillError, KeyboardInterrupt."""
    found: list[Scored] = []
    n = 0
    with contextlib.ExitStack() as stack:
        status = stack.enter_context(console.status("")) if console.is_terminal else None
        for message in stack.enter_context(worker("midfill.train.score", dataclasses.asdict(job))):
            if message["kind"] == "middles":
                n = message["n"]
                console.print(
                    f"{n} middles of {message['files']} held-out files, weights in {message['number_format']}"
                )
            elif message["kind"] == "scored":
                found.append(Scored.of(message))
                if status is not None:
                    status.update(f"held-out middles: {len(found)} of {n}")
                elif len(found) % SAY_EVERY == 0:
                    console.print(f"  {len(found)} of {n}")
            elif status is not None:
                status.update(str(message.get("stage", "")))
    if not found:
        raise MidfillError("there was nothing to score", "name more folders, or others with --held-out")
    return found


def shown(rows: Sequence[Likelihood], names: tuple[str, str] = ("before", "after")) -> Table:
    """Return the table for users; less is better."""
    found = Table(title="Loss at held-out middles, nats a token (less is better)", title_justify="left")
    for column in ("", "middles", *names, "difference", "95 % interval"):
        found.add_column(column, justify="left" if not column else "right")
    for row in rows:
        style = "bold" if row.is_better or row.is_worse else ""
        found.add_row(
            row.name, str(row.n), f"{row.before:.3f}", f"{row.after:.3f}", f"{row.difference:+.3f}",
            f"{row.low:+.3f} to {row.high:+.3f}", style=style,
        )  # fmt: skip
    return found


def says(rows: Sequence[Likelihood]) -> str:
    """Return what the first row means, and what it could have shown."""
    (row,) = [row for row in rows if row.name == ALL]
    share = f"{abs(row.difference) / row.before:.1%}" if row.before else "0 %"
    if row.is_better or row.is_worse:
        return f"{'better' if row.is_better else 'worse'} by {share}"
    return f"no sure difference: {row.n} middles would have shown {row.detectable:.3f} nats a token"
