"""``midfill adapters publish``: an adapter under a name that never changes its meaning, in a folder that
engines read."""

from __future__ import annotations

import argparse
from pathlib import Path

from midfill import paths, registry
from midfill.engine.local.lora.files import describe
from midfill.remote import published

HOUR_S = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill adapters publish``."""
    parser.add_argument("name", help="a registered adapter, or with --from the name to publish it under")
    parser.add_argument(
        "target", metavar="DIR", help="the folder that the engines read; midfill creates NAME@digest in it"
    )
    parser.add_argument("--from", dest="source", metavar="FOLDER", help="the adapter's folder, if it is not registered")
    parser.add_argument(
        "--base", help="name of the base model that the engine was started with (the one the adapter names)"
    )
    parser.add_argument("--revision", help="revision of the base model")
    parser.add_argument("--for-template", metavar="NAME", help="the template of the prompts that it was trained with")
    parser.add_argument(
        "--rollback", action="store_true", help="publish the previous version of NAME again; nothing is copied"
    )
    parser.add_argument("--drain", nargs="?", type=float, const=24.0, metavar="HOURS",
                        help="remove versions that were replaced more than HOURS ago (24)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish, roll back, or remove old versions; print one line that says what NAME is then."""
    name, folder = arguments.name, paths.expanded(arguments.target)
    if arguments.rollback:
        print(f"{name} is {published.roll_back(name, folder).current} again")
        return 0
    if arguments.drain is not None:
        gone = published.drain(name, folder, older_than_s=arguments.drain * HOUR_S)
        print(f"{name}: {', '.join(gone) or 'nothing'} removed")
        return 0
    source = paths.expanded(arguments.source) if arguments.source else _registered(name)
    describe(source)  # checks that its files are valid
    pointer = published.publish(
        name, source, folder, base=arguments.base or "", revision=arguments.revision or "",
        template=arguments.for_template or "",
    )  # fmt: skip
    print(f"{name} is {pointer.current} in {folder}, of {pointer.base or 'an unnamed base'}")
    print(f'front ends follow it with engine_adapters = "{folder}" and adapter = "{name}"')
    return 0


def _registered(name: str) -> Path:
    return registry.folder_of(name)
