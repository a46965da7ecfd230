"""``midfill token add|list|revoke``: the tokens of an engine that ``midfill serve --http`` runs."""

from __future__ import annotations

import argparse
import time

from midfill import paths
from midfill.serve.team import tokens


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill token``."""
    actions = parser.add_subparsers(dest="kind", required=True, metavar="add|list|revoke")
    actions.add_parser("list", help="list the people who have a token")
    for action in (
        actions.add_parser("add", help="create a token for a person; it is shown once"),
        actions.add_parser("revoke", help="revoke a person's token, with immediate effect"),
    ):
        action.add_argument("name")
    parser.add_argument("--tokens", metavar="FILE", help="the file of tokens (beside the configuration)")
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Run the chosen action."""
    file = paths.expanded(arguments.tokens) if arguments.tokens else tokens.default_file()
    if arguments.kind == "add":
        token = tokens.add(arguments.name, file)
        print(token)
        print(f"this is the token of {arguments.name}; copy it now, it is neither stored nor shown again")
    elif arguments.kind == "revoke":
        tokens.revoke(arguments.name, file)
        print(f"{arguments.name} no longer has a token; running engines refuse it from now on")
    else:
        entries = tokens.read(file)
        for entry in entries:
            print(f"{entry.name:<32} since {time.strftime('%Y-%m-%d', time.localtime(entry.created))}")
        if not entries:
            print(f"none in {file}")
    return 0
