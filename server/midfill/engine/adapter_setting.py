"""The meaning of the setting ``adapter``: a name that the engine knows, and the folders that hold what it adds up."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import midfill
from midfill import paths
from midfill.adapter_names import ADAPTER_NAME, MAX_SUMMED, NO_ADAPTER, summands
from midfill.engine.local.store import embedded
from midfill.types import MidfillError

EMBEDDED_MODEL = embedded.EMBEDDED.name  # the model that the embedded adapter was trained on
AUTO, EMBEDDED = "auto", "embedded"


def embedded_folder() -> Path | None:
    """Return the adapter that comes with midfill for the embedded model, or None if this installation lacks it."""
    folder = Path(midfill.__file__).parent / "embedded_adapter"
    return folder if (folder / "adapter_config.json").is_file() else None


def folders_of(setting: str, model: str) -> tuple[str, tuple[Path, ...]] | None:
    """Return what a setting means for the engine's ``model``: the name to use there, and the folder, or those of a sum;
    None: no adapter.

    Raises MidfillError.
    """
    found = [one for adapter in summands(setting) if (one := _folder_of(adapter, model)) is not None]
    names = [name for name, _ in found]
    if len(names) > MAX_SUMMED:
        raise MidfillError(f"{setting!r} adds {len(names)} adapters", f"add at most {MAX_SUMMED}")
    if twice := [name for name in names if names.count(name) > 1]:
        raise MidfillError(f"{setting!r} adds {twice[0]} twice", "name each adapter once")
    return ("+".join(names), tuple(folder for _, folder in found)) if found else None


def _folder_of(adapter: str, model: str) -> tuple[str, Path] | None:
    """Return the engine's name of one adapter and its folder; None: no adapter. Raises MidfillError."""
    if adapter in NO_ADAPTER:
        return None
    if adapter in (AUTO, EMBEDDED):
        own = embedded_folder() if model == EMBEDDED_MODEL else None
        if own is None and adapter == EMBEDDED:
            raise MidfillError(f"{model} has no embedded adapter", 'set adapter = "auto" or "none"')
        return (EMBEDDED, own) if own is not None else None
    # A plain name is only looked up among the registered adapters: it never means a folder of the workspace.
    is_name = re.fullmatch(ADAPTER_NAME, adapter) is not None
    folder = paths.adapters_dir() / adapter if is_name else paths.expanded(adapter).resolve()
    if not folder.is_dir():
        raise MidfillError(
            f"no adapter named {adapter!r}",
            'run: midfill adapters list, give a folder as a path (./name), or set adapter = "none"',
        )
    if is_name:
        return adapter, folder
    plain = re.sub(r"[^A-Za-z0-9_-]", "-", folder.name)[:40]
    return f"{plain}-{hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]}", folder
