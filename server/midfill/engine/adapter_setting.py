"""The meaning of the setting ``adapter``: a name that the engine knows, and the folder that holds the adapter."""

from __future__ import annotations

import hashlib
import os
import re
from pathlib import Path

import midfill
from midfill import paths
from midfill.config import ADAPTER_NAME, NO_ADAPTER
from midfill.engine.local.store import embedded
from midfill.types import MidfillError

EMBEDDED_MODEL = embedded.EMBEDDED.name  # the model that the embedded adapter was trained on
AUTO, EMBEDDED = "auto", "embedded"


def embedded_folder() -> Path | None:
    """Return the adapter that comes with midfill for the embedded model, or None if this installation lacks it."""
    folder = Path(midfill.__file__).parent / "embedded_adapter"
    return folder if (folder / "adapter_config.json").is_file() else None


def folder_of(adapter: str, model: str) -> tuple[str, Path] | None:
    """Return what a setting means for the engine's ``model``: the name to use there and the folder; None: no adapter.

    Raises MidfillError.
    """
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
