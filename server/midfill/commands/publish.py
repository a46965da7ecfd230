"""``midfill adapters publish``: an adapter under a name that stays what it is, in a folder that engines read."""

from __future__ import annotations

import argparse
from pathlib import Path

from midfill import paths, registry
from midfill.engine.local.adapter_files import describe
from midfill.remote import published

HOUR_S = 3600.0


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
