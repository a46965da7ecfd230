"""The command line: a dict of commands. Only the module of the one that is used is imported.

So `midfill lsp` starts without the others. A command's module defines its arguments (``add_arguments``), among them
the default ``run``, which takes the parsed ones and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from midfill import __version__
from midfill.commands import edge

# By name: the module, and what `midfill --help` says of it.
COMMANDS = {
    "lsp": ("midfill.commands.lsp", "the language server that an editor starts"),
    "serve": ("midfill.commands.serve", "the resident engine; editors start it by themselves"),
    "token": ("midfill.commands.token", "who may ask an engine that serves a team"),
    "complete": ("midfill.commands.complete", "print the middle at a place in a file"),
    "explain": ("midfill.commands.explain", "why a suggestion comes or not: the whole trace of a request"),
    "stats": ("midfill.commands.stats", "what was shown and accepted on this machine"),
    "model": ("midfill.commands.model", "list, prepare or describe models"),
    "adapters": (
        "midfill.commands.adapters", "LoRA adapters: list, add, check, describe, export, history, roll back, remove"
    ),
    "train": ("midfill.commands.train", "an adapter from your own code: trained, measured, served"),
    "demo": ("midfill.demo.play", "a short typing session with the real server, in this terminal"),
    "bench": ("midfill.bench.run", "measure the engine beside llama.cpp and generate(), against its goals"),
    "eval": ("midfill.commands.eval", "how good the suggestions are: pass@1, exact match, latency"),
    "replay": ("midfill.commands.replay", "type real files: keystrokes saved, acceptance, flicker"),
    "load": ("midfill.commands.load", "many typists at once: how long they wait, what is decoded for nobody"),
    "doctor": ("midfill.commands.diagnosis", "look for what could be wrong, and say what to do"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; the exit code. Whatever goes wrong is one line and what to do."""
    words = sys.argv[1:] if argv is None else list(argv)
    command = next((word for word in words if word in COMMANDS), "")
    arguments = argparse.Namespace()
    try:
        code = edge.guarded(lambda: _parse(command, words, arguments), command)
    except SystemExit:  # help, version, or a usage error, already printed
        edge.guarded(lambda: 0)
        raise
    if code:
        return code
    one_line = getattr(arguments, "one_line", False)
    if command not in ("lsp", "serve"):
        _say_news()
    return edge.guarded(lambda: int(arguments.run(arguments)), command, one_line=one_line)


def _say_news() -> None:
    """What waits to be said once, to a person at a terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        from midfill import news

        for line in news.take():
            print(f"midfill: {line}", file=sys.stderr)


def _parse(command: str, words: Sequence[str], into: argparse.Namespace) -> int:
    """Parse the words with the arguments of one command; 0. Raises SystemExit for help and for usage errors."""
    parser = argparse.ArgumentParser(
        prog="midfill",
        description="A local code-completion language server: fill-in-the-middle models with LoRA adapters.",
    )
    parser.add_argument("--version", action="version", version=f"midfill {__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (module, says) in COMMANDS.items():
        subparser = commands.add_parser(name, help=says)
        if name == command:
            importlib.import_module(module).add_arguments(subparser)
    parser.parse_args(words, into)
    return 0
