"""An adapter merged into its base: a complete model, for servers without adapters."""

from __future__ import annotations

import shutil
from pathlib import Path

from peft import PeftModel
from safetensors import SafetensorError

from midfill.engine.local.model.load import load
from midfill.engine.local.store.embedded import Progress
from midfill.types import MidfillError


def merge(adapter: Path, base: Path, name: str, target: Path, progress: Progress) -> None:
    """Write the base in ``base`` with ``adapter`` added to its weights into the new folder ``target``.

    Raises MidfillError, and leaves no folder.
    """
    # bfloat16: the stored format, and half the memory.
    loaded = load(base, name, device="cpu", dtype="bfloat16", progress=progress, modules=True)
    progress("merging", 0.0)
    merged = PeftModel.from_pretrained(loaded.model, str(adapter)).merge_and_unload(safe_merge=True)
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
