"""``midfill adapters list|add|check|info|history|rollback|export|publish|remove``."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from midfill import paths, registry
from midfill.adapter_names import ADAPTER_NAME, NO_ADAPTER, summands
from midfill.client.adapters import check_adapter
from midfill.commands import publish
from midfill.commands.options import configured
from midfill.commands.progress import stages
from midfill.commands.session import connected
from midfill.config import Config
from midfill.engine.adapter_setting import EMBEDDED, embedded_folder
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE, AdapterSummary, describe
from midfill.train import history
from midfill.types import MidfillError, one_line

FILES = (CONFIG_FILE, WEIGHTS_FILE)  # what the check covers, and so everything that is copied


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``midfill adapters``."""
    actions = parser.add_subparsers(
        dest="kind", required=True, metavar="list|add|check|info|history|rollback|export|publish|remove"
    )
    actions.add_parser("list", help="list the registered adapters")
    add = actions.add_parser("add", help="check a PEFT adapter, and register a copy of it under a name")
    add.add_argument("folder", help="a folder, or owner/name on the hub")
    add.add_argument("--name", help="the name to register it under (the folder's name)")
    check = actions.add_parser(
        "check", help="check whether an adapter fits the model: exit status 0, or 1 and one line that says why"
    )
    check.set_defaults(one_line=True)
    about = actions.add_parser(
        "info", help="show an adapter's rank, targets, size and base, and whether it fits the model"
    )
    about.add_argument("--no-check", dest="check", action="store_false", help="do not ask the engine whether it fits")
    about.add_argument("--json", action="store_true", help="print JSON")
    for action in (check, about):
        action.add_argument("adapter", help="a registered name, a folder, or a sum: team+mine")
    for action in (add, check, about):
        action.add_argument("--model", help="the base model, if it is not the configured one")
    export = actions.add_parser(
        "export", help="copy an adapter for others, as PEFT reads it or merged into its base model"
    )
    export.add_argument("adapter", help="a registered name, a folder, or a sum, which becomes one adapter")
    export.add_argument("target", metavar="FOLDER", help="a new folder")
    export.add_argument("--merged", action="store_true", help="write a whole model, for servers without adapters")
    export.add_argument("--model", help="the base model, if it is not the configured one")
    nights = actions.add_parser("history", help="show what midfill train --when-idle did, night by night")
    nights.add_argument("name")
    nights.add_argument("--json", action="store_true", help="print one line of JSON per night")
    nights.add_argument("--plot", metavar="FILE", help="draw the held-out loss as an SVG or PNG")
    back = actions.add_parser("rollback", help="go back to the previous version of an adapter")
    back.add_argument("name")
    publish.add_arguments(
        actions.add_parser(
            "publish", help="copy an adapter to where vLLM finds it, under a name that never changes its meaning"
        )
    )
    remove = actions.add_parser("remove", help="remove a registered adapter")
    remove.add_argument("name")
    parser.set_defaults(run=configured(run))


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Run the chosen action."""
    if getattr(arguments, "model", None):
        config = dataclasses.replace(config, model=arguments.model)
    if arguments.kind == "list":
        return _list()
    if arguments.kind == "add":
        return _add(_fetched(arguments.folder), arguments.name, config)
    if arguments.kind == "check":
        _check(_folders(arguments.adapter), config)
        print(f"{arguments.adapter} fits {config.model}")
        return 0
    if arguments.kind == "info":
        return _info(_folders(arguments.adapter), config if arguments.check else None, as_json=arguments.json)
    if arguments.kind == "history":
        return _history(arguments)
    if arguments.kind == "rollback":
        return _rollback(arguments.name)
    if arguments.kind == "export":
        return _export(_folders(arguments.adapter), paths.expanded(arguments.target), config, merged=arguments.merged)
    return _remove(arguments.name)


def _list() -> int:
    for name in registry.names():
        try:
            facts = registry.facts(paths.adapters_dir() / name)
        except (OSError, ValueError, KeyError, TypeError):
            facts = "damaged: no readable adapter_config.json"
        n_earlier = len(registry.versions(name))
        print(f"{name:<24} {one_line(facts)}{f', {n_earlier} earlier' if n_earlier else ''}")
    if not registry.names():
        print(f"none in {paths.adapters_dir()}")
    return 0


def _folders(setting: str) -> list[Path]:
    """Return the folders of what ``setting`` adds up. Raises MidfillError."""
    return [_folder(adapter) for adapter in summands(setting)]


def _folder(adapter: str) -> Path:
    """Return the folder of a registered name, or the folder itself. Raises MidfillError."""
    if adapter == EMBEDDED and (own := embedded_folder()) is not None:
        return own
    if adapter in NO_ADAPTER:
        raise MidfillError(f"{adapter!r} stands for no adapter", "give a registered name, or the path of a folder")
    if re.fullmatch(ADAPTER_NAME, adapter) and (paths.adapters_dir() / adapter).is_dir():
        return (paths.adapters_dir() / adapter).absolute()
    folder = paths.expanded(adapter)
    if not folder.is_dir():
        raise MidfillError(
            f"{adapter!r} is neither a folder nor a registered adapter",
            "run: midfill adapters list, or give the folder that holds adapter_config.json",
        )
    return folder.resolve()


def _check(folders: Sequence[Path], config: Config) -> None:
    """Ask the engine to check the adapter, or the sum, against the engine's own model. Raises MidfillError."""

    async def ask() -> None:
        async with connected(config, quiet=True) as (engine, _):
            await check_adapter(engine, *folders)

    asyncio.run(ask())


def _info(folders: Sequence[Path], config: Config | None, *, as_json: bool) -> int:
    """Print what it is, one after another of a sum; with ``config`` also whether it fits the configured model."""
    of_each = [describe(folder) for folder in folders]
    misfit: MidfillError | None = None
    if config is not None:
        try:
            _check(folders, config)
        except MidfillError as error:
            misfit = error
    if as_json:
        fits = {} if config is None else {"model": config.model, "fits": misfit is None, "reason": str(misfit or "")}
        found = [
            {"folder": str(folder), **dataclasses.asdict(facts), "on_top_of": registry.on_top_of(folder)}
            for folder, facts in zip(folders, of_each, strict=True)
        ]
        print(json.dumps({**(found[0] if len(found) == 1 else {"sum": found}), **fits}, indent=2))
        return 0
    for folder, facts in zip(folders, of_each, strict=True):
        _print_rows(_rows(folder, facts))
        if len(folders) > 1:
            print()
    if config is not None:
        _print_rows({"fits": f"{config.model}: yes" if misfit is None else f"{config.model}: no, {misfit}"})
    return 0


def _rows(folder: Path, facts: AdapterSummary) -> dict[str, object]:
    under = registry.on_top_of(folder)
    return {
        "folder": str(folder), "base": facts.base or "not recorded", "rank": facts.rank, "alpha": f"{facts.alpha:g}",
        **({"on top of": under} if under else {}),
        "targets": f"{', '.join(facts.targets)} ({facts.n_layers} layers)", "parameters": f"{facts.parameters:,}",
        "size": f"{facts.size / 1e6:.1f} MB", "digest": facts.digest,
    }  # fmt: skip


def _print_rows(rows: Mapping[str, object]) -> None:
    for name, value in rows.items():
        print(f"{name:<12}{one_line(str(value))}")


def _add(folder: Path, name: str | None, config: Config) -> int:
    name = registry.check_name(name or folder.resolve().name)
    if not folder.is_dir():
        raise MidfillError(f"{folder} is not a folder", "give the folder that holds adapter_config.json")
    _check([folder.resolve()], config)
    registry.register(folder, name, FILES)
    print(f'{name} is registered: set adapter = "{name}"')
    return 0


def _fetched(spec: str) -> Path:
    """Return a folder, or download what a hub id names: only the adapter's two files and the tokenizer."""
    if paths.expanded(spec).is_dir() or not re.fullmatch(r"[\w.-]{1,96}/[\w.-]{1,96}", spec):
        return paths.expanded(spec)
    from midfill.engine.local.store.models import fetch_adapter

    return fetch_adapter(spec)


def _export(folders: Sequence[Path], target: Path, config: Config, *, merged: bool) -> int:
    """Write a copy for others: as PEFT reads it, or merged into the base model. A sum becomes one adapter."""
    if target.exists():
        raise MidfillError(f"{target} already exists", "name a new folder")
    if not merged and len(folders) > 1:
        from midfill.train.export import join

        print(f"{target} is a PEFT adapter of {join(folders, target)}, the sum of {len(folders)}")
        return 0
    if not merged:
        try:
            shutil.copytree(folders[0], target)
        except OSError as error:
            shutil.rmtree(target, ignore_errors=True)  # half an adapter is useless
            reason = error.strerror or "not every file could be copied"
            raise MidfillError(
                f"cannot write {target}: {reason}", "name another folder, on a disk with space"
            ) from error
        print(f"{target} is a PEFT adapter of {describe(folders[0]).base}")
        return 0
    _check(folders, config)
    from midfill.engine.local.store import models
    from midfill.train.export import merge

    source = models.resolve(config.model)
    with stages() as report:
        merge(folders, models.prepare(source, report), source.name, target, report)
    print(f"{target} is a complete model: set model to its path")
    return 0


def _history(arguments: argparse.Namespace) -> int:
    """Print its nights; with ``--plot`` also draw the held-out loss over them."""
    entries = history.read(registry.check_name(arguments.name))
    if arguments.json:
        for entry in entries:
            print(json.dumps(dataclasses.asdict(entry)))
        return 0
    if not entries:
        raise MidfillError(
            f"{arguments.name} has no nights recorded yet",
            "midfill train --when-idle trains every night while the computer is idle",
        )
    print("\n\n".join(filter(None, (history.table(entries), history.plot(entries)))))
    if arguments.plot:
        from midfill.train import plot

        plot.nights(entries, paths.expanded(arguments.plot))
    return 0


def _rollback(name: str) -> int:
    folder = registry.rollback(name)
    print(f"{name} is back at its previous version: {one_line(registry.facts(folder))}")
    return 0


def _remove(name: str) -> int:
    registry.remove(name)
    history.forget(name)
    print(f"{name} is gone")
    return 0
