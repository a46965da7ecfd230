"""Adapters for others: merged into their base as a complete model, or a sum written as one adapter."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from peft import PeftModel
from safetensors import SafetensorError
from safetensors.torch import save_file

from midfill.engine.local.lora.adapter import read_alone, summed
from midfill.engine.local.lora.files import CONFIG_FILE, WEIGHTS_FILE, is_same_base
from midfill.engine.local.model.load import load
from midfill.engine.local.store.embedded import Progress
from midfill.types import MidfillError


def merge(adapters: Sequence[Path], base: Path, name: str, target: Path, progress: Progress) -> None:
    """Write the base in ``base`` with all of ``adapters`` added to its weights into the new folder ``target``.

    Raises MidfillError, and leaves no folder.
    """
    # bfloat16: the stored format, and half the memory.
    loaded = load(base, name, device="cpu", dtype="bfloat16", progress=progress, modules=True)
    progress("merging", 0.0)
    merged: Any = loaded.model
    for adapter in adapters:
        merged = PeftModel.from_pretrained(merged, str(adapter)).merge_and_unload(safe_merge=True)
    work = target.with_name(f".{target.name}")
    try:
        work.mkdir(parents=True)
        merged.save_pretrained(str(work), safe_serialization=True)
        for file in base.glob("tokenizer*.json"):
            shutil.copyfile(file, work / file.name)
        work.rename(target)
    except (OSError, SafetensorError) as error:  # SafetensorError means a full disk
        reason = (isinstance(error, OSError) and error.strerror) or "the disk did not take it"
        raise MidfillError(f"cannot write {target}: {reason}", "nothing was left behind; free some space") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)


def join(adapters: Sequence[Path], target: Path) -> str:
    """Write the sum of ``adapters`` as one PEFT adapter into the new folder ``target``; return its base.

    Raises MidfillError, and leaves no folder.
    """
    parts = [read_alone(folder) for folder in adapters]
    for part in parts[1:]:
        if not is_same_base(part.base, parts[0].base):
            bases = f"{parts[0].name} was trained on {parts[0].base}, {part.name} on {part.base}"
            raise MidfillError(bases, "add adapters of one base")
    whole = summed(target.name, parts)
    ranks = {path: len(pair.a) for path, pair in whole.pairs.items()}
    others = {path: rank for path, rank in ranks.items() if rank != whole.rank}
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": whole.base, "bias": "none",
        "r": whole.rank, "lora_alpha": whole.rank, "lora_dropout": 0.0, "inference_mode": True,
        "target_modules": sorted(ranks), "rank_pattern": others, "alpha_pattern": others,
    }  # fmt: skip
    tensors = {
        f"base_model.model.{path}.lora_{side}.weight": tensor.contiguous()
        for path, pair in whole.pairs.items() for side, tensor in (("A", pair.a), ("B", pair.b * pair.scale))
    }  # fmt: skip
    work = target.with_name(f".{target.name}")
    try:
        work.mkdir(parents=True)
        (work / CONFIG_FILE).write_text(json.dumps(config, indent=2), encoding="utf-8")
        save_file(tensors, work / WEIGHTS_FILE, metadata={"format": "pt"})
        work.rename(target)
    except (OSError, SafetensorError) as error:
        reason = (isinstance(error, OSError) and error.strerror) or "the disk did not take it"
        raise MidfillError(f"cannot write {target}: {reason}", "nothing was left behind; free some space") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return whole.base
