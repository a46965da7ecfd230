"""``midfill lsp``: the language server that an editor starts."""

from __future__ import annotations

import argparse

from midfill.addresses import read_listen
from midfill.lsp import server


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill lsp``."""
    parser.add_argument("--stdio", action="store_true", help="speak over standard input and output (the default)")
    parser.add_argument(
        "--tcp", metavar="HOST:PORT", help="listen on a TCP port of this machine instead, for debugging"
    )
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Serve one editor until it leaves; return the exit code."""
    if arguments.tcp:
        return server.serve_tcp(*read_listen(arguments.tcp))
    return server.serve_stdio()
