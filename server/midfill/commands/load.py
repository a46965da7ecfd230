"""``midfill load``: simulated typists against the configured engine, on this machine or on one that the user owns."""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from midfill.addresses import read_address
from midfill.commands.options import configured, model_options
from midfill.commands.session import session
from midfill.config import Config
from midfill.eval import load
from midfill.eval.about import rounded
from midfill.eval.replay import Passage, counter, places
from midfill.types import MidfillError

MAX_TYPISTS, MAX_SECONDS = 10_000, 86_400
N_CHARS, N_PLACES = 1500, 8
# Typed if no file is named: any Python will do, and this is always there.
OWN = ("completer.py", "in_flight.py", "reuse.py", "triggers.py", "config.py")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill load``."""
    parser.add_argument("files", nargs="*", metavar="FILE", help="files to type (midfill's own sources)")
    parser.add_argument(
        "--typists",
        default="1,8,32",
        metavar="N,...",
        help="number of typists at once; one run for each number (1,8,32)",
    )
    parser.add_argument("--seconds", type=float, default=60.0, help="length of each run, in real time (60)")
    parser.add_argument("--seed", type=int, default=1, help="seed of the typists (1)")
    parser.add_argument(
        "--yes-i-own",
        action="append",
        default=[],
        metavar="HOST",
        help="allow load on this engine elsewhere, which is yours",
    )
    model_options(parser)
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Type, and print one line for users and one of JSON for each number of typists."""
    counts = _counts(arguments.typists)
    if not 1 <= arguments.seconds <= MAX_SECONDS:
        raise MidfillError(f"--seconds {arguments.seconds:g} is out of range", f"use 1 to {MAX_SECONDS}")
    check_owned(config, arguments.yes_i_own)
    found = _places([Path(name) for name in arguments.files] or [Path(__file__).parents[1] / name for name in OWN])
    return asyncio.run(_run(config, found, counts, arguments.seconds, arguments.seed))


def check_owned(config: Config, owned: Sequence[str]) -> None:
    """Raise MidfillError for an engine that the user does not own: many typists are an attack there."""
    for address in map(read_address, config.engine):
        if not address.is_loopback and address.host not in owned:
            raise MidfillError(
                f"load tests run against this machine only, and {address.host} is another",
                f"--yes-i-own {address.host}",
            )


def _counts(text: str) -> list[int]:
    try:
        counts = [int(one) for one in text.split(",")]
    except ValueError:
        counts = []
    if not counts or not all(1 <= count <= MAX_TYPISTS for count in counts):
        raise MidfillError(f"--typists {text[:40]!r} is not a number of people", "for example --typists 1,8,32")
    return counts


def _places(files: Sequence[Path]) -> list[Passage]:
    found: list[Passage] = []
    for file in files:
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise MidfillError(f"cannot read {file}", "name source files of UTF-8 text") from error
        found += places(Path("/load"), file.name, "python", text, N_PLACES, N_CHARS)
    if not found:
        raise MidfillError("these files are too short to type", "name longer ones")
    return found


async def _run(config: Config, found: Sequence[Passage], counts: Sequence[int], seconds: float, seed: int) -> int:
    async with session(config) as completer:
        count = await asyncio.to_thread(counter, completer.info)
        for n_typists in counts:
            n_replicas = max(1, len(config.engine))
            done = await load.run(completer, found, n_typists, seconds, count, n_replicas=n_replicas, seed=seed)
            figures = {"load": completer.info.device, "model": completer.info.name, **done.figures()}
            print(_line(figures), file=sys.stderr)
            print(json.dumps(rounded(figures)), flush=True)
    return 0


def _line(figures: dict[str, Any]) -> str:
    """Return the line for users."""
    ghost = figures["ghost_text_s"]

    def ms(value: float | None) -> str:
        return "-" if value is None else f"{1000 * value:.0f}"

    def percent(name: str) -> str:
        return "-" if figures[name] is None else f"{100 * figures[name]:.0f} %"

    return (
        f"{figures['typists']:>5} typists: ghost text after "
        f"{ms(ghost['p50'])}/{ms(ghost['p90'])}/{ms(ghost['p99'])} ms (p50/p90/p99), "
        f"{percent('never_reached_the_engine')} never reached the engine, {percent('stale')} stale, "
        f"{percent('wasted_tokens')} of the tokens wasted, {figures['failed']} failed"
    )
