"""``midfill adapters publish``: an adapter under a name that stays what it is, in a folder that engines read."""

from __future__ import annotations

import argparse
from pathlib import Path

from midfill import paths, registry
from midfill.engine.local.lora.files import describe
from midfill.remote import published

HOUR_S = 3600.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Define what ``midfill adapters publish`` can be told."""
    parser.add_argument("name", help="a registered adapter, or with --from what it is to be called")
    parser.add_argument("target", metavar="DIR", help="the folder that the engines read; NAME@digest appears in it")
    parser.add_argument("--from", dest="source", metavar="FOLDER", help="the adapter, if it is not registered")
    parser.add_argument("--base", help="its base as the engine was started with it (what the adapter says)")
    parser.add_argument("--revision", help="of its base")
    parser.add_argument("--for-template", metavar="NAME", help="the prompts that it was trained for")
    parser.add_argument("--rollback", action="store_true", help="NAME is what it was before; nothing is copied")
    parser.add_argument("--drain", nargs="?", type=float, const=24.0, metavar="HOURS",
                        help="remove what was replaced longer ago than that (24)")  # fmt: skip
    parser.set_defaults(run=run)


def run(arguments: argparse.Namespace) -> int:
    """Publish, roll back, or remove what was replaced long ago; one line that says what NAME is then."""
    name, folder = arguments.name, paths.expanded(arguments.target)
    if arguments.rollback:
        print(f"{name} is {published.roll_back(name, folder).current} again")
        return 0
    if arguments.drain is not None:
        gone = published.drain(name, folder, older_than_s=arguments.drain * HOUR_S)
        print(f"{name}: {', '.join(gone) or 'nothing'} removed")
        return 0
    source = paths.expanded(arguments.source) if arguments.source else _registered(name)
    describe(source)  # its files are sound, or this says what is wrong
    pointer = published.publish(
        name, source, folder, base=arguments.base or "", revision=arguments.revision or "",
        template=arguments.for_template or "",
    )  # fmt: skip
    print(f"{name} is {pointer.current} in {folder}, of {pointer.base or 'an unnamed base'}")
    print(f'front ends follow it with engine_adapters = "{folder}" and adapter = "{name}"')
    return 0


def _registered(name: str) -> Path:
    return registry.folder_of(name)
