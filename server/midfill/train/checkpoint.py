"""What a killed run goes on from: weights, moments and where it was, in safetensors and JSON. Never a pickle.

A checkpoint is a folder that appears by one rename when all of it is on the disk; ``state.json`` holds the sha256 of
the tensors, so that a mixed or damaged pair is not taken. Two are kept.
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
    """Where a run is. ``identity`` is what it must have in common with one that goes on from it."""

    identity: str
    step: int = 0
    n_steps: int = 0
    n_tokens: int = 0
    n_examples: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    before: list[float] = field(default_factory=list)  # losses of the held-out examples at its beginning


def save(folder: Path, progress: Progress, tensors: dict[str, torch.Tensor]) -> None:
    """Write a checkpoint below ``folder``; the oldest go, and those of other runs. Raises OSError, and leaves them."""
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
    for old in set(checkpoints(folder)) - set(own[:KEPT]):  # another run's may have a higher number than this one's
        shutil.rmtree(old, ignore_errors=True)


def checkpoints(folder: Path) -> list[Path]:
    """The latest first."""
    return sorted(folder.glob("checkpoint-[0-9]*"), reverse=True)


def _identity(saved: Path) -> str:
    """Of the run that wrote it; "" where that is damaged."""
    try:
        return str(json.loads((saved / STATE).read_text(encoding="utf-8"))["identity"])
    except (OSError, ValueError, TypeError, KeyError):
        return ""


def latest(folder: Path, identity: str) -> tuple[Progress, dict[str, torch.Tensor]] | None:
    """The newest sound checkpoint of a run with this identity."""
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
    """What was written to a file, or which names a folder holds, is on the disk when this returns (POSIX)."""
    if os.name == "posix":
        handle = os.open(path, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
