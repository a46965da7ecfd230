"""``midfill doctor``: checks this installation, or with ``--bundle`` writes a report of it for an issue."""

from __future__ import annotations

import argparse

from midfill.commands import bundle, doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill doctor``."""
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--verify", action="store_true", help="also read every prepared model and compare its hashes")
    parser.add_argument(
        "--engine", dest="table", action="store_true", help="show what the engines named in `engine` can do"
    )
    parser.add_argument("--bundle", nargs="?", const="", metavar="FILE",
                        help="write a report for an issue, without code, names or paths")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print the findings, or write the report; return the exit code."""
    if arguments.bundle is not None:
        return bundle.run(arguments.bundle or None)
    return doctor.run(as_json=arguments.json, verify=arguments.verify, engine=arguments.table)
