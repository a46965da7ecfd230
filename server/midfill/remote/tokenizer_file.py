"""Finds the tokenizer.json of an engine elsewhere: by the setting ``model``, else by what the engine lists."""

from __future__ import annotations

import re
from pathlib import Path

from midfill.engine.local.store import models
from midfill.engine.local.store.embedded import EMBEDDED
from midfill.remote.capabilities import Capabilities
from midfill.types import MidfillError

FILE = "tokenizer.json"
HUB_ID = r"[\w.-]{1,96}/[\w.-]{1,96}"


def tokenizer_of(model: str, seen: Capabilities, host: str) -> Path:
    """Return the file. May fetch it from the hub, so call it in a thread. Raises MidfillError."""
    for spec in [model] if model != "auto" else _named(seen):
        if (file := _find(spec)) is not None:
            return file
    raise MidfillError(
        f"this machine has no tokenizer for {seen.base}, which {host} serves",
        "set model to a folder with its tokenizer.json, or to its name on the hub",
    )


def _named(seen: Capabilities) -> list[str]:
    """Return the names of the engine's base according to the engine, as a setting would write them."""
    root = next((model.root for model in seen.models if model.id == seen.base), "")
    names = [name for name in (root, seen.base) if name]
    return [*names, *(["embedded"] if any(EMBEDDED.name.lower() in name.lower() for name in names) else [])]


def _find(spec: str) -> Path | None:
    try:
        source = models.resolve(spec)
    except MidfillError:
        return None
    if source.kind == "hub":
        return _of_hub(source.hub_id)
    folder = models.find_prepared(source)
    if folder is None and source.kind == "embedded":
        raise MidfillError("the embedded model's tokenizer is not prepared yet", "run: midfill model prepare embedded")
    file = folder / FILE if folder is not None else None
    return file if file is not None and file.is_file() else None


def _of_hub(hub_id: str) -> Path | None:
    import huggingface_hub

    if re.fullmatch(HUB_ID, hub_id) is None:
        return None
    try:
        return Path(huggingface_hub.hf_hub_download(hub_id, FILE))
    except Exception:  # noqa: BLE001 - whatever the hub raises: it is not there, or we may not have it
        return None
