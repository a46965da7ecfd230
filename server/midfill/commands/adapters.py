"""``midfill adapters list|add|check|info|remove``."""

from __future__ import annotations

import argparse
import asyncio
import dataclasses
import json
import re
import shutil
import tempfile
from pathlib import Path

from midfill import paths
from midfill.commands.session import connected
from midfill.config import ADAPTER_NAME, NO_ADAPTER, Config
from midfill.engine.local.adapter_files import CONFIG_FILE, WEIGHTS_FILE, describe
from midfill.serve.link import check_adapter
from midfill.types import MidfillError, one_line

FILES = (CONFIG_FILE, WEIGHTS_FILE)  # what is checked, and so all that is copied


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Dispatch."""
    if getattr(arguments, "model", None):
        config = dataclasses.replace(config, model=arguments.model)
    if arguments.kind == "list":
        return _list()
    if arguments.kind == "add":
        return _add(Path(arguments.folder), arguments.name, config)
    if arguments.kind == "check":
        _check(_folder(arguments.adapter), config)
        print(f"{arguments.adapter} fits {config.model}")
        return 0
    if arguments.kind == "info":
        return _info(_folder(arguments.adapter), config if arguments.check else None, as_json=arguments.json)
    return _remove(arguments.name)


def _list() -> int:
    folders = sorted(path for path in paths.adapters_dir().glob("*/") if not path.name.startswith("."))
    for folder in folders:
        try:
            content = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
            facts = f"rank {content['r']}, alpha {content['lora_alpha']}, base {content['base_model_name_or_path']}"
            print(f"{folder.name:<24} {one_line(facts)}")
        except (OSError, ValueError, KeyError, TypeError):
            print(f"{folder.name:<24} damaged: no readable adapter_config.json")
    if not folders:
        print(f"none in {paths.adapters_dir()}")
    return 0


def _folder(adapter: str) -> Path:
    """A registered name, else a folder. Raises MidfillError."""
    if adapter in NO_ADAPTER:
        raise MidfillError(f"{adapter!r} means no adapter", "name a registered one, or write a folder with its path")
    if re.fullmatch(ADAPTER_NAME, adapter) and (paths.adapters_dir() / adapter).is_dir():
        return (paths.adapters_dir() / adapter).absolute()
    folder = paths.expanded(adapter)
    if not folder.is_dir():
        raise MidfillError(
            f"{adapter!r} is neither a folder nor a registered adapter",
            "run: midfill adapters list, or give the folder that holds adapter_config.json",
        )
    return folder.resolve()


def _check(folder: Path, config: Config) -> None:
    """The engine's own check, on the engine's own model. Raises MidfillError."""

    async def ask() -> None:
        async with connected(config, quiet=True) as (engine, _):
            await check_adapter(engine, folder)

    asyncio.run(ask())


def _info(folder: Path, config: Config | None, *, as_json: bool) -> int:
    """What it is; with ``config``, whether it fits the configured model as well."""
    facts = describe(folder)
    misfit: MidfillError | None = None
    if config is not None:
        try:
            _check(folder, config)
        except MidfillError as error:
            misfit = error
    if as_json:
        fits = {} if config is None else {"model": config.model, "fits": misfit is None, "reason": str(misfit or "")}
        print(json.dumps({"folder": str(folder), **dataclasses.asdict(facts), **fits}, indent=2))
        return 0
    rows = {
        "folder": str(folder), "base": facts.base or "not recorded", "rank": facts.rank, "alpha": f"{facts.alpha:g}",
        "targets": f"{', '.join(facts.targets)} ({facts.n_layers} layers)", "parameters": f"{facts.parameters:,}",
        "size": f"{facts.size / 1e6:.1f} MB", "digest": facts.digest,
    }  # fmt: skip
    if config is not None:
        rows["fits"] = f"{config.model}: yes" if misfit is None else f"{config.model}: no, {misfit}"
    for name, value in rows.items():
        print(f"{name:<12}{one_line(str(value))}")
    return 0


def _add(folder: Path, name: str | None, config: Config) -> int:
    name = name or folder.resolve().name
    if not re.fullmatch(ADAPTER_NAME, name) or name in NO_ADAPTER:
        raise MidfillError(f"{name!r} is no adapter name", "--name: letters, digits, dot, dash, underscore, at most 64")
    if not folder.is_dir():
        raise MidfillError(f"{folder} is not a folder", "give the folder that holds adapter_config.json")
    _check(folder.resolve(), config)
    target = paths.private_dir(paths.adapters_dir()) / name
    work = Path(tempfile.mkdtemp(prefix=".add-", dir=target.parent))
    try:
        for file in FILES:
            shutil.copyfile(folder / file, work / file)
        _put(work, target)
    except OSError as error:
        raise MidfillError(f"cannot write {target}: {error.strerror}", "nothing was changed") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f'{name} is registered: set adapter = "{name}"')
    return 0


def _put(work: Path, target: Path) -> None:
    """Rename ``work`` to ``target``; what was there before is put back if that fails."""
    if not (target.exists() or target.is_symlink()):
        work.rename(target)
        return
    old = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
    try:
        target.rename(old / target.name)
        try:
            work.rename(target)
        except OSError:
            (old / target.name).rename(target)
            raise
    finally:
        if target.exists():
            shutil.rmtree(old, ignore_errors=True)


def _remove(name: str) -> int:
    folder = paths.adapters_dir() / name
    if not re.fullmatch(ADAPTER_NAME, name) or not folder.is_dir():
        raise MidfillError(f"no adapter {name!r} is registered", "run: midfill adapters list")
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
    except OSError as error:
        raise MidfillError(f"cannot remove {folder}: {error.strerror}", "make it writable") from error
    print(f"{name} is gone")
    return 0
