"""``midfill adapters list|add|check|remove``."""

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
from midfill.commands.session import session
from midfill.config import ADAPTER_NAME, NO_ADAPTER, Config
from midfill.types import MidfillError, one_line

FILES = ("adapter_config.json", "adapter_model.safetensors")  # what is checked, and so all that is copied


def run(arguments: argparse.Namespace, config: Config) -> int:
    """Dispatch."""
    if getattr(arguments, "model", None):
        config = dataclasses.replace(config, model=arguments.model)
    if arguments.kind == "list":
        return _list()
    if arguments.kind == "add":
        return _add(Path(arguments.folder), arguments.name, config)
    if arguments.kind == "check":
        _check(arguments.adapter, config)
        print(f"{arguments.adapter} fits {config.model}")
        return 0
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


def _check(adapter: str, config: Config) -> None:
    """The engine's own check, on the engine's own model. Raises MidfillError."""
    if adapter in NO_ADAPTER:
        raise MidfillError(f"{adapter!r} means no adapter", "name a registered one, or write a folder with its path")

    async def ask() -> None:
        async with session(dataclasses.replace(config, adapter=adapter)):
            pass

    asyncio.run(ask())


def _add(folder: Path, name: str | None, config: Config) -> int:
    name = name or folder.resolve().name
    if not re.fullmatch(ADAPTER_NAME, name) or name in NO_ADAPTER:
        raise MidfillError(f"{name!r} is no adapter name", "--name: letters, digits, dot, dash, underscore, at most 64")
    if not folder.is_dir():
        raise MidfillError(f"{folder} is not a folder", "give the folder that holds adapter_config.json")
    _check(str(folder.resolve()), config)
    target = paths.private_dir(paths.adapters_dir()) / name
    work = Path(tempfile.mkdtemp(prefix=".add-", dir=target.parent))
    try:
        for file in FILES:
            shutil.copyfile(folder / file, work / file)
        if target.exists():
            old = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
            target.rename(old / name)
            work.rename(target)
            shutil.rmtree(old, ignore_errors=True)
        else:
            work.rename(target)
    except OSError as error:
        raise MidfillError(f"cannot write {target}: {error.strerror}", "nothing was changed") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    print(f'{name} is registered: set adapter = "{name}"')
    return 0


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
