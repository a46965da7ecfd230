"""The command line: a dict of commands. Only the module of the command in use is imported.

So `midfill lsp` starts without the others. A command's module defines its arguments (``add_arguments``), among them
the default ``run``, which takes the parsed arguments and returns the exit status.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from midfill import __version__, garbage
from midfill.commands import edge

# By name: the module, and the line in `midfill --help`.
COMMANDS = {
    "lsp": ("midfill.commands.lsp", "the language server; your editor starts it"),
    "serve": ("midfill.commands.serve", "start the resident engine; editors do this by themselves"),
    "token": ("midfill.commands.token", "create, list and revoke the tokens of an engine that serves a team"),
    "complete": ("midfill.commands.complete", "print the suggestion at a place in a file"),
    "explain": ("midfill.commands.explain", "say why a suggestion came or not: the whole trace of a request"),
    "stats": ("midfill.commands.stats", "show how many suggestions were shown and accepted on this machine"),
    "model": ("midfill.commands.model", "list, prepare or describe models"),
    "adapters": (
        "midfill.commands.adapters", "list, add, check, export, roll back and remove LoRA adapters"
    ),
    "train": ("midfill.commands.train", "train an adapter on your own code, and serve it if it is measurably better"),
    "demo": ("midfill.demo.play", "play a short typing session with the real server in this terminal"),
    "bench": ("midfill.bench.run", "measure the engine beside llama.cpp and generate(), against its goals"),
    "eval": ("midfill.commands.eval", "measure how good the suggestions are: pass@1, exact match, latency"),
    "replay": ("midfill.commands.replay", "type real files, and count keystrokes saved, acceptance and flicker"),
    "load": ("midfill.commands.load", "let many typists type at once, and measure how long they wait"),
    "doctor": ("midfill.commands.diagnosis", "check that everything works, and say what to do if not"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return the exit code. Every error is printed as one line that says what to do."""
    is_process = argv is None
    words = sys.argv[1:] if argv is None else list(argv)
    if is_process:
        garbage.defer()
    command = next((word for word in words if word in COMMANDS), "")
    arguments = argparse.Namespace()
    try:
        code = edge.guarded(lambda: _parse(command, words, arguments), command)
    except SystemExit:  # help, version, or a usage error, already printed
        edge.guarded(lambda: 0)
        raise
    if code:
        return code
    if is_process and command != "serve":  # the engine has more to import
        garbage.settle()
    one_line = getattr(arguments, "one_line", False)
    if command not in ("lsp", "serve"):
        _say_news()
    return edge.guarded(lambda: int(arguments.run(arguments)), command, one_line=one_line)


def _say_news() -> None:
    """Print the news that are due, once, if a person sits at the terminal."""
    if sys.stderr is not None and sys.stderr.isatty():
        from midfill import news

        for line in news.take():
            print(f"midfill: {line}", file=sys.stderr)


def _parse(command: str, words: Sequence[str], into: argparse.Namespace) -> int:
    """Parse ``words`` with the arguments of ``command``; return 0. Raises SystemExit for help and for usage errors."""
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
