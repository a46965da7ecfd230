"""The checkpoint from which a killed run resumes: weights, moments and progress, in
safetensors and JSON, never a pickle.

A checkpoint is a folder that appears by one rename once all of it is on the disk; ``state.json`` holds the sha256 of
the tensors, so that a mixed or damaged pair is rejected. Two checkpoints are kept.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load as load_tensors
from safetensors.torch import save as save_tensors

log = logging.getLogger(__name__)

KEPT = 2
TENSORS, STATE = "state.safetensors", "state.json"


@dataclass(slots=True)
class Progress:
    """How far a run has come. ``identity`` must be the same for a run that resumes from it."""

    identity: str
    step: int = 0
    n_steps: int = 0
    n_tokens: int = 0
    n_examples: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)  # losses of the held-out examples at the start


def save(folder: Path, progress: Progress, tensors: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint below ``folder``; delete the oldest, and those of other runs. Raises
    OSError, and then deletes none."""
    target, work = folder / f"checkpoint-{progress.step:06d}", folder / ".checkpoint"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(mode=0o700, parents=True)
    try:
        content = save_tensors({name: tensor.cpu().contiguous() for name, tensor in tensors.items()})
        state = {**asdict(progress), "sha256": hashlib.sha256(content).hexdigest()}
        _write(work / TENSORS, content)
        _write(work / STATE, json.dumps(state).encode())
        if target.exists():
            shutil.rmtree(target)
        work.rename(target)
        sync(folder)
    except OSError:
        shutil.rmtree(work, ignore_errors=True)
        raise
    own = [old for old in checkpoints(folder) if _identity(old) == progress.identity]
    for old in set(checkpoints(folder)) - set(own[:KEPT]):  # another run's number may be higher than this one's
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """Return the checkpoints in ``folder``, the latest first."""
    return sorted(folder.glob("checkpoint-[0-9]*"), reverse=True)


def _identity(saved: Path) -> str:
    """Return the identity of the run that wrote it; "" if it is damaged."""
    try:
        return str(json.loads((saved / STATE).read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def latest(folder: Path, identity: str) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """Return the newest sound checkpoint of a run with this identity, or None."""
    for found in checkpoints(folder):
        try:
            state: dict[str, Any] = json.loads((found / STATE).read_text(encoding="utf-8"))
            content = (found / TENSORS).read_bytes()
            if hashlib.sha256(content).hexdigest() != state.pop("sha256"):
                raise ValueError("the tensors are not those of the state")
            progress = Progress(**state)
            if progress.identity == identity:
                return progress, load_tensors(content)
        except (OSError, ValueError, TypeError, KeyError) as error:
            log.warning("%s is damaged (%s); an older one is tried", found.name, type(error).__name__)
    return None


def _write(file: Path, content: bytes) -> None:
    with file.open("wb") as out:
        out.write(content)
        out.flush()
        os.fsync(out.fileno())


def sync(path: Path) -> None:
    """Return once the content of a file, or the list of names in a folder, is on the disk (POSIX only)."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
