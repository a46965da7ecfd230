"""The files with settings: the user's, and the one of a workspace."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from midfill import paths
from midfill.adapter_names import names_registered_only
from midfill.config import DEFAULT, WORKSPACE_KEYS, CheckedConfig, Config, is_setting, snake, take
from midfill.types import MidfillError

WORKSPACE_FILE = ".midfill.toml"
# A workspace's file may be a pipe, a link to an endless device, or built to be slow to parse: tomllib takes time and
# memory with the square of a dotted key's length.
MAX_USER_BYTES, MAX_WORKSPACE_BYTES = 64 << 10, 8 << 10


def take_user() -> CheckedConfig:
    """Return the defaults with the user's file on top."""
    return _take_file(DEFAULT, paths.config_file(), MAX_USER_BYTES)


def take_workspace(config: Config, root: Path) -> CheckedConfig:
    """Return ``config`` with the workspace's harmless settings on top."""
    file = root / WORKSPACE_FILE
    return _take_file(config, file, MAX_WORKSPACE_BYTES, lambda key, value: _refuse_harmful(file, key, value))


def load_user() -> Config:
    """Return the defaults with the user's file on top. Raises MidfillError."""
    return take_user().strict()


def _take_file(
    config: Config, file: Path, limit: int, check: Callable[[str, Any], None] = lambda _key, _value: None
) -> CheckedConfig:
    """Return ``config`` with a TOML file on top, if it exists. ``check`` raises MidfillError for settings that the
    file may not change."""
    try:
        values = _read(file, limit)
    except MidfillError as error:
        return CheckedConfig(config, (error,))
    problems, sound = [], {}
    for key, value in values.items():
        try:
            check(key, value)
            sound[key] = value
        except MidfillError as error:
            problems.append(error)
    taken = take(config, sound, str(file))
    return CheckedConfig(taken.config, (*problems, *taken.problems))


def _refuse_harmful(file: Path, key: str, value: Any) -> None:
    if is_setting(key) and snake(key) not in WORKSPACE_KEYS:
        raise MidfillError(
            f"{file} may not set {key!r}",
            f"a workspace may set {', '.join(sorted(WORKSPACE_KEYS))}; put {key!r} into {paths.config_file()}",
        )
    if not all(map(names_registered_only, _adapters(snake(key), value))):
        raise MidfillError(f"{file} may not name the path of an adapter", "name a registered adapter")


def _adapters(key: str, value: Any) -> list[str]:
    """Return the adapters that a setting names."""
    if key == "adapter" and isinstance(value, str):
        return [value]
    if key == "adapters" and isinstance(value, list):
        return [entry.partition("=")[2] for entry in value if isinstance(entry, str)]
    if key == "adapters" and isinstance(value, dict):
        return [adapter for adapter in value.values() if isinstance(adapter, str)]
    return []


def _read(file: Path, limit: int) -> dict[str, Any]:
    try:
        with open(file, "rb", opener=_open_at_once) as stream:
            content = stream.read(limit + 1) or b""
        if len(content) > limit:
            raise MidfillError(f"{file} is larger than {limit >> 10} KiB", "shorten the file or remove it")
        return tomllib.loads(content.decode("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError, RecursionError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise MidfillError(f"cannot read {file}: {reason}", "fix the file or remove it") from error


def _open_at_once(path: str, flags: int) -> int:
    """Open without blocking: opening a pipe without a writer must not stop us."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))
