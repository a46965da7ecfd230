"""Whether a prepared model may be built without transformers (bare.py): it is built both ways, and both asked."""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from midfill.engine.local import bare, int8
from midfill.engine.local.decode import Runner
from midfill.engine.local.load import build_bare, read_plain_config
from midfill.engine.local.transformers_model import build
from midfill.engine.local.weights import Progress

log = logging.getLogger(__name__)
MAX_BYTES = 2 << 30  # of int8 weights


def may_be_bare(folder: Path, progress: Progress) -> bool:
    """Whether both give the same logits for some tokens, bit for bit.

    Reads and packs the weights twice, so not those of a large model, beside which an import is nothing.
    """
    file = folder / int8.FILE
    if not file.is_file() or file.stat().st_size > MAX_BYTES or not bare.is_plain(read_plain_config(folder)):
        return False
    cpu = torch.device("cpu")
    expected = _asked(lambda: build(folder, "int8", cpu, progress)[0])
    found = _asked(lambda: build_bare(folder, 8, progress)[0])
    return expected is not None and found is not None and torch.equal(expected, found)


def _asked(make: Callable[[], Any]) -> torch.Tensor | None:
    """The model's logits by the short way, None where it has none or fails: then it is no candidate."""
    runner: Runner | None = None
    try:
        with torch.inference_mode():
            runner = Runner(make().eval().requires_grad_(False))
            return runner.probe() if runner.lean is not None else None
    except Exception as error:  # noqa: BLE001 - preparing has done its work; loading will say what is wrong
        log.info("the trial of a quick start failed: %s", type(error).__name__)
        return None
    finally:
        runner = None
        gc.collect()  # hooks and modules hold each other: without, both models would be in memory at once
