"""Whether a prepared model may be built without transformers (bare.py): it is built both ways, and both asked."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local import bare, int8
from midfill.engine.local.decode import Runner
from midfill.engine.local.load import build_bare
from midfill.engine.local.transformers_model import build
from midfill.engine.local.weights import Progress


def may_be_bare(folder: Path, progress: Progress) -> bool:
    """Whether both give the same logits for some tokens, bit for bit. Takes some seconds."""
    file = folder / int8.FILE
    if not file.is_file() or not bare.is_plain(json.loads((folder / "config.json").read_text(encoding="utf-8"))):
        return False
    cpu = torch.device("cpu")
    expected = _asked(lambda: build(folder, "int8", cpu, progress)[0])
    return expected is not None and torch.equal(expected, _some(_asked(lambda: build_bare(folder, 8, progress)[0])))


def _asked(make: Callable[[], Any]) -> torch.Tensor | None:
    """The model's logits by the short way, None where it has none."""
    with torch.inference_mode():
        runner = Runner(make().eval().requires_grad_(False))
        return runner.probe() if runner.lean is not None else None


def _some(logits: torch.Tensor | None) -> torch.Tensor:
    return logits if logits is not None else torch.empty(0)
