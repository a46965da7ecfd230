"""The models to choose from: those on this machine and those on the hub, each with its size."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from midfill import paths

EMBEDDED = "embedded"
# In addition to the weights (int8: a byte per parameter): keys and values, activations, Python and torch.
OVERHEAD_BYTES = 600_000_000
MAX_MANIFEST_BYTES = 10_000_000
# Models that midfill knows how to prompt and that are worth their size: parameters, and bytes to download.
OFFERED = (
    ("Qwen/Qwen2.5-Coder-0.5B", 494_000_000, 988_000_000),
    ("Qwen/Qwen2.5-Coder-1.5B", 1_544_000_000, 3_087_000_000),
    ("Qwen/Qwen2.5-Coder-3B", 3_086_000_000, 6_172_000_000),
    ("Qwen/Qwen2.5-Coder-7B", 7_616_000_000, 15_231_000_000),
    ("deepseek-ai/deepseek-coder-1.3b-base", 1_346_000_000, 2_693_000_000),
    ("bigcode/starcoder2-3b", 3_030_000_000, 12_120_000_000),
    ("google/codegemma-2b", 2_506_000_000, 5_013_000_000),
    ("google/codegemma-7b", 8_538_000_000, 17_076_000_000),
)


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """One choice for the setting ``model``. ``size``: bytes on disk; ``memory``: bytes in int8."""

    spec: str
    name: str
    here: bool
    size: int
    memory: int


async def models(chosen: str) -> dict[str, Any]:
    """midfill/models: the models to choose from, and the current one."""
    return {"model": chosen, "models": [asdict(model) for model in await asyncio.to_thread(found)]}


def found() -> list[ModelChoice]:
    """Return the models on this machine, then those that midfill would download."""
    here = [model for folder in sorted(paths.models_dir().glob("*/")) if (model := _prepared(folder)) is not None]
    hub = [_offered(*offer) for offer in OFFERED]
    every = here + sorted(hub, key=lambda model: not model.here)
    return list({model.spec: model for model in reversed(every)}.values())[::-1]


def _prepared(folder: Path) -> ModelChoice | None:
    """What a prepared folder's manifest says; None where it says nothing that can be chosen."""
    manifest = _read(folder / "manifest.json")
    source, files = manifest.get("source"), manifest.get("files")
    if not isinstance(source, dict) or not isinstance(files, dict):
        return None
    spec = EMBEDDED if source.get("kind") == EMBEDDED else source.get("path")
    name, n_parameters = manifest.get("name"), manifest.get("parameters")
    if not isinstance(spec, str) or not isinstance(name, str) or (spec != EMBEDDED and not Path(spec).is_file()):
        return None
    sizes = [file.get("size") for file in files.values() if isinstance(file, dict)]
    n_parameters = n_parameters if isinstance(n_parameters, int) else 0
    return ModelChoice(
        spec, name, True, sum(size for size in sizes if isinstance(size, int)), n_parameters + OVERHEAD_BYTES
    )


def _offered(hub_id: str, n_parameters: int, size: int) -> ModelChoice:
    folder = _hub_cache() / f"models--{hub_id.replace('/', '--')}" / "snapshots"
    here = any(folder.glob("*/*.safetensors"))
    return ModelChoice(hub_id, hub_id, here, size, n_parameters + OVERHEAD_BYTES)


def _hub_cache() -> Path:
    """Where the hub's client keeps what it fetched."""
    if own := os.environ.get("HF_HUB_CACHE"):
        return Path(own)
    home = os.environ.get("HF_HOME")
    return (Path(home) if home else Path.home() / ".cache" / "huggingface") / "hub"


def _read(file: Path) -> dict[str, Any]:
    try:
        if file.stat().st_size > MAX_MANIFEST_BYTES:
            return {}
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}
