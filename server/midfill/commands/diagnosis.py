"""``midfill doctor``: what could be wrong here, or with ``--bundle`` a report of it for an issue."""

from __future__ import annotations

import argparse

from midfill.commands import bundle, doctor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``midfill doctor`` can be told."""
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--verify", action="store_true", help="also read every prepared model and compare its hashes")
    parser.add_argument("--engine", dest="table", action="store_true", help="what the engines elsewhere can do")
    parser.add_argument("--bundle", nargs="?", const="", metavar="FILE",
                        help="a report for an issue, without code, names or paths")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Print what was found, or write the report; the exit code."""
    if arguments.bundle is not None:
        return bundle.run(arguments.bundle or None)
    return doctor.run(as_json=arguments.json, verify=arguments.verify, engine=arguments.table)
