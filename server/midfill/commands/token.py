"""``midfill token add|list|revoke``: who may ask an engine that ``midfill serve --http`` runs."""

from __future__ import annotations

import argparse
import time

from midfill import paths
from midfill.serve.team import tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``midfill token`` can be told."""
    actions = parser.add_subparsers(dest="kind", required=True, metavar="add|list|revoke")
    actions.add_parser("list", help="everybody who has one")
    for action in (
        actions.add_parser("add", help="a token for somebody, shown once"),
        actions.add_parser("revoke", help="take it away, at once"),
    ):
        action.add_argument("name")
    parser.add_argument("--tokens", metavar="FILE", help="where they are kept (beside the configuration)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Dispatch."""
    file = paths.expanded(arguments.tokens) if arguments.tokens else tokens.default_file()
    if arguments.kind == "add":
        token = tokens.add(arguments.name, file)
        print(token)
        print(f"this is the token of {arguments.name}; it is not kept, and not shown again")
    elif arguments.kind == "revoke":
        tokens.revoke(arguments.name, file)
        print(f"{arguments.name} has no token any more; a running engine refuses it at once")
    else:
        entries = tokens.read(file)
        for entry in entries:
            print(f"{entry.name:<32} since {time.strftime('%Y-%m-%d', time.localtime(entry.created))}")
        if not entries:
            print(f"none in {file}")
    return 0
