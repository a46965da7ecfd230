"""The adapter's folder: PEFT's two files, and files that tell the user where it comes from."""

from __future__ import annotations

import contextlib
import dataclasses
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import TrainerState, TrainingArguments

from midfill import __version__
from midfill.train import card, plot
from midfill.train.checkpoint import Progress, sync
from midfill.train.collect import Collection
from midfill.train.run import Hyperparameters, Trained
from midfill.types import MidfillError

NEEDED = 64 << 20  # bytes besides the weights
_COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclasses.dataclass(frozen=True, slots=True)
class Base:
    """The base of the training. ``template``: the form of the prompts."""

    folder: Path
    name: str
    licence: str = ""
    template: str = ""

    @property
    def revision(self) -> str:
        """The hub's commit if the folder is one of its snapshots; else ""."""
        return self.folder.name if _COMMIT.fullmatch(self.folder.name) else ""


def need_space(folder: Path, n_weights: int, n_checkpoints: int) -> None:
    """Raise MidfillError, before the work, if the disk cannot hold checkpoints and result."""
    needed = n_weights * 4 * (3 * (n_checkpoints + 1) + 1) + NEEDED
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise MidfillError(
            f"training writes up to {needed / 1e6:.0f} MB to the disk of {folder}, {free / 1e6:.0f} MB are free",
            "free some space, or set MIDFILL_DATA_DIR to another disk",
        )


def write(
    folder: Path, trained: Trained, settings: Hyperparameters, base: Base, collection: Collection,
    held_out: Sequence[str], name: str,
) -> None:  # fmt: skip
    """Write everything into ``folder``, which is whole or absent at any moment; an earlier one is replaced.

    Raises MidfillError, and then the earlier folder stays.
    """
    work, old = folder.with_name(f".{folder.name}"), folder.with_name(f".{folder.name}.old")
    try:
        _remove(work, old)
        work.mkdir(mode=0o700, parents=True)
        # Embeddings are never trained. Left to itself, peft asks the hub for the base's vocabulary.
        trained.model.save_pretrained(str(work), safe_serialization=True, save_embedding_layers=False)
        shutil.copyfile(base.folder / "tokenizer.json", work / "tokenizer.json")
        halves = settings.quantise or trained.model.get_base_model().dtype == torch.bfloat16
        _write_trainer(work, trained.progress, settings, in_bfloat16=halves)
        plot.losses(trained.progress.history, work / "loss.svg")
        figures = _figures(trained, settings, base, collection, held_out)
        card.write(work, name, figures)
        for file in work.iterdir():
            sync(file)
        sync(work)
        _put(work, folder, old)
    except (OSError, SafetensorError, RuntimeError) as error:  # RuntimeError: torch's own writer
        with contextlib.suppress(OSError):
            _remove(work)
        reason = (isinstance(error, OSError) and error.strerror) or "the disk did not take it"
        raise MidfillError(
            f"the adapter could not be written: {reason}",
            "free some space and run the same command again: it continues from the last checkpoint",
        ) from error


def _put(work: Path, folder: Path, old: Path) -> None:
    """Rename ``work`` to ``folder``. An earlier ``folder`` moves aside first: if it were deleted file
    by file, a part could remain."""
    if folder.exists():
        folder.rename(old)
    try:
        work.rename(folder)
    except OSError:
        if old.exists():
            old.rename(folder)
        raise
    sync(folder.parent)
    _remove(old)


def _remove(*folders: Path) -> None:
    for folder in folders:
        if folder.exists():
            shutil.rmtree(folder)


def _write_trainer(folder: Path, progress: Progress, settings: Hyperparameters, *, in_bfloat16: bool) -> None:
    """Write the formats of transformers' Trainer for other tools. The pickle is for them: midfill never loads one."""
    log = [{key: value for key, value in entry.items() if key != "seconds"} for entry in progress.history]
    for entry in log:
        entry["learning_rate"] = entry.pop("rate", 0.0)
        if "held_out" in entry:
            entry["eval_loss"] = entry.pop("held_out")
    state = TrainerState(
        global_step=progress.step, max_steps=progress.n_steps, num_input_tokens_seen=progress.n_tokens,
        train_batch_size=1, log_history=log,
    )  # fmt: skip
    state.save_to_json(str(folder / "trainer_state.json"))
    arguments = TrainingArguments(
        output_dir=folder.name.lstrip("."), max_steps=progress.n_steps, learning_rate=settings.rate, seed=settings.seed,
        per_device_train_batch_size=1, gradient_accumulation_steps=settings.accumulate, lr_scheduler_type="cosine",
        weight_decay=0.0, bf16=in_bfloat16, use_cpu=not torch.cuda.is_available(), report_to=[],
        gradient_checkpointing=settings.checkpointing,
    )  # fmt: skip
    torch.save(arguments, folder / "training_args.bin")
    (folder / "training_args.json").write_text(arguments.to_json_string(), encoding="utf-8")


def _figures(
    trained: Trained, settings: Hyperparameters, base: Base, collection: Collection, held_out: Sequence[str]
) -> dict[str, Any]:
    progress = trained.progress
    return {
        "midfill": __version__,
        "base": base.name,
        "base_licence": base.licence,
        "base_revision": base.revision,
        "template": base.template,
        "settings": dataclasses.asdict(settings),
        "targets": sorted(trained.model.peft_config["default"].target_modules),
        "steps": progress.step,
        "tokens": progress.n_tokens,
        "examples": progress.n_examples,
        "seconds": round(progress.seconds, 1),
        "loss": {"held_out_before": _mean(trained.before), "held_out_after": _mean(trained.after)},
        "data": {
            "projects": collection.licences,
            "files": len(collection.files),
            "characters": collection.n_chars,
            "languages": dict(collection.languages.most_common()),
            "left_out": dict(collection.left_out.most_common()),
            "n_held_out": len(held_out),
            "held_out": list(held_out),
            "digest": collection.digest,
        },
    }


def _mean(values: Sequence[float]) -> float | None:
    return round(sum(values) / len(values), 4) if values else None
