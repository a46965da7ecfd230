"""``midfill complete FILE:LINE:COL``: the suggestion at a place, through the same path as an editor's request."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import stat
import time
from pathlib import Path
from typing import Any

from midfill.commands.options import configured, model_options
from midfill.commands.session import session
from midfill.config import Config
from midfill.context.keeper import OpenDocument
from midfill.context.project import project_of
from midfill.context.walk import printable
from midfill.context.workspace import Workspace
from midfill.syntax import languages
from midfill.types import MidfillError, Snapshot

MAX_BYTES = 64 << 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill complete``."""
    parser.add_argument(
        "place",
        metavar="FILE:LINE[:COL]",
        help="lines and columns count from 1; the cursor stands before COL, or at the end of the line",
    )
    model_options(parser)
    parser.add_argument("--adapter", help="a registered name, ./a/folder, or none")
    parser.add_argument("--max-tokens", type=int, help="longest suggestion, in tokens")
    parser.add_argument("--raw", action="store_true", help="print the model's output without post-processing")
    parser.add_argument("--json", action="store_true", help="print the suggestion with all figures as JSON")
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Print the suggestion, or with ``--json`` everything known about it."""
    snapshot = read_snapshot(arguments.place)
    result = asyncio.run(_complete(snapshot, file_of(arguments.place), config))
    if arguments.json:
        print(json.dumps(result, indent=2))
    else:
        print(result["raw" if arguments.raw else "middle"])
    return 0


def read_snapshot(place: str) -> Snapshot:
    """Return the file and cursor that ``FILE:LINE:COL`` names; without COL the end of the line. Raises MidfillError."""
    name, line, column = _split(place)
    path = Path(name)
    try:
        info = path.stat()
        if not stat.S_ISREG(info.st_mode) or info.st_size > MAX_BYTES:
            raise MidfillError(
                f"{name} is not a regular file of at most {MAX_BYTES >> 20} MiB", "midfill completes text files"
            )
        text = path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise MidfillError(
            f"cannot read {name}: {error.strerror}", "FILE:LINE:COL, for example main.py:10:5"
        ) from error
    except UnicodeDecodeError:
        raise MidfillError(f"{name} is not UTF-8 text", "midfill completes text files") from None
    eol = "\r\n" if "\r\n" in text else "\n"
    lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    if not 1 <= line <= len(lines):
        raise MidfillError(f"{name} has {len(lines)} lines, so there is no line {line}", "LINE counts from 1")
    if column is None:
        column = len(lines[line - 1]) + 1
    if not 1 <= column <= len(lines[line - 1]) + 1:
        raise MidfillError(
            f"line {line} of {name} has {len(lines[line - 1])} characters, so there is no column {column}",
            f"COL counts from 1 and may be {len(lines[line - 1]) + 1} for the end of the line",
        )
    cursor = sum(len(earlier) + 1 for earlier in lines[: line - 1]) + column - 1
    language = languages.canonical("", path.name, lines[0])
    return Snapshot(path.resolve().as_uri(), 0, language, "\n".join(lines), cursor, eol, path.name)


def file_of(place: str) -> Path:
    """Return the file that ``FILE:LINE:COL`` names. Raises MidfillError."""
    return Path(_split(place)[0]).resolve()


def _split(place: str) -> tuple[str, int, int | None]:
    match = re.fullmatch(r"(.+?):(\d{1,9})(?::(\d{1,9}))?", place, re.ASCII | re.DOTALL)
    if match is None:
        raise MidfillError(f"{place!r} is not FILE:LINE:COL", "for example main.py:10:5")
    name, line, column = match.groups()
    return name, int(line), None if column is None else int(column)


READ_S = 10.0  # seconds at most to read a project


def read_project(snapshot: Snapshot, file: Path, config: Config, budget: int) -> tuple[Workspace, Snapshot]:
    """Return the workspace around ``file``, with the snippets for ``snapshot`` chosen."""
    root = project_of(file)
    snapshot = dataclasses.replace(snapshot, path=printable(file.relative_to(root).as_posix()))
    workspace = Workspace(
        disabled_context=config.disabled_context, disabled_knowledge=config.disabled_knowledge, budget=budget
    )
    workspace.set_folders([root])
    workspace.opened(OpenDocument(snapshot.uri, file, snapshot.path, snapshot.language, snapshot.text))
    workspace.prepare(snapshot, READ_S)
    return workspace, snapshot


async def _complete(snapshot: Snapshot, file: Path, config: Config) -> dict[str, Any]:
    async with session(config) as completer:
        workspace, snapshot = await asyncio.to_thread(read_project, snapshot, file, config, completer.snippet_budget)
        completer.sources = (workspace,)
        start = time.monotonic()
        completion = await completer.last(snapshot)
        total_s = time.monotonic() - start
        stats, info = completion.stats, completer.info
        assert stats is not None
        decode_s = stats.total_s - stats.ttft_s
        return {
            "middle": completion.text.replace("\n", snapshot.eol),
            "raw": completion.raw,
            "finish_reason": completion.finish_reason,
            **dataclasses.asdict(stats),
            "wall_s": total_s,
            "tokens_per_s": (stats.n_decoded - 1) / decode_s if stats.n_decoded > 1 and decode_s > 0 else None,
            "budget_tokens": completer.budget,
            "model": info.name,
            "adapter": completer.adapter_of(snapshot) or "none",
            "template": info.template or "prefix",
            "device": info.device,
            "dtype": info.dtype,
            "parameters": info.parameters,
        }
