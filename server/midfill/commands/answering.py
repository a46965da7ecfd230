"""Answers the holes of a file, one line of JSON each, and continues an earlier run.

Runs by its path too, so that an older checkout can answer the same holes: ``PYTHONPATH=OLD/server python -P
NEW/server/midfill/commands/answering.py HOLES --out ANSWERS``. Hence it uses little of midfill, all of it old, and
reads the holes itself.
"""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from midfill import config as configuration
from midfill import config_files
from midfill.commands.options import settings
from midfill.commands.session import session
from midfill.config import Config
from midfill.eval.about import commit, rounded
from midfill.eval.ask import EndToEnd
from midfill.types import MidfillError, Snapshot, Trigger

SAY_EVERY = 10  # holes between two lines of progress
ROOT = "file:///bench"


def run(holes: Path, out: Path, config: Config, trigger: Trigger, limit: int | None = None) -> int:
    """Append the answers that ``out`` does not have yet; return their number. Raises MidfillError and EngineError."""
    known = {answer["id"] for answer in read_lines(out)} if out.exists() else set()
    missing = [hole for hole in read_lines(holes) if hole["id"] not in known]
    return asyncio.run(_answer(missing[:limit], out, config, trigger))


def read_lines(file: Path) -> list[dict[str, Any]]:
    """Return the objects of a file of JSON lines that have an id. An incomplete last line is left out.

    Raises MidfillError.
    """
    try:
        lines = file.read_text(encoding="utf-8").splitlines(keepends=True)
        found = [json.loads(line) for line in lines if line.endswith("\n") and line.strip()]
    except (OSError, ValueError) as error:
        raise MidfillError(f"cannot read {file}: {error}", "name a file of JSON lines") from error
    if not all(isinstance(one, dict) and "id" in one for one in found):
        raise MidfillError(f"{file} has lines without an id", "name a file that midfill eval languages wrote")
    return found


async def _answer(holes: Sequence[dict[str, Any]], out: Path, config: Config, trigger: Trigger) -> int:
    out.parent.mkdir(parents=True, exist_ok=True)
    _mend(out)
    start, version = time.monotonic(), commit()
    async with session(config) as completer:
        server = EndToEnd(completer, trigger)
        with out.open("a", encoding="utf-8") as written:
            for n, hole in enumerate(holes, 1):
                limit = hole.get("max_tokens") or config.max_tokens
                completer.config = dataclasses.replace(config, max_tokens=limit)
                answer = await server.answer(_snapshot(hole))
                line = {"id": hole["id"], "trigger": trigger, "commit": version, **dataclasses.asdict(answer)}
                written.write(json.dumps(rounded(line)) + "\n")
                written.flush()
                if n % SAY_EVERY == 0 or n == len(holes):
                    print(f"[{time.monotonic() - start:6.0f} s] {n} of {len(holes)}", file=sys.stderr, flush=True)
    return len(holes)


def _mend(out: Path) -> None:
    """Cut off an incomplete last line."""
    if out.exists() and not (text := out.read_bytes()).endswith(b"\n") and text:
        out.write_bytes(text[: text.rfind(b"\n") + 1])


def _snapshot(hole: dict[str, Any]) -> Snapshot:
    prefix, path = hole["prefix"], hole["path"]
    return Snapshot(f"{ROOT}/{path}", 0, hole["language"], prefix + hole["suffix"], len(prefix), path=path)


def main(arguments: Iterable[str] | None = None) -> int:
    """Answer holes with the checkout on the path."""
    parser = argparse.ArgumentParser(prog="answering", description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("holes", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--trigger", choices=("automatic", "invoked"), default="invoked")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    options = parser.parse_args(None if arguments is None else list(arguments))
    config = configuration.merged(config_files.load_user(), settings(options.set), "--set")
    run(options.holes, options.out, config, options.trigger, options.limit)
    return 0


if __name__ == "__main__":
    sys.exit(main())
