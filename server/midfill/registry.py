"""The registered adapters: one folder per name, and the earlier versions of each.

A version is a whole folder and appears by one rename, so that an engine that reads at that moment sees either version.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from midfill import paths
from midfill.adapter_names import ADAPTER_NAME, RESERVED_ADAPTERS
from midfill.types import MidfillError

MAX_FIGURES = 4 << 20  # bytes of midfill.json: it lists the files that were held out
MAX_ON_TOP = 200
KEPT = 8  # earlier versions of one adapter: a week of nights, and the one before
VERSIONS = ".versions"  # names with a leading dot are not adapters


def check_name(name: str) -> str:
    """Return ``name`` if it is valid for an adapter. Raises MidfillError."""
    if not re.fullmatch(ADAPTER_NAME, name) or name in RESERVED_ADAPTERS:
        raise MidfillError(
            f"{name!r} is not a valid adapter name", "--name: letters, digits, dot, dash, underscore, at most 64"
        )
    return name


def folder_of(name: str) -> Path:
    """Return the folder of the adapter with that name. Raises MidfillError if there is none."""
    folder = paths.adapters_dir() / name
    if not re.fullmatch(ADAPTER_NAME, name) or not folder.is_dir():
        raise MidfillError(f"no adapter {name!r} is registered", "run: midfill adapters list")
    return folder


def names() -> list[str]:
    """Return the names of all registered adapters."""
    return sorted(path.name for path in paths.adapters_dir().glob("*/") if not path.name.startswith("."))


def versions(name: str) -> list[Path]:
    """Return the folders of earlier versions, the latest first."""
    return sorted((paths.adapters_dir() / VERSIONS / name).glob("*/"), key=lambda path: path.name, reverse=True)


def register(source: Path, name: str, files: Sequence[str]) -> Path:
    """Copy ``files`` of ``source`` to ``name``; an adapter with that name becomes an earlier version. Raises
    MidfillError."""
    target = paths.private_dir(paths.adapters_dir()) / check_name(name)
    work = Path(tempfile.mkdtemp(prefix=".add-", dir=target.parent))
    try:
        for file in files:
            shutil.copyfile(source / file, work / file)
        _put(work, target)
    except OSError as error:
        raise MidfillError(f"cannot write {target}: {error.strerror}", "nothing was changed") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return target


def rollback(name: str) -> Path:
    """Restore the latest earlier version and drop the current one. Returns its folder. Raises MidfillError."""
    target, earlier = folder_of(name), versions(name)
    if not earlier:
        raise MidfillError(f"adapter {name} has no earlier version", f"midfill adapters remove {name} removes it")
    dropped = Path(tempfile.mkdtemp(prefix=".old-", dir=target.parent))
    try:
        target.rename(dropped / name)
        try:
            earlier[0].rename(target)
        except OSError:
            (dropped / name).rename(target)
            raise
    except OSError as error:
        raise MidfillError(f"cannot write {target}: {error.strerror}", "nothing was changed") from error
    finally:
        if target.exists():
            shutil.rmtree(dropped, ignore_errors=True)
    return target


def remove(name: str) -> None:
    """Remove the adapter and its versions. Raises MidfillError."""
    folder = folder_of(name)
    try:
        if folder.is_symlink():
            folder.unlink()
        else:
            shutil.rmtree(folder)
        shutil.rmtree(folder.parent / VERSIONS / name, ignore_errors=True)
    except OSError as error:
        raise MidfillError(f"cannot remove {folder}: {error.strerror}", "make it writable") from error


def _put(work: Path, target: Path) -> None:
    """Rename ``work`` to ``target``; the old folder is kept as a version, or put back if that fails."""
    if not (target.exists() or target.is_symlink()):
        work.rename(target)
        return
    shelf = paths.private_dir(target.parent / VERSIONS / target.name)
    number = 1 + max((int(path.name.split("-")[0]) for path in versions(target.name)), default=0)
    old = shelf / f"{number:06d}-{time.strftime('%Y%m%d-%H%M%S')}"
    target.rename(old)
    try:
        work.rename(target)
    except OSError:
        old.rename(target)
        raise
    for path in versions(target.name)[KEPT:]:
        shutil.rmtree(path, ignore_errors=True)


def facts(folder: Path) -> str:
    """Return rank, alpha and base in a few words. Raises OSError, ValueError, KeyError, TypeError if it is damaged."""
    content = json.loads((folder / "adapter_config.json").read_text(encoding="utf-8"))
    under = on_top_of(folder)
    said = f"rank {content['r']}, alpha {content['lora_alpha']}, base {content['base_model_name_or_path']}"
    return f"{said}, on top of {under}" if under else said


def on_top_of(folder: Path) -> str:
    """Return the name of the adapter that the one in ``folder`` was trained on top of; "" if there is none."""
    try:
        with (folder / "midfill.json").open("rb") as stream:
            return str(json.loads(stream.read(MAX_FIGURES))["settings"]["on_top_of"])[:MAX_ON_TOP]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return ""
